"""Jobs, refreshes and warming beside people: who may take which slot, with Redis and without."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.upstream.flight import Flight, FlightRequest, Flow
from gateway.upstream.local import LocalQueue
from gateway.upstream.pacing import Budget, Priority, Shares
from tests.redis_server import RedisServer
from tests.upstream.stepped import Call, Stage

PEOPLE, LEFT, JOBS, REFRESH, WARM = Priority
BUDGET = Budget(0.5, 5)
ONE = Budget(0.5, 1)
SLOT = BUDGET.spacing
EXACT = 1e-5
Stages = Callable[..., Stage]


@pytest.fixture
def stage(redis_client: redis.asyncio.Redis, prefix: str) -> Stages:
    """Makes one stage after another, each with a queue of its own."""
    made: list[Stage] = []

    def make(budget: Budget = BUDGET, **more: object) -> Stage:
        made.append(Stage(redis_client, f"{prefix}{len(made)}", budget, **more))  # type: ignore[arg-type]
        return made[-1]

    return make


async def crowd(stage: Stage, seconds: float = 100.0) -> list[float]:
    """People with dashboards for so many seconds: a few misses at a time, for two thirds of the budget."""
    dice = random.Random(4)
    at = 10.0
    await stage.until(at)
    while (at := at + dice.expovariate(1 / (3 * SLOT / 0.66))) < seconds:
        await stage.until(at)
        for _ in range(dice.randint(1, 5)):
            await stage.ask()
    await stage.until(seconds + 30)
    return sorted(call.wait for call in stage.of(PEOPLE))


def conforms(calls: list[Call], budget: Budget) -> bool:
    """Whether the budget allows these (GCRA): no more than its burst at once, and one an interval besides."""
    times, burst = [call.at for call in calls], budget.burst
    return all(
        times[last] - times[first] >= (last - first + 1 - burst) * budget.spacing - EXACT
        for first in range(len(times))
        for last in range(first + burst, min(len(times), first + burst + 12))
    )


@pytest.mark.parametrize("older", [False, True], ids=["one version", "people at an older one"])
async def test_a_job_hardly_delays_a_crowd_and_keeps_its_share(stage: Stages, older: bool) -> None:
    alone, shared = stage(older=older), stage(older=older)
    for each in (alone, shared):
        await each.open()
    await shared.keep(JOBS, 2)
    without, beside = await crowd(alone), await crowd(shared)
    assert len(without) == len(beside) > 80
    assert beside[int(0.95 * len(beside))] <= 1.2 * without[int(0.95 * len(without))]
    assert len(shared.of(JOBS)) >= 0.1 * 130 / SLOT
    assert conforms(shared.calls, BUDGET)


async def test_jobs_keep_their_share_while_people_ask_for_all_of_it(stage: Stages) -> None:
    busy = stage()
    await busy.open()
    await busy.keep(PEOPLE, 8)
    await busy.keep(JOBS, 2)
    await busy.keep(REFRESH, 1)
    await busy.until(100 * SLOT)
    jobs = busy.of(JOBS)
    assert len(jobs) in {10, 11}
    assert not busy.of(REFRESH)
    assert len(busy.calls) == pytest.approx(100 + BUDGET.burst, abs=1)
    assert conforms(busy.calls, BUDGET)
    assert all(later.at - call.at >= 10 * SLOT - EXACT for call, later in itertools.pairwise(jobs))


async def test_without_a_share_jobs_wait_for_what_people_leave(stage: Stages) -> None:
    busy = stage(shares=Shares(jobs=0.0))
    await busy.open()
    await busy.keep(PEOPLE, 2)
    await busy.keep(JOBS, 1)
    await busy.until(50 * SLOT)
    assert not busy.of(JOBS)


@pytest.mark.parametrize("priority", [JOBS, REFRESH, WARM])
async def test_people_find_their_burst_whatever_else_is_asked(stage: Stages, priority: Priority) -> None:
    quiet = stage()
    await quiet.open()
    await quiet.keep(priority, 3)
    await quiet.until(20.1 * SLOT)
    assert len(quiet.of(priority)) >= 10
    for _ in range(BUDGET.burst - 1):
        await quiet.ask()
    assert [call.wait for call in quiet.of(PEOPLE)] == [0.0] * (BUDGET.burst - 1)


async def test_with_a_burst_of_one_a_miss_waits_at_most_one_interval_more(stage: Stages) -> None:
    quiet = stage(ONE)
    await quiet.open()
    await quiet.keep(JOBS, 2)
    for at in (3.1, 7.9, 12.5, 16.0, 22.2, 30.01, 30.99):
        await quiet.until(at)
        await quiet.ask()
    await quiet.until(40)
    assert max(call.wait for call in quiet.of(PEOPLE)) <= SLOT + EXACT
    assert len(quiet.calls) == pytest.approx(40 / SLOT, abs=1)


@pytest.mark.parametrize(("people", "left"), [(0, 1.0), (1, 0.5)], ids=["nobody", "people"])
async def test_warming_takes_its_share_of_what_is_left(stage: Stages, people: int, left: float) -> None:
    """People ask for every other slot, or for none."""
    quiet = stage(ONE, shares=Shares(warm=0.5))
    await quiet.open()
    await quiet.keep(WARM, 2)
    for number in range(100 // 4):
        for _ in range(2 * people):
            await quiet.ask()
        await quiet.until((number + 1) * 4 * SLOT)
    assert len(quiet.of(WARM)) == pytest.approx(100 * left / 2, abs=1)


async def test_all_others_go_before_warming(stage: Stages) -> None:
    quiet = stage(ONE)
    await quiet.open()
    await quiet.keep(WARM, 2)
    await quiet.keep(REFRESH, 1)
    await quiet.until(30 * SLOT)
    assert not quiet.of(WARM)[1:]
    assert len(quiet.of(REFRESH)) >= 29


async def test_whoever_joins_a_jobs_flight_brings_it_forward(stage: Stages) -> None:
    busy = stage(shares=Shares(jobs=0.0))
    await busy.open(full=False)
    await busy.ask(JOBS, "wanted")
    await busy.ask(JOBS, "other")
    await busy.ask(PEOPLE, "mine")
    await busy.ask(PEOPLE, "wanted")
    await busy.ask(REFRESH, "mine")  # and nobody brings it back
    await busy.until(2 * SLOT + EXACT)
    assert [call.id for call in busy.calls] == ["mine", "wanted"]


ASKED = {PEOPLE: 14, JOBS: 4, REFRESH: 2, WARM: 2}


async def test_the_slots_go_to_the_same_without_redis(stage: Stages) -> None:
    """All is asked for before the first slot; what stays empty is a slot too."""
    fleet, alone = stage(ONE), LocalQueue(99, 99, Shares())
    await fleet.open(full=False)
    for priority, count in ASKED.items():
        for number in range(count):
            await fleet.ask(priority, f"{priority.label}{number}")
            request = FlightRequest(f"{priority.label}{number}", Flow("t"), priority)
            alone.enter(Flight(request, None, None, waiters=1))  # type: ignore[arg-type]
    slots = range(1, sum(ASKED.values()) + 3)
    await fleet.until(len(slots) * SLOT + EXACT)
    taken = {round(call.at / SLOT): call.id for call in fleet.calls}
    flights = [alone.next() for _ in slots]
    assert [taken.get(slot) for slot in slots] == [flight and flight.request.id for flight in flights]
    assert list(taken)[:3] == [1, 2, 3]
    assert taken[1] == "jobs0"
    assert taken[11] == "jobs1"


STEPS = st.one_of(
    st.floats(0, 4 * SLOT).map(lambda seconds: round(seconds, 6)),
    st.sampled_from([PEOPLE, PEOPLE, JOBS, REFRESH, WARM]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=5, max_size=40), burst=st.integers(1, 4), full=st.booleans())
async def test_the_budget_is_never_exceeded_and_what_is_spare_leaves_the_burst(
    shared_redis: RedisServer, steps: list[float | Priority], burst: int, full: bool
) -> None:
    client = redis.asyncio.Redis.from_url(shared_redis.url, protocol=2)
    prefix, budget = f"steps{secrets.token_hex(8)}", Budget(0.5, burst)  # Hypothesis seeds random
    stage = Stage(client, prefix, budget)
    await stage.open(full=full)
    for step in steps:
        if isinstance(step, Priority):
            await stage.ask(step)
        else:
            await stage.until(stage.now + step)
    await stage.until(stage.now + 100 * len(steps))
    assert len(stage.calls) == sum(isinstance(step, Priority) for step in steps)
    assert conforms(stage.calls, budget)
    full_at, owed = (0.0 if full else burst * SLOT), []
    for call in stage.calls:
        if call.priority.spare and call.at < full_at - EXACT:
            owed.append(call)
        full_at = max(full_at, call.at) + SLOT
    assert {call.priority for call in owed} <= {JOBS}
    assert all(third.at - first.at >= 10 * SLOT - EXACT for first, third in zip(owed, owed[2:], strict=False))
    await client.aclose()
