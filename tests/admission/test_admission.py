"""Limits on a real Redis, in one process and across several."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis.asyncio

from gateway.admission.admission import PATIENCE, Admission
from gateway.admission.grant import Grant, Rules
from gateway.errors import RateLimited
from gateway.tenants.tenant import TenantLimits
from tests.redis_server import RedisServer, free_port

MEMBER = Path(__file__).with_name("member.py")
SLOW = TenantLimits(requests_per_second=0.01, burst=5)


def admission_of(client: redis.asyncio.Redis, prefix: str, fleet: int = 1) -> Admission:
    return Admission(client, prefix, lambda: fleet)


async def admitted(admission: Admission, limits: TenantLimits, times: int, subject: str = "reports") -> int:
    """How many of ``times`` requests, one after another, were admitted."""
    count = 0
    for _ in range(times):
        try:
            await admission.admit(subject, limits)
            count += 1
        except RateLimited:
            pass
        task = admission._lease(subject, admission._leases[subject].rules).task
        if task is not None:
            await task
    return count


async def test_a_burst_is_admitted_and_no_more(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    assert await admitted(admission_of(redis_client, prefix), SLOW, 20) == 5


async def test_a_burst_at_once_is_admitted_whole(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    admission = admission_of(redis_client, prefix)
    asked = [admission.admit("reports", TenantLimits(requests_per_second=0.01, burst=50)) for _ in range(80)]
    replies = await asyncio.gather(*asked, return_exceptions=True)
    refused = [each for each in replies if isinstance(each, RateLimited)]
    assert 29 <= len(refused) <= 30
    assert len(replies) - len(refused) == 80 - len(refused)


async def test_callers_have_limits_of_their_own(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    admission = admission_of(redis_client, prefix)
    assert await admitted(admission, SLOW, 8) == 5
    assert await admitted(admission, SLOW, 8, "others") == 5


async def test_a_refusal_says_when_to_come_back_and_asks_redis_nothing(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    admission = admission_of(redis_client, prefix)
    await admitted(admission, SLOW, 8)
    before = (await redis_client.info("stats"))["total_commands_processed"]
    for _ in range(50):
        with pytest.raises(RateLimited) as refusal:
            await admission.admit("reports", SLOW)
        assert 90 < (refusal.value.retry_after or 0) <= 100
    assert dict(refusal.value.headers)[b"ratelimit"].startswith(b'"rate";r=0;')
    assert (await redis_client.info("stats"))["total_commands_processed"] - before < 10


async def test_a_day_has_its_own_limit(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    limits = TenantLimits(requests_per_day=7)
    assert await admitted(admission_of(redis_client, prefix), limits, 12) in (7, 8)


async def test_a_changed_limit_counts_at_once(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    admission = admission_of(redis_client, prefix)
    await admitted(admission, SLOW, 8)
    assert await admitted(admission, TenantLimits(requests_per_second=100, burst=100), 20) == 20


async def test_each_of_two_processes_may_be_one_ahead_and_no_more(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    processes = [admission_of(redis_client, prefix, fleet=2) for _ in range(2)]
    total = 0
    for _ in range(10):
        total += sum([await admitted(each, SLOW, 1) for each in processes])
    assert 5 <= total <= 5 + 2


async def test_what_a_quiet_process_took_ahead_goes_back(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    limits = TenantLimits(requests_per_day=60)
    busy, other = (admission_of(redis_client, prefix, fleet=2) for _ in range(2))
    await asyncio.gather(*(busy.admit("reports", limits) for _ in range(20)))
    lease = busy._leases["reports"]
    await admitted(busy, limits, 1)
    assert lease.tokens > 0
    tidy = asyncio.create_task(busy.run())
    async with asyncio.timeout(10):
        while lease.tokens > 0 or lease.task is not None or lease.owed:
            await asyncio.sleep(0.05)
    tidy.cancel()
    assert await admitted(other, limits, 60) in (39, 40)


async def test_without_redis_each_process_has_its_share(prefix: str) -> None:
    gone = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}", protocol=2)
    admission = admission_of(gone, prefix, fleet=2)
    assert await admitted(admission, TenantLimits(requests_per_second=0.01, burst=10), 30) in (5, 6)
    await gone.aclose()


async def test_a_lease_grows_with_its_use_so_that_few_requests_ask_redis(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    admission = admission_of(redis_client, prefix)
    limits = TenantLimits(requests_per_second=2_000, burst=2_000)
    assert await admitted(admission, limits, 10) == 10
    before = (await redis_client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert await admitted(admission, limits, 500) == 500
    assert (await redis_client.info("commandstats"))["cmdstat_evalsha"]["calls"] - before < 50


async def test_what_came_back_meanwhile_is_told_with_the_first_answer(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    admission = admission_of(redis_client, prefix)
    limits = TenantLimits(requests_per_second=100, burst=5)
    await admitted(admission, limits, 6)
    lease = admission._leases["reports"]
    lease.told_at -= 60
    lease.refused_until = 0.0
    lease.tokens = lease.owed = 0
    standing = await admission.admit("reports", limits)
    assert dict(standing.headers)[b"ratelimit"] == b'"rate";r=4;t=1'


class Slow(Admission):
    """One whose Redis answers, but later than any request waits."""

    async def _ask(self, subject: str, rules: Rules, wanted: int, owed: int) -> Grant:
        await asyncio.sleep(PATIENCE * 2)
        return await super()._ask(subject, rules, wanted, owed)


async def test_what_was_granted_while_redis_was_slow_is_charged(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    admission = Slow(redis_client, prefix, lambda: 1)
    await asyncio.gather(*(admission.admit("reports", SLOW) for _ in range(5)))
    lease = admission._leases["reports"]
    async with asyncio.timeout(10):
        while lease.task is not None:
            await lease.task
    assert (lease.tokens, lease.owed) == (0, 0)
    assert await admitted(admission_of(redis_client, prefix), SLOW, 3) <= 1


async def test_callers_are_bounded(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    admission = admission_of(redis_client, prefix)
    for number in range(10_050):
        admission._lease(f"address:{number}", Rules.of(SLOW))
    assert len(admission._leases) == 10_000


async def test_what_redis_holds_expires(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    await admitted(admission_of(redis_client, prefix), SLOW, 3, "any text: {}\n*")
    (key,) = [key async for key in redis_client.scan_iter(f"{prefix}:*")]
    assert 0 < await redis_client.pttl(key) <= 600_000
    assert b"any text" not in key


@contextmanager
def pressed(url: str, prefix: str, rate: float, burst: int, fleet: int, seconds: float) -> Iterator[list[int]]:
    """What each of so many processes was admitted."""
    words = [url, prefix, str(rate), str(burst), str(fleet), str(seconds)]
    with ExitStack() as stack:
        members = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(MEMBER), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(fleet)
        ]
        for member in members:
            assert member.stdout is not None
            assert member.stdout.readline() == "ready\n"
        for member in members:
            assert member.stdin is not None
            member.stdin.write("go\n")
            member.stdin.flush()
        yield [int(member.communicate(timeout=seconds + 60)[0].split()[0]) for member in members]


@pytest.mark.serial
@pytest.mark.parametrize("seconds", [4.0, pytest.param(60.0, marks=pytest.mark.drill)])
def test_a_rate_holds_across_processes_within_a_tenth(
    seconds: float, shared_redis: RedisServer, prefix: str
) -> None:
    began = time.monotonic()
    with pressed(shared_redis.url, prefix, 40, 40, 2, seconds) as counts:
        allowed = 40 + 40 * seconds
        print(
            f"\n{sum(counts)} of {allowed:.0f} admitted, by process {counts}, in {time.monotonic() - began:.1f} s"
        )
        assert 0.9 * allowed <= sum(counts) <= 1.1 * allowed


@pytest.mark.serial
def test_a_low_rate_is_exceeded_by_one_a_process_at_most(shared_redis: RedisServer, prefix: str) -> None:
    with pressed(shared_redis.url, prefix, 1, 1, 4, 6.0) as counts:
        assert 6 <= sum(counts) <= 1 + 6 + 4 + 1, counts
