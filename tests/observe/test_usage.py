"""Usage on a real Redis: counted in memory, added up across processes, kept while Redis is gone."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import redis.asyncio

from gateway.errors import CacheUnavailable
from gateway.observe.usage import Row, Usage
from tests.redis_server import free_port


def today() -> date:
    return datetime.now(UTC).date()


async def test_processes_add_up_and_hits_and_calls_are_told_apart(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    first = today()
    usages = [Usage(redis_client, prefix, 30) for _ in range(2)]
    for usage in usages:
        usage.request("reports", "AbCdEf1234", hit=True)
        usage.request("reports", None, hit=False)
        usage.call("reports")
        usage.request("a:b", None, hit=False)
        await usage.flush()
        await usage.flush()
    rows = await usages[0].report(first, today())
    assert [(row.tenant, row.requests, row.hits, row.calls) for row in rows] == [
        ("a:b", 2, 0, 0),
        ("reports", 4, 2, 2),
    ]
    assert await usages[0].report(first, today(), "nobody") == []


async def test_everything_told_expires(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = Usage(redis_client, prefix, 30)
    usage.request("reports", "AbCdEf1234", hit=True)
    await usage.flush()
    keys = [key async for key in redis_client.scan_iter(f"{prefix}:*")]
    assert len(keys) == 2
    for key in keys:
        assert 29 * 86_400 < await redis_client.ttl(key) <= 30 * 86_400


async def test_a_key_tells_when_it_was_last_used(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = Usage(redis_client, prefix, 30)
    began = datetime.now(UTC).timestamp()
    usage.request("reports", "AbCdEf1234", hit=True)
    await usage.flush()
    used = await usage.last_used(["AbCdEf1234", "0000000000"])
    assert list(used) == ["AbCdEf1234"]
    assert used["AbCdEf1234"] >= int(began)


async def test_counts_wait_for_a_redis_that_is_gone(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    gone = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}", protocol=2)
    usage = Usage(gone, prefix, 30)
    usage.request("reports", "AbCdEf1234", hit=True)
    await usage.flush()
    with pytest.raises(CacheUnavailable):
        await usage.report(today(), today())
    usage._client = redis_client
    await usage.flush()
    (row,) = await usage.report(today(), today())
    assert row == Row(row.day, "reports", 1, 1, 0)
    assert list(await usage.last_used(["AbCdEf1234"])) == ["AbCdEf1234"]


async def test_counters_are_bounded_while_none_are_taken(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = Usage(redis_client, prefix, 30)
    for number in range(12_000):
        usage.request(f"t{number}", f"k{number}", hit=False)
    assert len(usage._counts) == len(usage._used) == 10_000
