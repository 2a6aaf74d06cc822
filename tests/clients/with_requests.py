"""requests, as a script uses it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import requests

from tests.clients.asking import Answer, Ask, Client, How, Place, nothing


def ask(base: str, asked: Ask) -> list[Answer]:
    with requests.Session() as session:
        session.trust_env = False  # neither proxies nor a .netrc
        if asked.how is How.AT_ONCE:
            with ThreadPoolExecutor(asked.times) as threads:
                return list(threads.map(lambda _: _once(session, base, asked), range(asked.times)))
        return [_once(session, base, asked) for _ in range(asked.times)]


def _once(session: requests.Session, base: str, asked: Ask) -> Answer:
    content = nothing() if asked.how is How.WITH_EMPTY_CHUNKS else asked.content
    answer = session.request(
        asked.method,
        asked.url(base),
        params=list(asked.parameters),
        headers=dict(asked.headers),
        auth=asked.option,
        data=content,
        timeout=40,
    )
    return Answer.of(answer.status_code, list(answer.raw.headers.items()), answer.content)


CLIENT = Client(
    "requests",
    ask,
    frozenset({How.CODED, How.IN_A_SESSION, How.AT_ONCE, How.WITH_EMPTY_CHUNKS}),
    frozenset({Place.OPTION, Place.URL}),
)
