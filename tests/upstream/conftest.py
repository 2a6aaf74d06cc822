"""A fleet for the tests of the queue, on a real Redis and on memory://."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import fakeredis
import pytest
import redis.asyncio

from tests.upstream import houses
from tests.upstream.fleet import Fleet


@pytest.fixture(params=["redis", "memory"])
async def either(request: pytest.FixtureRequest) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the real Redis, then of memory://."""
    client: redis.asyncio.Redis
    if request.param == "redis":
        client = redis.asyncio.Redis.from_url(request.getfixturevalue("shared_redis").url, protocol=2)
    else:
        client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    yield client
    await client.aclose()


@pytest.fixture
async def fleet(either: redis.asyncio.Redis, prefix: str) -> AsyncIterator[Fleet]:
    fleet = Fleet(either, prefix)
    yield fleet
    for queue in fleet.queues:
        await queue.stop(grace=0)
    commands = asyncio.all_tasks() - {asyncio.current_task()}
    if commands:
        await asyncio.wait(commands, timeout=5)


@pytest.fixture(params=["redis", "memory", "alone"])
async def house(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[houses.House]:
    """Each kind of house: all keep the same rules."""
    if request.param == "alone":
        yield houses.Alone()
        return
    client: redis.asyncio.Redis
    if request.param == "redis":
        client = redis.asyncio.Redis.from_url(request.getfixturevalue("shared_redis").url, protocol=2)
    else:
        client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    yield houses.Fleet(client, prefix)
    await client.aclose()
