"""httpx2, as a script uses it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx

from tests.clients.asking import Answer, Ask, Client, How, Place, nothing
from tests.loopback import LOOPBACK


def ask(base: str, asked: Ask) -> list[Answer]:
    with httpx.Client(timeout=40, **LOOPBACK) as client:
        if asked.how is How.AT_ONCE:
            with ThreadPoolExecutor(asked.times) as threads:
                return list(threads.map(lambda _: _once(client, base, asked), range(asked.times)))
        return [_once(client, base, asked) for _ in range(asked.times)]


def _once(client: httpx.Client, base: str, asked: Ask) -> Answer:
    content = nothing() if asked.how is How.WITH_EMPTY_CHUNKS else asked.content
    answer = client.request(
        asked.method,
        asked.url(base),
        params=list(asked.parameters) or None,
        headers=list(asked.headers),
        auth=asked.option or httpx.USE_CLIENT_DEFAULT,
        content=content,
    )
    return Answer.of(answer.status_code, answer.headers.multi_items(), answer.content)


CLIENT = Client(
    "httpx2",
    ask,
    frozenset({How.CODED, How.IN_A_SESSION, How.AT_ONCE, How.WITH_EMPTY_CHUNKS}),
    frozenset({Place.OPTION, Place.URL}),
)
