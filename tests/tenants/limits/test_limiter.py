"""Limits on a real Redis, in one process."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
import redis.asyncio

from gateway.errors import RateLimited
from gateway.redis import client_at
from gateway.redis_url import RedisPlace
from gateway.tenants.lease import HORIZON, PATIENCE, SETTLE, Lease
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.ratelimit import RateLimitFields
from gateway.tenants.tenant import TenantLimits
from tests.chaos_redis import chaos_proxy
from tests.redis_server import RedisServer, free_port, redis_server
from tests.tenants.limits.test_policy import parsed

# redis-py's own client leaves connections to the garbage collector where a command is cancelled.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SLOW = TenantLimits(requests_per_second=0.01, burst=5)


def admission_of(client: redis.asyncio.Redis, prefix: str, fleet: int = 1) -> RateLimiter:
    return RateLimiter(client, prefix, lambda: fleet)


async def settled(lease: Lease) -> None:
    """Until nothing is asked any more."""
    async with asyncio.timeout(10):
        while lease.task is not None:
            await asyncio.wait({lease.task})


async def admitted(admission: RateLimiter, limits: TenantLimits, times: int, subject: str = "reports") -> int:
    """How many of ``times`` requests, one after another, were admitted."""
    count = 0
    for _ in range(times):
        try:
            await admission.admit(subject, limits)
            count += 1
        except RateLimited:
            pass
        task = admission._leases[subject].task
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


@pytest.mark.usefixtures("shared_redis")
async def test_a_refusal_says_when_to_come_back_and_asks_redis_nothing(prefix: str) -> None:
    with redis_server() as server:  # of its own, since others' commands would count
        client = redis.asyncio.Redis.from_url(server.url, protocol=2)
        await assert_refused_without_redis(client, prefix)
        await client.aclose()


async def assert_refused_without_redis(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    admission = admission_of(redis_client, prefix)
    await admitted(admission, SLOW, 8)
    before = (await redis_client.info("stats"))["total_commands_processed"]
    for _ in range(50):
        with pytest.raises(RateLimited) as refusal:
            await admission.admit("reports", SLOW)
        assert 90 < (refusal.value.retry_after or 0) <= 100
        assert dict(refusal.value.headers)[b"ratelimit"].startswith(b'"rate";r=0;t=')
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
    lease.last -= HORIZON  # that long ago
    tidy = asyncio.create_task(busy.run())
    async with asyncio.timeout(10):
        while lease.tokens > 0 or lease.task is not None or lease.local.owed:
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
    lease.local.whole_at -= 60
    lease.local._tat -= 60
    lease.refused_until = 0.0
    lease.tokens = lease.local.owed = 0
    standing = await admission.admit("reports", limits)
    assert dict(standing.headers)[b"ratelimit"] == b'"rate";r=4;t=1'


async def test_what_was_granted_while_redis_was_slow_is_charged(
    shared_redis: RedisServer, redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    with chaos_proxy(shared_redis.port) as proxy:
        proxy.delay = PATIENCE * 2
        slow = redis.asyncio.Redis.from_url(proxy.url, protocol=2)
        admission = admission_of(slow, prefix)
        await asyncio.gather(*(admission.admit("reports", SLOW) for _ in range(5)))
        lease = admission._leases["reports"]
        await settled(lease)
        assert (lease.tokens, lease.local.owed) == (0, 0)
        await slow.aclose()
    assert await admitted(admission_of(redis_client, prefix), SLOW, 3) <= 1


async def test_a_process_that_hears_late_has_its_share_of_what_it_last_heard(
    shared_redis: RedisServer, redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    """The worst case: one that heard of a full burst, which another one took since."""
    limits = TenantLimits(requests_per_second=0.01, burst=40)
    with chaos_proxy(shared_redis.port) as proxy:
        slow = redis.asyncio.Redis.from_url(proxy.url, protocol=2)
        late, other = admission_of(slow, prefix, fleet=2), admission_of(redis_client, prefix, fleet=2)
        assert await admitted(late, limits, 1) == 1
        assert await admitted(other, limits, 50) in (39, 40)
        proxy.delay = PATIENCE * 2
        replies = await asyncio.gather(*(late.admit("reports", limits) for _ in range(50)), return_exceptions=True)
        await settled(late._leases["reports"])
        assert 1 <= sum(not isinstance(reply, RateLimited) for reply in replies) <= 21
        with pytest.raises(RateLimited):
            await late.admit("reports", limits)
        await slow.aclose()


async def test_nobody_is_left_waiting_where_redis_never_answers(shared_redis: RedisServer, prefix: str) -> None:
    limits = TenantLimits(requests_per_second=0.01, burst=10)
    with redis_server() as server:
        client = redis.asyncio.Redis.from_url(server.url, protocol=2)
        admission = admission_of(client, prefix, fleet=2)
        server.pause()
        admitted = 0
        async with asyncio.timeout(20):
            for _ in range(2):
                asked = [admission.admit("reports", limits) for _ in range(30)]
                replies = await asyncio.gather(*asked, return_exceptions=True)
                assert all(isinstance(reply, RateLimitFields | RateLimited) for reply in replies)
                admitted += sum(isinstance(reply, RateLimitFields) for reply in replies)
        assert admitted in (5, 6)
        lease = admission._leases["reports"]
        assert not lease.waiting
        server.resume()
        await settled(lease)
        await client.aclose()


async def test_who_leaves_while_waiting_takes_nothing_along(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    admission = admission_of(redis_client, prefix)
    limits = TenantLimits(requests_per_day=100)
    await admitted(admission, limits, 1)
    lease = admission._leases["reports"]
    lease.tokens = 0
    lease.local.charge(time.monotonic())  # so that nothing goes on credit
    leaver = asyncio.create_task(admission.admit("reports", limits))
    async with asyncio.timeout(10):
        while not lease.waiting:
            await asyncio.sleep(0)
    (waiter,) = lease.waiting
    waiter.add_done_callback(lambda _: leaver.cancel())  # just when it is answered
    await asyncio.wait({leaver})
    assert leaver.cancelled()
    assert lease.tokens >= 1
    assert not lease.waiting


async def test_no_process_takes_more_of_a_day_ahead_than_leaves_others_theirs(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    limits = TenantLimits(requests_per_day=400)
    busy, other = (admission_of(redis_client, prefix, fleet=2) for _ in range(2))
    for _ in range(3):
        await asyncio.gather(*(busy.admit("reports", limits) for _ in range(60)))
        await settled(busy._leases["reports"])
        busy._leases["reports"].used = 10_000  # as one that is in a great hurry
        await admitted(busy, limits, 1)
    taken = 183 + busy._leases["reports"].tokens
    assert 183 < taken <= 183 + 217 // 4
    assert await admitted(other, limits, 400) in (400 - taken, 401 - taken)


async def test_a_process_that_ends_gives_back_what_it_took_ahead(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    limits = TenantLimits(requests_per_day=400)
    first, second = (admission_of(redis_client, prefix, fleet=2) for _ in range(2))
    await asyncio.gather(*(first.admit("reports", limits) for _ in range(60)))
    await admitted(first, limits, 1)
    assert first._leases["reports"].tokens > 0
    await first.stop()
    assert await admitted(second, limits, 400) in (339, 340)


async def test_a_lease_that_is_no_longer_kept_goes_back(
    redis_client: redis.asyncio.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.tenants.limiter.MOST", 1)
    limits = TenantLimits(requests_per_day=400)
    first, second = (admission_of(redis_client, prefix, fleet=2) for _ in range(2))
    await asyncio.gather(*(first.admit("reports", limits) for _ in range(60)))
    await admitted(first, limits, 1)
    lease = first._leases["reports"]
    assert lease.tokens > 0
    await first.admit("others", limits)
    await settled(lease)
    assert lease.tokens == 0
    assert await admitted(second, limits, 400) in (339, 340)


async def test_a_redis_that_forgot_is_told_what_was_heard_last(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    admission = admission_of(redis_client, prefix)
    limits = TenantLimits(requests_per_second=0.01, burst=30, requests_per_day=100)
    assert await admitted(admission, limits, 20) == 20
    await redis_client.delete(*[key async for key in redis_client.scan_iter(f"{prefix}:*")])
    assert await admitted(admission, limits, 30) in (10, 11)
    told = admission._leases["reports"].fields(time.monotonic())
    assert b'r=0;t=100, "day";r=70;' in told.lines


async def test_what_was_granted_without_redis_is_told_when_it_is_back(
    shared_redis: RedisServer, redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    limits = TenantLimits(requests_per_second=0.01, burst=20, requests_per_day=50)
    port = free_port()
    client = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{port}", protocol=2)
    admission = admission_of(client, prefix, fleet=2)
    assert await admitted(admission, limits, 30) == 10
    with redis_server(port=port):
        tidy = asyncio.create_task(admission.run())
        async with asyncio.timeout(10):
            while admission._leases["reports"].local.owed:
                await asyncio.sleep(0.05)
        tidy.cancel()
        other = admission_of(client, prefix, fleet=2)
        assert await admitted(other, limits, 30) in (10, 11)
        await client.aclose()


async def test_all_callers_are_told_of_while_others_keep_to_their_share(prefix: str) -> None:
    """Each process has as long for that as the others wait, however many callers it has."""
    port = free_port()
    callers = [f"caller-{number}" for number in range(24)]
    async with client_at(RedisPlace.parse(f"redis://127.0.0.1:{port}"), 1.0, 4, "") as client:
        admission = admission_of(client, prefix, fleet=2)
        granted = [await admitted(admission, SLOW, 1, caller) for caller in callers]
        assert sum(granted) == len(callers)
        with redis_server(port=port):
            telling = asyncio.create_task(admission.run())
            async with asyncio.timeout(SETTLE + 5):
                while any(lease.local.owed for lease in admission._leases.values()):
                    await asyncio.sleep(0.02)
            telling.cancel()


async def test_every_answer_tells_of_every_limit_and_a_refusal_of_the_one_that_refused(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    admission = admission_of(redis_client, prefix)
    limits = TenantLimits(requests_per_second=0.01, burst=2, requests_per_day=50)
    for left in (1, 0):
        told = dict((await admission.admit("reports", limits)).headers)
        assert told[b"ratelimit-policy"] == b'"rate";q=2;w=200, "day";q=50;w=86400'
        rate, day = parsed(told[b"ratelimit"]).values()
        assert (rate["r"], day["r"]) == (left, 48 + left)
        assert 0 < rate["t"] <= 100
    await settled(admission._leases["reports"])
    with pytest.raises(RateLimited) as refusal:
        await admission.admit("reports", limits)
    told = dict(refusal.value.headers)
    assert told[b"ratelimit-policy"] == b'"rate";q=2;w=200, "day";q=50;w=86400'
    assert told[b"ratelimit"] == b'"rate";r=0;t=%d' % math.ceil(refusal.value.retry_after or 0)


async def test_callers_are_bounded(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    admission = admission_of(redis_client, prefix)
    for number in range(10_050):
        admission._lease(f"address:{number}", SLOW, time.monotonic())
    assert len(admission._leases) == 10_000


async def test_what_redis_holds_expires(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    await admitted(admission_of(redis_client, prefix), SLOW, 3, "any text: {}\n*")
    (key,) = [key async for key in redis_client.scan_iter(f"{prefix}:*")]
    assert 0 < await redis_client.pttl(key) <= 600_000
    assert b"any text" not in key
