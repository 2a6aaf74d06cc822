"""Look-ups that are made together, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.cache.store import AT_ONCE, MOST, BatchedReader
from gateway.errors import CacheUnavailable
from tests.conftest import needs_redis
from tests.redis_server import RedisServer, redis_server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    needs_redis()
    with redis_server() as server:
        yield server


@pytest.fixture
async def own(own_redis: RedisServer) -> AsyncIterator[Any]:
    client = Redis.from_url(own_redis.url, max_connections=10, protocol=2)
    yield client
    await client.aclose()


async def commands(client: Any) -> int:
    """How many MGETs this Redis has had."""
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])


async def test_those_of_one_turn_are_one_command_and_each_gets_its_own(own: Any) -> None:
    for number in range(MOST):
        await own.set(f"entry{number}", number)
    look_ups = BatchedReader(own)
    found = await asyncio.gather(*(look_ups.values(f"entry{number}", f"error{number}") for number in range(MOST)))
    assert found == [[b"%d" % number, None] for number in range(MOST)]
    assert await commands(own) == 1


async def test_equal_ones_are_read_once(own: Any) -> None:
    await own.set("entry", "x")
    look_ups = BatchedReader(own)
    assert await asyncio.gather(*(look_ups.values("entry", "error") for _ in range(100))) == [[b"x", None]] * 100
    assert await commands(own) == 1


async def test_no_command_reads_too_much(own: Any) -> None:
    look_ups = BatchedReader(own)
    await asyncio.gather(*(look_ups.values(f"{number}") for number in range(3 * MOST)))
    assert await commands(own) == 3


async def test_those_that_come_while_commands_are_under_way_gather(own: Any) -> None:
    look_ups = BatchedReader(own)
    asked = []
    for number in range(AT_ONCE + MOST):
        asked.append(asyncio.ensure_future(look_ups.values(f"{number}")))
        for _ in range(2):
            await asyncio.sleep(0)  # a turn of its own for each
    await asyncio.gather(*asked)
    assert AT_ONCE < await commands(own) <= AT_ONCE + 3


async def test_nobody_joins_a_command_that_is_under_way(own: Any) -> None:
    """The re-check of a flight that was just won must see what was stored before it won."""
    look_ups = BatchedReader(own)
    before = asyncio.ensure_future(look_ups.values("entry"))
    while not look_ups._asking:
        await asyncio.sleep(0)
    await own.set("entry", "new")
    assert await look_ups.values("entry") == [b"new"]
    await before
    assert await commands(own) == 2


async def test_who_leaves_takes_nothing_from_the_others(own: Any) -> None:
    await own.set("entry", "x")
    look_ups = BatchedReader(own)
    leaving, staying = (asyncio.ensure_future(look_ups.values("entry")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == [b"x"]
    assert leaving.cancelled()


async def test_without_redis_each_is_told_so(own: Any, own_redis: RedisServer) -> None:
    look_ups = BatchedReader(own)
    own_redis.kill()
    told = await asyncio.gather(*(look_ups.values(name) for name in ("a", "b", "b")), return_exceptions=True)
    assert [type(each) for each in told] == [CacheUnavailable] * 3
    assert len(set(map(id, told))) == 3
