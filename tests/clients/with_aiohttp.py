"""aiohttp, as a service uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from tests.clients.asking import Answer, Ask, Client, How, Place, nothing


def ask(base: str, asked: Ask) -> list[Answer]:
    return asyncio.run(_ask(base, asked))


async def _ask(base: str, asked: Ask) -> list[Answer]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(40)) as session:
        if asked.how is How.AT_ONCE:
            return await asyncio.gather(*(_once(session, base, asked) for _ in range(asked.times)))
        return [await _once(session, base, asked) for _ in range(asked.times)]


async def _once(session: aiohttp.ClientSession, base: str, asked: Ask) -> Answer:
    headers = list(asked.headers)
    if asked.option is not None:
        headers.append(("Authorization", aiohttp.encode_basic_auth(*asked.option)))
    async with session.request(
        asked.method,
        asked.url(base),
        params=list(asked.parameters) or None,
        headers=headers,
        data=_nothing() if asked.how is How.WITH_EMPTY_CHUNKS else asked.content,
    ) as answer:
        return Answer.of(answer.status, list(answer.headers.items()), await answer.read())


async def _nothing() -> AsyncIterator[bytes]:
    for piece in nothing():
        yield piece


CLIENT = Client(
    "aiohttp",
    ask,
    frozenset({How.CODED, How.IN_A_SESSION, How.AT_ONCE, How.WITH_EMPTY_CHUNKS}),
    frozenset({Place.OPTION, Place.URL}),
)
