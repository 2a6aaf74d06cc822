"""Redis's clock steps, either way and by any distance: nobody waits for it, nothing is lost, no pause changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis.asyncio

from gateway.upstream.credential_breaker import ANSWERED, CredentialSignal, PauseRules, Signal, SignalKind
from gateway.upstream.flight import FlightRequest, Flow
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import Claimed, Queued, QueueState
from gateway.upstream.snapshot import GateState
from tests.clock_shim import ClockShim
from tests.redis_server import RedisServer
from tests.upstream.fleet import Fleet
from tests.upstream.test_queue import QUICK, until

INTERVAL = 0.5
BUDGET = Budget(INTERVAL, 2)
STEPS = {
    "back": lambda: -600.0,
    "ahead": lambda: 600.0,
    "to 2020": lambda: datetime(2020, 1, 1, tzinfo=UTC).timestamp() - time.time(),
    "to 2040": lambda: datetime(2040, 1, 1, tzinfo=UTC).timestamp() - time.time(),
}


@pytest.fixture
async def fleet(stepped_redis: RedisServer, prefix: str) -> AsyncIterator[Fleet]:
    client = redis.asyncio.Redis.from_url(stepped_redis.url, protocol=2)
    fleet = Fleet(client, prefix)
    yield fleet
    for queue in fleet.queues:
        await queue.stop(grace=0)
    commands = asyncio.all_tasks() - {asyncio.current_task()}
    if commands:
        await asyncio.wait(commands, timeout=5)
    await client.aclose()


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> float:
    return STEPS[request.param]()


@pytest.fixture(params=["back", "ahead", "to 2020"])
def bearable(request: pytest.FixtureRequest) -> float:
    """A step after which Redis still has what it had: one over a day ahead takes all that has a TTL."""
    return STEPS[request.param]()


async def test_after_a_step_misses_are_answered_within_two_intervals_and_a_little(
    fleet: Fleet, clock: ClockShim, step: float
) -> None:
    first, second = await fleet.grow(2, BUDGET)
    fleet.service.says(*[ANSWERED] * 20)
    await asyncio.gather(*(fleet.ask(first, f"before{i}") for i in range(3)))
    for round_trip in (step, -step):
        clock.step(round_trip)
        began = time.monotonic()
        await asyncio.gather(fleet.ask(first, f"a{round_trip}"), fleet.ask(second, f"b{round_trip}"))
        assert time.monotonic() - began < 2 * INTERVAL + 5
        writes = fleet.service.calls
        assert len(writes) == len(set(writes))


async def test_a_pause_of_the_gate_stays_as_long_as_it_was(
    fleet: Fleet, clock: ClockShim, bearable: float
) -> None:
    (queue,) = await fleet.grow(1)
    began = time.monotonic()
    fleet.service.says(Signal(SignalKind.LIMITED, 2.0))
    await fleet.ask(queue, "blocked")
    clock.step(bearable)
    snapshot = await queue.snapshot()
    assert snapshot.gate.state is GateState.CLOSED
    assert 0 < snapshot.gate.closed_for <= 2.0
    fleet.service.says(ANSWERED)
    while (await fleet.ask(queue, "probe")).error is not None:
        await asyncio.sleep(0.05)
    assert 1.8 <= time.monotonic() - began < 2.0 + 5


async def test_a_refused_credentials_pause_and_its_probe_stay_as_long_as_they_were(
    fleet: Fleet, clock: ClockShim, bearable: float
) -> None:
    states = [
        QueueState(fleet.client, fleet.prefix, BUDGET, replace(QUICK, breaker=PauseRules(2.0))) for _ in range(2)
    ]
    for state in states:
        await state.beat()
    for question in ("one", "other"):
        verdict = CredentialSignal("fp", refused=True, question=question)
        await states[0].land([states[0].landing(FlightRequest("x"), "y", b"", credential=verdict)])
    clock.step(bearable)
    for state in states:
        granted, left = await state.probe("fp")
        assert not granted
        assert left is not None
        assert 0.4 <= left <= 2.0
    await fleet.client.zadd(f"{fleet.prefix}:{{queue}}:refused", {"fp": 1})
    assert (await states[0].probe("fp"))[0]
    clock.step(-bearable)
    brief = QueueState(fleet.client, fleet.prefix, BUDGET, replace(QUICK, longest_run=0.05))
    await brief.beat()
    while not (await brief.probe("fp"))[0]:
        await asyncio.sleep(0.01)


async def test_nobody_counts_as_dead_and_no_flight_is_taken_from_its_leader(
    fleet: Fleet, clock: ClockShim, bearable: float
) -> None:
    queues = await fleet.grow(3)
    flight = fleet.ask(queues[0], "slow")
    await until(lambda: fleet.service.flying == 1)
    joined = fleet.ask(queues[1], "slow")
    await until(lambda: "slow" in queues[1]._flights and queues[1]._flights["slow"].gen != "")
    clock.step(bearable)
    for _ in range(5):
        for queue in queues:
            await queue._heartbeat.beat()
            assert queue.fleet.processes == 3
    fleet.service.says(ANSWERED)
    assert {landing.error for landing in await asyncio.gather(flight, joined)} == {None}
    assert fleet.service.calls == ["slow"]


async def test_what_waits_is_asked_once_each_and_at_the_budgets_pace(
    fleet: Fleet, clock: ClockShim, step: float
) -> None:
    first, second = await fleet.grow(2, BUDGET)
    fleet.service.says(*[ANSWERED] * 20)
    writes: list[float] = []
    fleet.service.on_call = lambda: writes.append(time.monotonic())
    names = [f"waits{i}" for i in range(8)]
    asked = [fleet.ask((first, second)[i % 2], name) for i, name in enumerate(names)]
    await until(lambda: len(writes) >= 2)
    clock.step(step)
    landings = await asyncio.wait_for(asyncio.gather(*asked), 8 * INTERVAL + 5)
    assert {landing.error for landing in landings} == {None}
    assert sorted(fleet.service.calls) == sorted(names)
    for i, write in enumerate(writes):
        within = sum(write <= other < write + 3 * INTERVAL for other in writes[i:])
        assert within <= 3 + 2 * BUDGET.burst


async def test_a_place_in_the_queue_whose_job_is_gone_holds_nobody_up(fleet: Fleet) -> None:
    (queue,) = await fleet.grow(1, BUDGET)
    key = f"{fleet.prefix}:{{queue}}"
    for i in range(40):
        await fleet.client.zadd(f"{key}:band:0", {f"{i:012d}:gone{i}": -2})
    await fleet.client.hset(f"{key}:pending", "t", 150)
    fleet.service.says(ANSWERED)
    assert (await fleet.ask(queue, "wanted")).error is None
    assert await fleet.client.zcard(f"{key}:band:0") == 0
    assert not await fleet.client.exists(f"{key}:pending")


NEWCOMERS_CLOCKS = pytest.mark.parametrize("off", [0, 0.7, -0.7, 3600, -3600], ids="{:+}s".format)


@pytest.mark.parametrize("by", [-600, 600, 30 * 86_400], ids="{:+}s".format)
async def test_whoever_comes_after_a_step_finds_the_fleets_time_as_it_was(
    fleet: Fleet, clock: ClockShim, by: float
) -> None:
    old, new = (QueueState(fleet.client, fleet.prefix, BUDGET, QUICK) for _ in range(2))
    before = await old.beat()
    clock.step(by)
    pulses = [await new.beat(), await old.beat()]
    for pulse in pulses:
        assert pulse.skew == pytest.approx(-by, abs=5)
        assert pulse.now + pulse.skew == pytest.approx(before.now + before.skew, abs=5)
    assert pulses[1].processes == 2
    assert isinstance(await new.submit(FlightRequest("a", Flow("t")), token="a", looked=True), Queued | Claimed)


async def test_a_newcomer_after_a_step_takes_no_flight_from_its_leader(
    fleet: Fleet, clock: ClockShim, bearable: float
) -> None:
    (leader,) = await fleet.grow(1)
    flight = fleet.ask(leader, "slow")
    await until(lambda: fleet.service.flying == 1)
    clock.step(bearable)
    new = QueueState(fleet.client, fleet.prefix, BUDGET, QUICK)
    assert (await new.beat()).processes == 2
    assert await new.position("slow") is not None
    fleet.service.says(ANSWERED)
    assert (await flight).error is None
    assert fleet.service.calls == ["slow"]


@NEWCOMERS_CLOCKS
@pytest.mark.parametrize("by", [-600, 0], ids="{:+}s".format)
async def test_a_newcomers_wrong_clock_moves_no_living_fleets_time(
    fleet: Fleet, clock: ClockShim, monkeypatch: pytest.MonkeyPatch, by: float, off: float
) -> None:
    old, new = (QueueState(fleet.client, fleet.prefix, BUDGET, QUICK) for _ in range(2))
    monkeypatch.setattr(new, "_expected", lambda: -round((time.time() + off) * 1e6))
    before = await old.beat()
    clock.step(by)
    for pulse in [await new.beat(), await old.beat()]:
        assert pulse.now + pulse.skew == pytest.approx(before.now + before.skew, abs=5)
        assert pulse.skew == pytest.approx(-by, abs=5)


@NEWCOMERS_CLOCKS
async def test_after_a_step_ahead_no_newcomers_clock_takes_the_fleets_time_beyond_its_own(
    fleet: Fleet, clock: ClockShim, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    """One that is as far ahead as Redis's cannot tell of the step."""
    old, new = (QueueState(fleet.client, fleet.prefix, BUDGET, QUICK) for _ in range(2))
    monkeypatch.setattr(new, "_expected", lambda: -round((time.time() + off) * 1e6))
    before = await old.beat()
    clock.step(7200)
    for pulse in [await new.beat(), await old.beat()]:
        assert pulse.now + pulse.skew == pytest.approx(before.now + before.skew + max(0, off), abs=5)


