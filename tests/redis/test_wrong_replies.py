"""Replies of the wrong shape, for each room that reads from Redis: CacheUnavailable, or an answer without them."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from gateway.admin.auth import AdminTokens
from gateway.admin.sessions import Sessions
from gateway.cache.purges import Purges, PurgeScope
from gateway.errors import CacheUnavailable
from gateway.jobs.checks import Trust
from gateway.jobs.job import Job, Standing
from gateway.jobs.runs import Runs
from gateway.jobs.schedule import Schedule, Scheduled
from gateway.jobs.store import JobLimits, JobStore
from gateway.jobs.trusts import Trusts
from gateway.observe.counters import DayCounters
from gateway.redis import Client
from gateway.setting_values import Warming
from tests.chaos_redis import ChaosProxy, chaos_proxy
from tests.redis.test_client import connected
from tests.redis_server import RedisServer

SHAPES = ("wrong-type", "wrong-shape", "not-text", "unhashable")
Read = Callable[[Client], Awaitable[object]]
DAY = datetime.date(2026, 1, 1)
JOB = Job("j1", "lib", "batch", 2, 5.0)
WARMING = Scheduled("nightly", Warming(tenant="lib", file="list"), Schedule("30 2 * * *", "UTC"))


def jobs(client: Client) -> JobStore:
    return JobStore(client, "p", JobLimits(2, 10_000))


READS: dict[str, Read] = {
    "job": lambda client: jobs(client).find("j1"),
    "job-standing": lambda client: jobs(client).standing("j1"),
    "job-chunk": lambda client: jobs(client).chunk("j1", 0),
    "job-wants": lambda client: jobs(client).wants("j1"),
    "jobs": lambda client: jobs(client).of("lib"),
    "job-claim": lambda client: jobs(client).claim(),
    "job-take": lambda client: jobs(client).take("j1", "token"),
    "job-resume": lambda client: jobs(client).resume(JOB, "token"),
    "job-keep": lambda client: jobs(client).keep(JOB, "token", Standing(), {}),
    "job-count": lambda client: jobs(client).count(JOB, Standing()),
    "job-cancel": lambda client: jobs(client).cancel(JOB, Standing()),
    "warming": lambda client: Runs(client, "p").turn(WARMING, 60.0, since=0.0, late=False),
    "warming-settle": lambda client: Runs(client, "p").settle(WARMING, 60.0, "begun"),
    "trust": lambda client: Trusts(client, "p").of("public:article:lboro"),
    "trust-keep": lambda client: Trusts(client, "p").keep("public:article:lboro", Trust()),
    "purge": lambda client: Purges(client, "p").purge(PurgeScope.everything()),
    "purge-private": lambda client: Purges(client, "p").keep_private("lboro"),
    "purge-poll": lambda client: Purges(client, "p").poll(),
    "session": lambda client: Sessions(client, "p", AdminTokens("token", {}, ()), lambda: 0.0, 60.0).find(
        "x.y", active=True
    ),
    "last-used": lambda client: DayCounters(client, "p", 30).last_used(["k"]),
    "usage": lambda client: DayCounters(client, "p", 30).report(
        datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)
    ),
    "usage-total": lambda client: DayCounters(client, "p", 30).total(DAY),
}


@pytest.fixture(scope="module")
def babbling(shared_redis: RedisServer) -> Iterator[ChaosProxy]:
    with chaos_proxy(shared_redis.port) as proxy:
        yield proxy


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("read", READS)
async def test_a_reply_of_the_wrong_shape_is_a_cache_that_does_not_answer(
    babbling: ChaosProxy, read: str, shape: str
) -> None:
    async with connected(babbling.url) as (client, _):
        babbling.behave()
        await client.ping()
        babbling.nonsense = shape
        with suppress(CacheUnavailable):
            await READS[read](client)
