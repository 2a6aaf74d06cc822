"""The queue without a Redis that takes anything: gone, full, or read-only after a failover."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs

from gateway.errors import GateClosed
from gateway.upstream.credential_breaker import ANSWERED, RESET, Signal, SignalKind
from gateway.upstream.flight import Confirm, Fetched, FlightRequest, FlightResult, Flow
from gateway.upstream.pacing import Budget, Priority
from gateway.upstream.snapshot import GateSnapshot, GateState, depths_of
from tests.redis_server import RedisServer, free_port, redis_server
from tests.upstream.fleet import BRIEF, BRISK, LENGTHY, Fleet, depths
from tests.upstream.test_queue import LONG, entry_of, nothing, until

LONGER = Signal(SignalKind.LIMITED, 1.5)
"""Than a process on its own would wait for its share of the budget."""

Trouble = Callable[[redis.asyncio.Redis, bool], Awaitable[object]]


async def full(client: redis.asyncio.Redis, on: bool) -> None:
    await client.config_set("maxmemory", "1" if on else "0")


async def read_only(client: redis.asyncio.Redis, on: bool) -> None:
    if on:
        await client.slaveof("127.0.0.1", free_port())
    else:
        await client.slaveof()


@asynccontextmanager
async def fleet_on(port: int, prefix: str) -> AsyncIterator[Fleet]:
    client = redis.asyncio.Redis(host="127.0.0.1", port=port, protocol=2, retry=Retry(NoBackoff(), 0))
    fleet = Fleet(client, prefix)
    yield fleet
    for queue in fleet.queues:
        await queue.stop(grace=0)
    commands = asyncio.all_tasks() - {asyncio.current_task()}
    if commands:
        await asyncio.wait(commands, timeout=5)
    await client.aclose()


@pytest.fixture
async def gone(prefix: str) -> AsyncIterator[Fleet]:
    """A fleet whose Redis is not there."""
    async with fleet_on(free_port(), prefix) as fleet:
        yield fleet


@pytest.mark.parametrize("trouble", [full, read_only])
async def test_decision_10_a_redis_that_takes_nothing_is_lost_and_that_is_said_once(
    shared_redis: RedisServer, prefix: str, trouble: Trouble
) -> None:
    with redis_server() as server, capture_logs() as logs:
        async with fleet_on(server.port, prefix) as fleet:
            (one,) = await fleet.grow(1)
            await trouble(fleet.client, True)
            await until(lambda: one.degraded)
            fleet.service.says(*[ANSWERED] * 4)
            for name in ("a", "b", "c"):
                assert (await fleet.ask(one, name)).entry is not None
            await trouble(fleet.client, False)
            await until(lambda: not one.degraded)
            assert (await fleet.ask(one, "d")).entry is not None
    told = [line for line in logs if line["event"].startswith("redis_")]
    assert [line["event"] for line in told] == ["redis_lost", "redis_back"]
    assert not any("127.0.0.1" in str(line) or str(server.port) in str(line) for line in told)


@pytest.mark.parametrize("trouble", [full, read_only])
async def test_jobs_that_were_queued_go_on_alone_and_behind_the_gate(
    shared_redis: RedisServer, prefix: str, trouble: Trouble
) -> None:
    with redis_server() as server:
        async with fleet_on(server.port, prefix) as fleet:
            (one,) = await fleet.grow(1, Budget(0.3, 1))
            first = fleet.ask(one, "first")
            await until(lambda: fleet.service.calls == ["first"])
            tasks = await fleet.queued(one, "a", "b", "c")
            await trouble(fleet.client, True)
            await until(lambda: one.degraded)
            fleet.service.says(LONGER)
            assert (await first).entry is not None
            assert one.gate_closed_for > 0
            before: list[float] = []
            fleet.service.on_call = lambda: before.append(one.gate_closed_for)
            fleet.service.says(RESET, ANSWERED, ANSWERED)
            await asyncio.gather(*tasks)
    assert len(fleet.service.calls) == 4
    assert fleet.service.most == 1
    assert max(before) <= BRISK.shortest


async def test_a_local_flight_that_stalls_until_redis_is_back_goes_through_the_queue(
    shared_redis: RedisServer, prefix: str
) -> None:
    port, stall, led = free_port(), asyncio.Event(), []

    async def stalled(confirm: Confirm) -> Fetched:
        await stall.wait()
        await confirm()
        led.append(one._flights["a"].claim is not None)
        return Fetched(FlightResult("x", entry_of("a")))

    async with fleet_on(port, prefix) as fleet:
        (one,) = await fleet.grow(1, Budget(0.05, 1))
        task = asyncio.create_task(one.land(FlightRequest("a", Flow("t"), exact="x"), stalled, nothing, LONG))
        await until(lambda: "a" in one._flights and one._flights["a"].slot is not None)
        assert one.local_snapshot().running_total == 1
        with redis_server(port=port):
            await until(lambda: not one.degraded)
            stall.set()
            assert (await task)[0].entry is not None
    assert led == [True]


async def test_alone_a_process_keeps_the_rules_of_the_gate(gone: Fleet) -> None:
    (one,) = await gone.grow(1)
    gone.service.says(BRIEF)
    await gone.ask(one, "a")
    assert one.gate_closed_for > 0
    assert isinstance((await gone.ask(one, "b")).error, GateClosed)
    one.refresh(FlightRequest("c", "t", Priority.REFRESH, "x"), gone.service.work("c"), None)  # type: ignore[arg-type]
    assert one.flights == 0
    await until(lambda: one.gate_closed_for == 0)
    probe = gone.ask(one, "probe")
    await until(lambda: gone.service.calls == ["a", "probe"])
    refused = await gone.ask(one, "d")
    assert isinstance(refused.error, GateClosed)
    gone.service.says(ANSWERED)
    await probe
    assert one.gate_closed_for == 0
    gone.service.says(ANSWERED)
    assert (await gone.ask(one, "e")).entry is not None


async def test_alone_a_process_counts_its_own_jobs_and_what_is_kept_back(gone: Fleet) -> None:
    (one,) = await gone.grow(1, Budget(0.05, 1))
    assert one.local_snapshot().gate == GateSnapshot(GateState.OPEN, 0.0, None)
    tasks = [gone.ask(one, "a")]
    await until(lambda: gone.service.calls == ["a"])
    one.fleet.budget = Budget(600, 1)
    tasks += [gone.ask(one, "b"), gone.ask(one, "c", Priority.REFRESH)]
    await until(lambda: one.flights == 3)
    one.breaker.update("fp", 60.0)
    one.gate.update(time.monotonic(), 60.0)
    snapshot = one.local_snapshot()
    assert (snapshot.running_total, snapshot.queued) == (1, depths_of(depths(people=1, refresh=1)))
    assert (snapshot.processes_total, snapshot.refused_total) == (1, 1)
    assert snapshot.gate.state is GateState.CLOSED
    assert snapshot.gate.closed_for == pytest.approx(60, abs=20)
    one.gate.update(time.monotonic(), -1.0)
    assert one.local_snapshot().gate == GateSnapshot(GateState.HELD, 0.0, None)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_what_one_process_learnt_alone_closes_the_gate_for_all(
    shared_redis: RedisServer, prefix: str
) -> None:
    port = free_port()
    async with fleet_on(port, prefix) as fleet:
        (one,) = await fleet.grow(1)
        fleet.service.says(LENGTHY)
        await fleet.ask(one, "a")
        with redis_server(port=port):
            refused = await fleet.ask(one, "b")
            assert isinstance(refused.error, GateClosed)
            await until(lambda: not one.degraded)
            (two,) = await fleet.grow(1)
            assert two.gate_closed_for > 200
            assert one.gate_closed_for > 200
            assert one.gate.unreported(0.0) == 0
    assert fleet.service.calls == ["a"]


async def test_alone_a_process_withholds_what_is_refused(gone: Fleet) -> None:
    (one,) = await gone.grow(1)
    await gone.refuse(one, "a")
    assert one.breaker.refused_for("fp") is None
    await gone.refuse(one, "b")
    assert one.breaker.refused_for("fp") == pytest.approx(10, abs=5)
    assert not await one.breaker.probe("fp")
