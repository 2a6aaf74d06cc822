"""Days on a real Redis: counted in memory, added up across processes, kept while Redis is gone."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from typing import Any

import pytest
import redis.asyncio

from gateway.errors import CacheUnavailable, InvalidInput
from gateway.observe.counters import CHUNK, ROWS, DayCounters, Row, Today
from gateway.observe.outcome import Outcome
from tests.observe.counting import answered
from tests.redis_server import RedisServer, free_port

DAYS = 30


def today() -> date:
    return datetime.now(UTC).date()


async def test_processes_add_up_and_hits_and_calls_are_told_apart(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    first = today()
    usages = [DayCounters(redis_client, prefix, DAYS) for _ in range(2)]
    for usage in usages:
        answered(usage, Outcome.HIT, key_id="AbCdEf1234")
        answered(usage, Outcome.MISS)
        usage.call("reports")
        answered(usage, Outcome.MISS, tenant="a:b")
        await usage.flush()
        await usage.flush()
    rows = await usages[0].report(first, today())
    assert [(row.tenant, row.requests, row.hits, row.calls) for row in rows] == [
        ("a:b", 2, 0, 0),
        ("reports", 4, 2, 2),
    ]
    assert await usages[0].report(first, today(), ["nobody"]) == []
    assert await usages[0].report(first, today(), []) == []
    assert await usages[0].report(first, today(), ["a:b", "nobody"]) == rows[:1]


async def test_a_day_in_all_does_not_go_back_while_redis_is_being_told(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    usage = DayCounters(redis_client, prefix, DAYS)
    told = []
    for _ in range(20):
        answered(usage, Outcome.HIT)
        totals = await asyncio.gather(usage.total(today()), usage.flush(), usage.total(today()))
        told += [each.requests for each in totals if each is not None]
    assert told == [number for number in range(1, 21) for _ in range(2)]


async def test_a_day_in_all_counts_what_is_not_told_yet_and_outlives_redis(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    here, there = (DayCounters(redis_client, prefix, DAYS) for _ in range(2))
    for usage in (here, there):
        answered(usage, Outcome.HIT)
        answered(usage, Outcome.COLLAPSED, tenant="dash")
        answered(usage, Outcome.MISS, tenant="dash")
        usage.call("dash")
    assert await here.total(today()) == Today(3, 1, 1, 2)
    await there.flush()
    assert await here.total(today()) == Today(6, 2, 2, 4)
    await here.flush()
    assert await here.total(today()) == Today(6, 2, 2, 4)
    here._client = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}", protocol=2)
    answered(here, Outcome.MISS)
    assert await here.total(today()) == Today(7, 2, 2, 4)
    assert await here.total(today() - timedelta(days=1)) == Today()


async def test_a_day_of_many_tenants_is_read_in_replies_that_nobody_has_to_wait_for(
    redis_client: redis.asyncio.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, day = DayCounters(redis_client, prefix, DAYS), today().isoformat()
    counts = {f"tenant-{number:04}:{field}": number for number in range(1_500) for field in ("requests", "hits")}
    await redis_client.hset(f"{prefix}:{{usage}}:{day}", mapping=counts)  # type: ignore[arg-type]
    longest = 0
    execute: Any = redis_client.execute_command

    async def measured(*words: Any, **options: Any) -> Any:
        nonlocal longest
        reply = await execute(*words, **options)
        longest = max(longest, len(reply[1]))
        return reply

    monkeypatch.setattr(redis_client, "execute_command", measured)
    rows = await usage.report(today() - timedelta(days=2), today())
    assert [(row.tenant, row.requests) for row in rows] == [
        (f"tenant-{number:04}", number) for number in range(1_500)
    ]
    assert 0 < longest <= CHUNK * 1.1


async def test_a_report_has_an_end(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = DayCounters(redis_client, prefix, 400)
    counts = {f"tenant-{number}:requests": 1 for number in range(ROWS // 5)}
    for back in range(8):
        day = today() - timedelta(days=back)
        await redis_client.hset(f"{prefix}:{{usage}}:{day.isoformat()}", mapping=counts)  # type: ignore[arg-type]
    assert len(await usage.report(today() - timedelta(days=4), today())) == ROWS
    with pytest.raises(InvalidInput, match="fewer days, or for one tenant"):
        await usage.report(today() - timedelta(days=5), today())
    assert len(await usage.report(today() - timedelta(days=300), today(), ["tenant-7"])) == 8
    await redis_client.delete(
        *[f"{prefix}:{{usage}}:{(today() - timedelta(days=back)).isoformat()}" for back in range(8)]
    )


async def test_fields_that_are_none_of_ours_are_ignored(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage, day = DayCounters(redis_client, prefix, DAYS), today().isoformat()
    hostile: Any = {"a:requests": "many", b"\xff:hits": "1", "a:calls": "-3", "nothing": "1", "b:saved": "9" * 400}
    await redis_client.hset(f"{prefix}:{{usage}}:{day}", mapping=hostile)
    await redis_client.hset(f"{prefix}:{{usage}}:total:{day}", mapping={"requests": "many", "hits": "2"})
    assert await usage.total(today()) == Today(0, 2, 0, 0)
    assert [(row.tenant, row.requests, row.hits) for row in await usage.report(today(), today())] == [
        ("a", 0, 0),
        ("b", 0, 0),
        ("\ufffd", 0, 1),
    ]


async def test_everything_told_expires(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = DayCounters(redis_client, prefix, DAYS)
    answered(usage, Outcome.HIT, key_id="AbCdEf1234")
    await usage.flush()
    keys = [key async for key in redis_client.scan_iter(f"{prefix}:*")]
    assert len(keys) == 3
    for key in keys:
        assert 29 * 86_400 < await redis_client.ttl(key) <= 30 * 86_400


async def test_a_key_tells_when_it_was_last_used(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = DayCounters(redis_client, prefix, DAYS)
    began = datetime.now(UTC).timestamp()
    answered(usage, Outcome.HIT, key_id="AbCdEf1234")
    await usage.flush()
    used = await usage.last_used(["AbCdEf1234", "0000000000"])
    assert list(used) == ["AbCdEf1234"]
    assert used["AbCdEf1234"] >= int(began)


async def test_counts_wait_for_a_redis_that_is_gone(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    gone = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}", protocol=2)
    usage = DayCounters(gone, prefix, DAYS)
    answered(usage, Outcome.HIT, key_id="AbCdEf1234")
    await usage.flush()
    with pytest.raises(CacheUnavailable):
        await usage.report(today(), today())
    usage._client = redis_client
    await usage.flush()
    (row,) = await usage.report(today(), today())
    assert row == Row(row.day, "reports", 1, 1, 0, 1)
    assert list(await usage.last_used(["AbCdEf1234"])) == ["AbCdEf1234"]


async def test_counters_are_bounded_while_none_are_taken(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = DayCounters(redis_client, prefix, DAYS)
    for number in range(12_000):
        answered(usage, Outcome.MISS, tenant=f"t{number}", key_id=f"k{number}")
    await usage.flush()
    assert (await redis_client.hlen(f"{prefix}:{{usage}}:used")) == 10_000
    assert await usage.last_used(["k1999"]) == {}
    assert len(await usage.last_used(["k2000", "k11999"])) == 2
    rows = await usage.report(today(), today())
    assert {row.tenant for row in rows} == {f"t{number}" for number in range(2_000, 12_000)}


async def test_counters_are_bounded_while_flushes_fail_and_the_oldest_go_first(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    gone = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}", protocol=2)
    usage = DayCounters(gone, prefix, DAYS)
    for number in range(25_000):
        answered(usage, Outcome.MISS, tenant=f"t{number}", key_id=f"k{number}")
        if number % 5_000 == 4_999:
            await usage.flush()
            assert len(usage._pending) <= 10_001  # with the sums of all
            assert len(usage._used) <= 10_000
    usage._client = redis_client
    await usage.flush()
    rows = await usage.report(today(), today())
    assert {row.tenant for row in rows} == {f"t{number}" for number in range(15_000, 25_000)}
    assert len(await usage.last_used(["k14999", "k15000", "k24999"])) == 2


async def test_what_was_counted_last_is_told_at_the_stop(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    usage = DayCounters(redis_client, prefix, DAYS)
    running = asyncio.create_task(usage.run())
    await asyncio.sleep(0)
    answered(usage, Outcome.HIT, key_id="AbCdEf1234")
    usage.call("reports")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    (row,) = await DayCounters(redis_client, prefix, DAYS).report(today(), today())
    assert row == Row(row.day, "reports", 1, 1, 1, 1)


async def count_and_stop(url: str, prefix: str, key_id: str) -> None:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    usage = DayCounters(client, prefix, DAYS)
    running = asyncio.create_task(usage.run())
    for number in range(1_000):
        answered(usage, Outcome.MISS if number % 2 else Outcome.HIT, key_id=key_id)
        await asyncio.sleep(0)
        if number % 100 == 0:
            usage.call("reports")
            await usage.flush()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await client.aclose()


def member(url: str, prefix: str, key_id: str) -> None:
    """A process of a fleet."""
    asyncio.run(count_and_stop(url, prefix, key_id))


async def test_two_processes_count_at_once_and_nothing_is_lost(
    shared_redis: RedisServer, redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    first = today()
    keys = ["AbCdEf1234", "ZyXwVu9876"]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for each in [pool.submit(member, shared_redis.url, prefix, key) for key in keys]:
            await asyncio.wait_for(asyncio.wrap_future(each), 60)
    usage = DayCounters(redis_client, prefix, DAYS)
    rows = await usage.report(first, today(), ["reports"])
    assert [sum(row.requests for row in rows), sum(row.hits for row in rows), sum(row.calls for row in rows)] == [
        2_000,
        1_000,
        20,
    ]
    assert set(await usage.last_used(keys)) == set(keys)
