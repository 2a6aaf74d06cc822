"""Limits of many callers on a real Redis, whose commands are counted: leases that fall due together are renewed
together, and hits of callers far below their limits cost none of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any

import pytest
import redis.asyncio

from gateway.tenants.lease import Lease
from gateway.tenants.limiter import BATCH, RateLimiter
from gateway.tenants.tenant import TenantLimits
from tests.redis_server import RedisServer, redis_server
from tests.tenants.limits.fleet import pressed
from tests.tenants.limits.test_limiter import settled

BURST = 1_000
MANY = TenantLimits(requests_per_second=BURST, burst=BURST)


@pytest.fixture(scope="module")
def own_redis(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """One of the module's own, since others' commands would count; skipped where there is none."""
    with redis_server() as server:
        yield server


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(own_redis.url, protocol=2) as client:
        yield client


def scripts(server: RedisServer) -> int:
    """How many scripts it ran so far."""
    stats = server.call("INFO", "commandstats")
    return sum(int(stats[name]["calls"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)


def named(count: int) -> list[str]:
    return [f"caller-{number}" for number in range(count)]


async def all_settled(admission: RateLimiter) -> None:
    for lease in list(admission._leases.values()):
        await settled(lease)


async def asked_by(admission: RateLimiter, callers: list[str], limits: TenantLimits = MANY) -> None:
    """Each asks once, and is admitted."""
    for caller in callers:
        if admission.at_once(caller, limits, monotonic()) is None:
            await admission.admit(caller, limits)


def aged(lease: Lease, seconds: float) -> None:
    """As if that time had passed."""
    lease.since -= seconds
    lease.last -= seconds
    lease.local.whole_at -= seconds


async def test_leases_that_fall_due_together_are_renewed_together(
    own_redis: RedisServer, client: redis.asyncio.Redis, prefix: str
) -> None:
    admission, callers = (
        RateLimiter(client, prefix, lambda: 1),
        [f"caller-{number}" for number in range(BATCH * 3)],
    )
    before = scripts(own_redis)
    await asked_by(admission, callers)
    await all_settled(admission)
    assert all(lease.tokens > 0 and lease.local.owed == 0 for lease in admission._leases.values())
    # It may take longer than one tick until all have asked.
    assert 3 <= scripts(own_redis) - before <= len(callers) / 10


async def test_hits_of_thousands_of_callers_cost_no_commands_of_their_own(
    own_redis: RedisServer, client: redis.asyncio.Redis, prefix: str
) -> None:
    admission, callers = RateLimiter(client, prefix, lambda: 1), named(2_000)
    await asked_by(admission, callers)
    await all_settled(admission)
    before = scripts(own_redis)
    for _ in range(5):
        await asked_by(admission, callers)
        await all_settled(admission)
    assert scripts(own_redis) - before < 5 * len(callers) / 50


async def test_who_asks_seldom_asks_redis_more_seldom(client: redis.asyncio.Redis, prefix: str) -> None:
    admission = RateLimiter(client, prefix, lambda: 1)
    await asked_by(admission, ["caller"])
    lease = admission._leases["caller"]
    exchanges = 0
    for _ in range(100):
        await settled(lease)
        aged(lease, 0.5)  # two requests a second
        await asked_by(admission, ["caller"])
        exchanges += lease.task is not None
    assert 1 <= exchanges <= 12


@pytest.mark.parametrize("record", ["something else", {"born": "long ago", "tat": "late"}], ids=["text", "hash"])
async def test_a_record_that_is_none_is_nobody_elses_trouble(
    client: redis.asyncio.Redis, prefix: str, record: Any
) -> None:
    admission = RateLimiter(client, prefix, lambda: 1)
    key = admission._key("unlucky")
    await (client.set(key, record) if isinstance(record, str) else client.hset(key, mapping=record))
    callers = ["first", "unlucky", "last"]
    await asked_by(admission, callers)
    await all_settled(admission)
    assert {name: admission._leases[name].failed for name in callers} == {
        "first": False, "unlucky": isinstance(record, str), "last": False,
    }  # fmt: skip
    assert admission._leases["first"].tokens > 0
    assert admission._leases["last"].tokens > 0
    await asked_by(admission, callers)


def test_hits_of_many_callers_in_two_processes_share_commands(own_redis: RedisServer, prefix: str) -> None:
    before = scripts(own_redis)
    tallies = pressed(own_redis.url, prefix, MANY, 2, 2.0, callers=200)
    assert not any(tally.errors or tally.refused for tally in tallies)
    hits = sum(tally.admitted for tally in tallies)
    assert hits > 400
    assert scripts(own_redis) - before < hits / 3


async def test_what_many_took_ahead_goes_back_together(
    own_redis: RedisServer, client: redis.asyncio.Redis, prefix: str
) -> None:
    admission, callers = RateLimiter(client, prefix, lambda: 1), named(BATCH)
    await asked_by(admission, callers)
    await all_settled(admission)
    before = scripts(own_redis)
    await admission.stop()
    assert scripts(own_redis) - before == 1
    again = RateLimiter(client, prefix, lambda: 1)
    await asked_by(again, callers)
    await all_settled(again)
    for lease in again._leases.values():
        assert lease.local.left(monotonic()) + lease.tokens >= BURST - 2
