"""Minutes: counted in memory, sent by the minute, added up across processes, kept while Redis is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import fakeredis
import pytest
import redis.asyncio
from pydantic import SecretStr

from gateway.observe.counters import MinuteCounters, pause
from gateway.observe.outcome import Outcome
from gateway.redis import Client, connect
from gateway.redis_cluster import ClusterClient, slot_of
from gateway.settings import Settings
from tests.chaos_redis import chaos_proxy
from tests.observe.counting import answered
from tests.redis_fleet import redis_cluster
from tests.redis_server import RedisServer, free_port

NOON = 1_900_000_800.0
"""A full minute."""
MINUTE = int(NOON // 60)


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = NOON) -> None:
        self.at = now

    def __call__(self) -> float:
        return self.at


@pytest.fixture(params=["fake", "real"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    if request.param == "real":
        server: RedisServer = request.getfixturevalue("shared_redis")
        found: Client = redis.asyncio.Redis.from_url(server.url, protocol=2)
    else:
        found = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield found
    await found.aclose()


def nobody() -> Client:
    """A Redis that is gone."""
    return redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}", protocol=2)


async def outcomes(counters: MinuteCounters, now: float = NOON) -> list[dict[str, int]]:
    """Of the minutes with requests, the oldest first."""
    return [minute.outcomes for minute in (await counters.report(now)).minutes if minute.requests]


async def test_a_report_has_sixty_minutes_the_oldest_first_and_gaps_as_zeros(client: Client, prefix: str) -> None:
    clock = Hand(NOON - 59 * 60)
    counters = MinuteCounters(client, prefix, clock)
    answered(counters, Outcome.HIT, 0.001)
    await counters.flush()
    clock.at = NOON
    await counters.flush()
    answered(counters, Outcome.MISS, 1.2)
    answered(counters, Outcome.MISS, 0.9)
    counters.call()
    report = await counters.report(NOON)
    assert report.whole
    assert len(report.minutes) == 60
    first, *gaps, last = report.minutes
    assert (first.at.timestamp(), first.requests, first.outcomes, first.calls) == (NOON - 3540, 1, {"hit": 1}, 0)
    assert (last.at.timestamp(), last.requests, last.outcomes, last.calls) == (NOON, 2, {"miss": 2}, 1)
    assert {(gap.requests, len(gap.outcomes), gap.calls) for gap in gaps} == {(0, 0, 0)}
    assert [minute.requests for minute in (await counters.report(NOON + 60)).minutes].count(0) == 59


async def test_latency_is_told_by_outcome_in_seconds(client: Client, prefix: str) -> None:
    counters = MinuteCounters(client, prefix, Hand())
    for seconds in [0.0006] * 90 + [0.04] * 10:
        answered(counters, Outcome.HIT, seconds)
    answered(counters, Outcome.FAILED, 20.0)
    await counters.flush()
    latency = (await counters.report(NOON)).latency
    assert set(latency) == {"hit", "failed"}
    hit = latency["hit"]
    assert hit.count == 100
    assert 0.0005 <= hit.p50 <= 0.0007
    assert 0.03 <= hit.p95 <= hit.p99 <= 0.05
    assert 15.0 < latency["failed"].p50 <= 20.0


async def test_processes_add_up_and_what_one_has_not_told_counts_once(client: Client, prefix: str) -> None:
    here, there = (MinuteCounters(client, prefix, Hand()) for _ in range(2))
    answered(there, Outcome.HIT)
    there.call()
    await there.flush()
    answered(here, Outcome.HIT)
    answered(here, Outcome.STALE)
    for _ in range(2):
        assert await outcomes(here) == [{"hit": 2, "stale": 1}]
        await here.flush()
    answered(there, Outcome.HIT)
    assert await outcomes(here) == [{"hit": 2, "stale": 1}]
    report = await there.report(NOON)
    assert report.minutes[-1].outcomes == {"hit": 3, "stale": 1}
    assert report.minutes[-1].calls == 1
    assert report.latency["hit"].count == 3


async def test_a_report_while_a_flush_is_under_way_counts_everything_once(client: Client, prefix: str) -> None:
    counters = MinuteCounters(client, prefix, Hand())
    for _ in range(20):
        answered(counters, Outcome.HIT)
        flushing = asyncio.create_task(counters.flush())
        await asyncio.sleep(0)
        answered(counters, Outcome.HIT)
        reports = await asyncio.gather(counters.report(NOON), counters.flush(), counters.report(NOON))
        await flushing
        counts = {each.minutes[-1].requests for each in (reports[0], reports[2])}
        assert counts == {(await counters.report(NOON)).minutes[-1].requests}
    assert await outcomes(counters) == [{"hit": 40}]


async def test_everything_told_expires(client: Client, prefix: str) -> None:
    counters = MinuteCounters(client, prefix, Hand())
    answered(counters, Outcome.HIT)
    await counters.flush()
    (key,) = [key async for key in client.scan_iter(f"{prefix}:*")]
    assert key == f"{prefix}:{{pulse}}:{MINUTE}".encode()
    assert 7_100 < await client.ttl(key) <= 7_200


async def test_fields_that_are_none_of_ours_are_ignored(client: Client, prefix: str) -> None:
    hostile: Any = {
        "o:hit": "many",
        "o:miss": "-5",
        "o:stale": "9" * 400,
        "o:collapsed": "1.5",
        "o:bypass": "²",
        "o:nonsense": "7",
        "b:hit:50": "",
        "b:hit:51": "3",
        b"\xff\xfe": b"\xff",
        "calls": " 4",
        "": "1",
        "o:failed": "2",
    }
    await client.hset(f"{prefix}:{{pulse}}:{MINUTE}", mapping=hostile)
    report = await MinuteCounters(client, prefix, Hand()).report(NOON)
    assert report.whole
    assert (report.minutes[-1].outcomes, report.minutes[-1].calls) == ({"failed": 2}, 0)
    assert report.latency == {}


async def test_a_field_that_redis_cannot_add_to_spoils_no_other_and_none_is_added_twice(
    client: Client, prefix: str
) -> None:
    key = f"{prefix}:{{pulse}}:{MINUTE}"
    await client.hset(key, "o:hit", "many")
    clock = Hand()
    counters = MinuteCounters(client, prefix, clock)
    answered(counters, Outcome.HIT, 0.0001)
    answered(counters, Outcome.MISS)
    for _ in range(3):
        await counters.flush()
    assert await client.hmget(key, ["o:hit", "o:miss", "b:hit:100"]) == [b"many", b"1", b"1"]
    assert await outcomes(counters) == [{"hit": 1, "miss": 1}]


async def test_counts_wait_for_a_redis_that_is_gone(redis_client: Client, prefix: str) -> None:
    counters = MinuteCounters(nobody(), prefix, Hand())
    answered(counters, Outcome.HIT)
    await counters.flush()
    answered(counters, Outcome.HIT)
    report = await counters.report(NOON)
    assert not report.whole
    assert report.minutes[-1].outcomes == {"hit": 2}
    counters._client = redis_client
    await counters.flush()
    assert await outcomes(MinuteCounters(redis_client, prefix, Hand())) == [{"hit": 2}]


async def test_what_redis_said_before_it_went_is_still_told(redis_client: Client, prefix: str) -> None:
    other = MinuteCounters(redis_client, prefix, Hand())
    answered(other, Outcome.STALE)
    await other.flush()
    counters = MinuteCounters(redis_client, prefix, Hand())
    assert (await counters.report(NOON)).whole
    counters._client = nobody()
    answered(counters, Outcome.HIT)
    report = await counters.report(NOON)
    assert (report.whole, report.minutes[-1].outcomes) == (False, {"hit": 1, "stale": 1})


async def test_an_hour_is_kept_while_none_is_taken_and_told_bit_by_bit(redis_client: Client, prefix: str) -> None:
    clock = Hand(NOON)
    counters = MinuteCounters(nobody(), prefix, clock)
    for _ in range(100):
        answered(counters, Outcome.HIT)
        clock.at += 60
        await counters.flush()
    assert len(counters._pending) == 60
    last = clock.at - 60
    counters._client = redis_client
    await counters.flush()
    assert len(await outcomes(MinuteCounters(redis_client, prefix, clock), last)) == 10
    for _ in range(5):
        await counters.flush()
    assert len(await outcomes(MinuteCounters(redis_client, prefix, clock), last)) == 60
    assert counters._pending == {}


async def test_what_was_counted_last_is_told_at_the_stop(redis_client: Client, prefix: str) -> None:
    counters = MinuteCounters(redis_client, prefix, Hand())
    running = asyncio.create_task(counters.run())
    await asyncio.sleep(0)
    answered(counters, Outcome.HIT)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert await outcomes(MinuteCounters(redis_client, prefix, Hand())) == [{"hit": 1}]


@pytest.mark.parametrize(("into", "seconds"), [(0, 2.0), (30, 2.0), (59, 1.0), (59.99, 0.05)])
def test_a_flush_is_due_every_two_seconds_and_at_the_end_of_a_minute(into: float, seconds: float) -> None:
    assert pause(NOON + into) == pytest.approx(seconds)


async def test_a_count_belongs_to_the_minute_it_was_made_in(redis_client: Client, prefix: str) -> None:
    clock = Hand(NOON - 0.1)
    counters = MinuteCounters(redis_client, prefix, clock)
    answered(counters, Outcome.HIT)
    running = asyncio.create_task(counters.run())
    try:
        while not await redis_client.exists(f"{prefix}:{{pulse}}:{MINUTE - 1}"):
            clock.at = NOON
            await asyncio.sleep(0)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert not await redis_client.exists(f"{prefix}:{{pulse}}:{MINUTE}")


async def test_a_redis_that_talks_nonsense_loses_nothing_and_fails_nobody(
    shared_redis: RedisServer, prefix: str
) -> None:
    with chaos_proxy(shared_redis.port) as proxy:
        client = connect(Settings(redis_url=SecretStr(proxy.url), redis_timeout=0.5))
        counters = MinuteCounters(client, prefix, Hand())
        for told, kind in enumerate(("wrong-shape", "bad-integer", "http"), 1):
            answered(counters, Outcome.HIT)
            proxy.nonsense = kind
            await counters.flush()
            report = await counters.report(NOON)
            assert (report.whole, report.minutes[-1].outcomes) == (False, {"hit": told}), kind
            proxy.behave()
            while not (await counters.report(NOON)).whole:
                await asyncio.sleep(0.01)
            await counters.flush()
            assert await outcomes(counters) == [{"hit": told}], kind
        await client.aclose()
    assert counters._pending == {}


async def test_in_a_cluster_the_hour_has_one_slot_and_is_followed_where_it_moves(
    shared_redis: RedisServer, prefix: str
) -> None:
    with redis_cluster() as cluster:
        client = connect(Settings(redis_url=SecretStr(cluster.url)))
        assert isinstance(client, ClusterClient)
        clock = Hand(NOON - 60)
        counters = MinuteCounters(client, prefix, clock)
        answered(counters, Outcome.HIT)
        clock.at = NOON
        await counters.flush()
        answered(counters, Outcome.STALE)
        assert await outcomes(counters) == [{"hit": 1}, {"stale": 1}]
        slot = slot_of(("HGETALL", f"{prefix}:{{pulse}}:{MINUTE}"))
        assert slot is not None
        owner, _ = await client.nodes.of(slot)
        client.nodes._owners[slot] = next(each for each in client.nodes._owners if each != owner)
        async with asyncio.timeout(30):
            while counters._pending:
                await counters.flush()
        report = await MinuteCounters(client, prefix, clock).report(NOON)
        assert (report.whole, [minute.outcomes for minute in report.minutes[-2:]]) == (
            True,
            [{"hit": 1}, {"stale": 1}],
        )
        await client.aclose()


def test_a_minute_has_a_bounded_number_of_fields() -> None:
    fields = MinuteCounters.FIELDS
    assert len(fields) == len(set(fields)) == 1 + 8 + 8 * 37
