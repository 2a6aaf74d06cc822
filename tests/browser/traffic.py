"""Traffic: a tenant's requests, one or many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2 as httpx

from tests.integration.stage import Process
from tests.loopback import LOOPBACK


@asynccontextmanager
async def traffic(gateway: Process, key: str, pause: float = 0.0) -> AsyncIterator[None]:
    """A tenant's requests, most of which the cache answers, with so many seconds between two."""

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=gateway.url, headers={"X-API-Key": key}, **LOOPBACK) as client:
            while True:
                for article in range(1, 6):
                    (await client.get(f"/lboro/total/views/article/{article}")).raise_for_status()
                    await asyncio.sleep(pause)

    asking = asyncio.create_task(ask())
    try:
        yield
        assert not asking.done(), "the traffic ended early"
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def answers(url: str, key: str) -> None:
    """Waits until a new key opens this: gateways look for what changed once a second."""
    async with asyncio.timeout(10), httpx.AsyncClient(headers={"X-API-Key": key}, **LOOPBACK) as client:
        while (answer := await client.get(url)).status_code == 401:
            await asyncio.sleep(0.2)  # an address that tries too many unknown keys is refused
    assert answer.status_code == 200, answer.text
