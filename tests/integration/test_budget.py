"""The fleet against a strict service: never too fast, fair to each tenant, and every refusal's promise kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.integration.crowd import Client, Reply
from tests.integration.stage import Stage, staged
from tests.redis_server import RedisServer

pytestmark = pytest.mark.serial


@dataclass(frozen=True)
class Scale:
    """How large a drill is: ``rate`` calls a second, ``queries`` at once, a caller's ``deadline`` in seconds."""

    rate: float
    queries: int
    processes: int
    deadline: float

    @property
    def interval(self) -> float:
        return 1 / self.rate


SHORT = Scale(rate=2, queries=18, processes=4, deadline=4)
FULL = Scale(rate=1, queries=200, processes=4, deadline=30)


@contextmanager
def strict_stage(scale: Scale, redis: RedisServer, prefix: str) -> Iterator[Stage]:
    settings = {
        "redis_url": redis.url,
        "redis_prefix": prefix,
        "budget": f"{scale.rate:g}/s",
        "budget_burst": 1,
        "caller_timeout": scale.deadline,
        "log_level": "warning",
    }
    with staged("--rate", f"{scale.rate:g}/s", **settings) as stage:
        for tenant in ("reports", "dashboard", "archive"):
            stage.tenant(tenant, "lboro")
        stage.serve_several(scale.processes)
        yield stage


def target(number: int) -> str:
    return f"/lboro/timeline/month/views/article/{number}?start_date=2014-01-01&end_date=2014-06-30"


async def retried(client: Client, first: Reply) -> Reply:
    """What a client gets that comes back once, after what it was told and a tenth more."""
    await asyncio.sleep(float(first.headers["retry-after"]) * 1.1)
    return await client.ask()


async def drill(stage: Stage, scale: Scale) -> None:
    ports = [gateway.port for gateway in stage.gateways]
    tenants = list(stage.keys)
    clients = [
        Client(ports[i % len(ports)], target(i), stage.keys[tenants[i % len(tenants)]])
        for i in range(scale.queries)
    ]
    first = await asyncio.gather(*(client.ask(scale.deadline + 20) for client in clients))
    refused = [(client, reply) for client, reply in zip(clients, first, strict=True) if reply.status == 503]
    second = await asyncio.gather(*(retried(client, reply) for client, reply in refused))
    calls = stage.calls()
    arrivals = sorted(calls["arrivals"])
    print(
        f"{scale.queries} queries, {len(first) - len(refused)} answered at once, {len(refused)} told to come back;"
        f" {calls['total']} calls, smallest gap {calls['min_gap_seconds']:.3f} s of {scale.interval:g} s,"
        f" statuses {calls['by_status']}"
    )
    assert {reply.status for reply in first} == {200, 503}
    assert {reply.status for reply in second} == {200}
    assert calls["by_status"] == {"200": scale.queries}
    assert calls["min_gap_seconds"] >= 0.95 * scale.interval
    assert most_within(arrivals, scale.interval) <= 0


def most_within(arrivals: list[float], interval: float) -> int:
    """By how many calls, at most, any n intervals held more than n + 1."""
    worst = -(10**9)
    for i, begin in enumerate(arrivals):
        for j in range(i, len(arrivals)):
            intervals = (arrivals[j] - begin) / interval
            worst = max(worst, (j - i + 1) - (int(intervals) + 1) - 1)
    return worst


async def test_a_strict_service_is_never_asked_too_fast_and_no_promise_is_broken(
    shared_redis: RedisServer, prefix: str
) -> None:
    with strict_stage(SHORT, shared_redis, prefix) as stage:
        await drill(stage, SHORT)


@pytest.mark.drill
async def test_the_same_at_full_length(shared_redis: RedisServer, prefix: str) -> None:
    with strict_stage(FULL, shared_redis, prefix) as stage:
        await drill(stage, FULL)


async def test_a_single_query_behind_anothers_hundred_is_dispatched_within_two(
    shared_redis: RedisServer, prefix: str
) -> None:
    scale = Scale(rate=5, queries=100, processes=2, deadline=10)
    with strict_stage(scale, shared_redis, prefix) as stage:
        many = [
            asyncio.create_task(
                Client(stage.gateways[i % 2].port, target(i), stage.keys["reports"]).ask(resets_early=True)
            )
            for i in range(scale.queries)
        ]
        while (await asyncio.to_thread(stage.calls))["total"] < 3:
            await asyncio.sleep(0.02)
        one = Client(stage.gateways[1].port, target(1000), stage.keys["dashboard"])
        before = (await asyncio.to_thread(stage.calls))["total"]
        reply = await one.ask()
        after = (await asyncio.to_thread(stage.calls))["total"]
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)
    assert reply.status == 200
    # One more may have been dispatched while the counts were taken.
    assert after - before <= 3
