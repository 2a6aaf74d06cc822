"""A fleet for the tests of the queue, on a real Redis and on memory://."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import fakeredis
import pytest
import redis.asyncio

from tests.upstream.fleet import Fleet


@pytest.fixture(params=["redis", "memory"])
async def fleet(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Fleet]:
    client: redis.asyncio.Redis
    if request.param == "redis":
        client = redis.asyncio.Redis.from_url(request.getfixturevalue("shared_redis").url, protocol=2)
    else:
        client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    fleet = Fleet(client, prefix)
    yield fleet
    for queue in fleet.queues:
        await queue.stop(grace=0)
    commands = asyncio.all_tasks() - {asyncio.current_task()}
    if commands:
        await asyncio.wait(commands, timeout=5)
    await client.aclose()
