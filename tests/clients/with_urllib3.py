"""urllib3, as a library on top of it uses it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import urllib3

from tests.clients.asking import Answer, Ask, Client, How, Place, nothing


def ask(base: str, asked: Ask) -> list[Answer]:
    with urllib3.PoolManager(maxsize=asked.times, timeout=40, retries=False) as pool:
        if asked.how is How.AT_ONCE:
            with ThreadPoolExecutor(asked.times) as threads:
                return list(threads.map(lambda _: _once(pool, base, asked), range(asked.times)))
        return [_once(pool, base, asked) for _ in range(asked.times)]


def _once(pool: urllib3.PoolManager, base: str, asked: Ask) -> Answer:
    headers = urllib3.HTTPHeaderDict(asked.headers)
    if asked.option is not None:
        headers.extend(urllib3.make_headers(basic_auth=":".join(asked.option)))
    if asked.how is How.CODED:
        headers.extend(urllib3.make_headers(accept_encoding=True))
    content = nothing() if asked.how is How.WITH_EMPTY_CHUNKS else asked.content
    url = asked.url(base)
    if content is None:
        answer = pool.request(asked.method, url, fields=list(asked.parameters) or None, headers=headers)
    else:
        answer = pool.request(asked.method, url, body=content, headers=headers)
    return Answer.of(answer.status, list(answer.headers.items()), answer.data)


CLIENT = Client(
    "urllib3",
    ask,
    frozenset({How.CODED, How.IN_A_SESSION, How.AT_ONCE, How.WITH_EMPTY_CHUNKS}),
    frozenset({Place.OPTION}),
)