@pytest.mark.parametrize("off", [0, 3600, -3600], ids="{:+}s".format)
async def test_the_first_of_a_fleet_goes_by_redis_s_clock(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    state = QueueState(fleet.client, fleet.prefix, BUDGET, QUICK)
    monkeypatch.setattr(state, "_expected", lambda: -round((time.time() + off) * 1e6))
    assert (await state.beat()).skew == 0


async def test_a_fleet_that_was_silent_for_long_finds_its_pauses_over(fleet: Fleet, clock: ClockShim) -> None:
    key, silence = f"{fleet.prefix}:{{queue}}:fleet", 3600
    old, new = (QueueState(fleet.client, fleet.prefix, BUDGET, QUICK) for _ in range(2))
    before = await old.beat()
    await fleet.client.hset(key, "last", round((before.now - silence) * 1e6))
    pulse = await new.beat()
    assert pulse.skew == 0
    assert pulse.now == pytest.approx(before.now, abs=5)


async def test_a_record_of_a_slower_budget_is_mended_once_not_at_each_look(fleet: Fleet) -> None:
    slow, quick = (
        QueueState(fleet.client, fleet.prefix, budget, QUICK) for budget in (Budget(3600, 5), Budget(0.1, 1))
    )
    await slow.submit(FlightRequest("a", Flow("t")), token="a", looked=True)
    await quick.submit(FlightRequest("b", Flow("t")), token="b", looked=True)
    first = await fleet.client.get(f"{fleet.prefix}:{{queue}}:tat")
    await quick.claim()
    assert await fleet.client.get(f"{fleet.prefix}:{{queue}}:tat") == first
    assert int(first or 0) / 1e6 - time.time() < 2 * (0.11 + 5)
