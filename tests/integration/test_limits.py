"""One limit across real gateways on one Redis, in good days and bad ones. Each prints its figures with ``-s``.

The short forms run with the tests, the long ones with ``make drill``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from gateway.tenants.lease import PATIENCE
from tests.chaos_redis import ChaosProxy, chaos_proxy
from tests.integration.load import Connection, Load
from tests.integration.stage import Process, Stage, get, staged, until
from tests.redis_server import RedisServer, redis_server
from tests.tenants.limits.test_policy import parsed

pytestmark = pytest.mark.serial

HOT = [f"/total/views/article/{number}" for number in range(1, 9)]
PROCESSES, RATE, BURST = 2, 40, 40
MANY, FEW = 150, 12
PRESSURE = 100.0
"""Requests a second at each process."""
SHORT, LONG = 5.0, 60.0
DRILLS = [f"{name}-{seconds:.0f}" for name in ("well", "slow", "killed", "paused") for seconds in (SHORT, LONG)]
BUSY = 0.6
"""Seconds by which a busy machine may delay an answer; what waited for Redis's own deadline would wait longer."""
LATE = 1.0
"""Seconds within which Redis answers, or counts as gone (``redis_timeout``)."""
LOST = 10
"""Requests that a Redis may take for a process, once, without being able to say so."""
scales = pytest.mark.parametrize(
    "seconds", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.drill)]
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Gateways that share a Redis behind a proxy, and have every answer near."""

    stage: Stage
    server: RedisServer
    proxy: ChaosProxy


@contextmanager
def gateways() -> Iterator[Fleet]:
    """Some, which know of each other and have a fresh tenant for each drill."""
    with redis_server() as server, chaos_proxy(server.port) as proxy:
        settings = {
            "redis_url": proxy.url,
            "budget": "unlimited",
            "log_level": "warning",
            "lifetime_totals": 9_999,
        }
        with staged(**settings) as stage:
            for name in (*DRILLS, "daily", "warm"):
                stage.tenant(name, "lboro")
            for name in DRILLS:
                stage.registry().change(name, limits={"requests_per_second": RATE, "burst": BURST})
            stage.registry().change("daily", limits={"requests_per_day": 1_000})
            stage.serve_several(PROCESSES)
            for gateway in stage.gateways:
                until(partial(warm, gateway, stage.keys["warm"]))
            yield Fleet(stage, server, proxy)


@pytest.fixture(scope="module")
def fleet(shared_redis: RedisServer) -> Iterator[Fleet]:
    """Depends on the shared Redis only to be skipped where there is none."""
    with gateways() as fleet:
        yield fleet


def warm(gateway: Process, key: str) -> bool:
    answers = [get(gateway.url + target, headers={"X-API-Key": key}) for target in HOT]
    return all("; hit" in answer.headers["cache-status"] for answer in answers)


def knows_the_fleet(gateway: Process) -> bool:
    return gateway.metric("stats_gateway_fleet_processes") == PROCESSES


async def drill(
    name: str,
    fleet: Fleet,
    seconds: float,
    breaks: Callable[[], object] = lambda: None,
    mends: Callable[[], object] = lambda: None,
    late: float = LATE,
) -> None:
    """Load on every gateway, far more than is allowed; says what was admitted, and whether it should be."""
    for gateway in fleet.stage.gateways:
        await asyncio.to_thread(until, partial(knows_the_fleet, gateway))
    key = fleet.stage.keys[f"{name}-{seconds:.0f}"]
    loads = [
        Load(gateway.port, key, HOT, str, rate=PRESSURE, clients=40, miss=0.0) for gateway in fleet.stage.gateways
    ]
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        for load in loads:
            await stack.enter_async_context(load.running())
        await asyncio.sleep(0.3 * seconds)
        await asyncio.to_thread(breaks)
        await asyncio.sleep(0.4 * seconds)
        await asyncio.to_thread(mends)
        await asyncio.sleep(0.3 * seconds)
    took = time.monotonic() - begun
    statuses = [load.statuses() for load in loads]
    admitted, allowed = sum(each.get(200, 0) for each in statuses), BURST + RATE * took
    slowest = max(answer.seconds for load in loads for answer in load.answers)
    print(
        f"\n{name}: {admitted} of {allowed:.0f} admitted ({admitted / allowed - 1:+.1%}) in {took:.1f} s,"
        f" by process {statuses}, p50 {1_000 * loads[0].quantile(0.5):.1f} ms, slowest {slowest:.2f} s",
        flush=True,
    )
    assert all(each.keys() <= {200, 429} for each in statuses)
    assert slowest <= PATIENCE + BUSY
    assert 0.9 * allowed - PROCESSES * LOST <= admitted <= allowed + PROCESSES + RATE * late
    assert not any("Traceback" in gateway.output for gateway in fleet.stage.gateways)


@scales
async def test_a_limit_holds_across_gateways(fleet: Fleet, seconds: float) -> None:
    await drill("well", fleet, seconds, late=0.1)


@scales
async def test_a_limit_holds_while_redis_is_slow(fleet: Fleet, seconds: float) -> None:
    def slow() -> None:
        fleet.proxy.delay = 0.6

    await drill("slow", fleet, seconds, slow, fleet.proxy.behave)


@scales
async def test_a_limit_holds_while_redis_is_killed(fleet: Fleet, seconds: float) -> None:
    await drill("killed", fleet, seconds, fleet.server.kill, fleet.server.start)


@scales
async def test_a_limit_holds_while_redis_is_paused(fleet: Fleet, seconds: float) -> None:
    await drill("paused", fleet, seconds, fleet.server.pause, fleet.server.resume)


async def test_a_gateway_that_ends_gives_back_what_it_took_ahead_of_the_day(shared_redis: RedisServer) -> None:
    with gateways() as fleet:
        await gives_back(fleet)


async def gives_back(fleet: Fleet) -> None:
    key = fleet.stage.keys["daily"]

    def left(gateway: Process) -> int:
        answer = get(gateway.url + HOT[0], headers={"X-API-Key": key})
        return parsed(answer.headers["ratelimit"].encode())["day"]["r"]

    first, second = fleet.stage.gateways
    before = left(second)
    connection = Connection(first.port, key)
    assert [(await connection.get(HOT[0])).status for _ in range(MANY)] == [200] * MANY
    connection.close()
    first.running.terminate()
    await asyncio.to_thread(first.running.wait, 20)
    assert [left(second) for _ in range(5)][-1] >= before - MANY - FEW
