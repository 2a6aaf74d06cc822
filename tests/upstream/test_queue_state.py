"""The queue's state on a real Redis, script by script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from gateway.errors import CacheUnavailable
from gateway.upstream.flight import Claim, FlightRequest, Flow
from gateway.upstream.pacing import Budget, Priority
from gateway.upstream.queue_state import (
    Claimed,
    Full,
    Gone,
    Landed,
    Leading,
    Left,
    LookAgain,
    Queued,
    QueueRules,
    QueueState,
    Running,
)
from tests.upstream.fleet import depths

RULES = QueueRules(dead_after=0.05, max_queued=3)
States = Callable[[], QueueState]


@pytest.fixture
def state(redis_client: redis.asyncio.Redis, prefix: str) -> States:
    """Makes one process's state after another, all of one fleet."""
    return lambda: QueueState(redis_client, prefix, Budget(None, 1), RULES)


@pytest.fixture
def slow(redis_client: redis.asyncio.Redis, prefix: str) -> States:
    """The same with a budget that is empty for the length of any test."""
    return lambda: QueueState(redis_client, prefix, Budget(3_600, 1), RULES)


async def claimed(state: QueueState, id: str = "a") -> Claimed:
    reply = await state.submit(FlightRequest(id, Flow("t")), token="t", looked=True)
    assert isinstance(reply, Claimed)
    return reply


async def reaped(survivor: QueueState) -> None:
    """Until those who gave no sign of life count as dead."""
    for _ in range(1_000):
        if (await survivor.beat()).processes == 1:
            return
    raise AssertionError("nobody died")


async def test_one_leads_and_the_others_wait(state: States) -> None:
    leader, other = state(), state()
    claim = (await claimed(leader)).claim
    assert await other.submit(FlightRequest("a", Flow("t")), token="t", looked=False) == Running(claim.gen)
    await leader.land([leader.landing(FlightRequest(claim.id), claim.token, b"result")])
    assert await other.poll("a", claim.gen) == Landed(b"result")


async def test_nothing_is_kept_for_nobody(state: States) -> None:
    leader = state()
    claim = (await claimed(leader)).claim
    await leader.land([leader.landing(FlightRequest(claim.id), claim.token, b"result")])
    assert await state().poll("a", claim.gen) == Gone()


async def test_after_a_landing_one_looks_again_before_one_flies(state: States) -> None:
    leader, late = state(), state()
    claim = (await claimed(leader)).claim
    await leader.land([leader.landing(FlightRequest(claim.id), claim.token, b"result")])
    assert await late.submit(FlightRequest("a", Flow("t")), token="t", looked=False) == LookAgain()
    assert isinstance(await late.submit(FlightRequest("a", Flow("t")), token="t", looked=True), Claimed)


async def test_a_leader_that_was_thought_dead_lands_nothing(state: States) -> None:
    dead, survivor = state(), state()
    await dead.beat()
    stale = (await claimed(dead)).claim
    await survivor.submit(FlightRequest("a", Flow("t")), token="t", looked=False)
    await reaped(survivor)
    fresh = await survivor.claim()
    assert isinstance(fresh, Claimed)
    assert fresh.claim.gen == stale.gen
    late = await dead.land([dead.landing(FlightRequest(stale.id), stale.token, b"late")])
    assert late.wait is None
    assert await survivor.poll("a", stale.gen) == Leading()


async def test_what_only_the_dead_held_is_dropped(slow: States) -> None:
    dead, survivor = slow(), slow()
    await dead.beat()
    assert isinstance(await dead.submit(FlightRequest("a", Flow("t")), token="t", looked=False), Queued)
    await reaped(survivor)
    assert (await survivor.beat()).queued == depths()


async def test_leaders_that_keep_dying_cost_a_job_its_life(
    redis_client: redis.asyncio.Redis, prefix: str, state: States
) -> None:
    waiter = state()
    gen = ""
    for _ in range(RULES.attempts):
        # The waiter alone reaps: on a busy machine it may be silent for longer than the dead are given.
        leader = QueueState(redis_client, prefix, Budget(None, 1), replace(RULES, dead_after=60))
        await leader.beat()
        reply = await leader.submit(FlightRequest("a", Flow("t")), token="t", looked=True)
        if not isinstance(reply, Claimed):
            reply = await leader.claim()  # type: ignore[assignment]
        assert isinstance(reply, Claimed)
        gen = reply.claim.gen
        await waiter.submit(FlightRequest("a", Flow("t")), token="t", looked=True)
        await reaped(waiter)
    assert await waiter.poll("a", gen) == Landed(b"lost")


async def test_a_full_queue_makes_room_for_people_first(slow: States) -> None:
    state = slow()
    refreshed = await state.submit(FlightRequest("refresh", Flow("t"), Priority.REFRESH), token="t", looked=False)
    assert isinstance(refreshed, Queued)
    for id in ("a", "b"):
        assert isinstance(await state.submit(FlightRequest(id, Flow("t")), token="t", looked=False), Queued)
    assert await state.submit(
        FlightRequest("refresh2", Flow("t"), Priority.REFRESH), token="t", looked=False
    ) == Full(3)
    assert isinstance(await state.submit(FlightRequest("c", Flow("t")), token="t", looked=False), Queued)
    assert await state.poll("refresh", refreshed.gen) == Landed(b"dropped:2")
    assert await state.submit(FlightRequest("d", Flow("t")), token="t", looked=False) == Full(3)


async def test_ranks_count_those_who_go_before(slow: States) -> None:
    state = slow()
    gens = {}
    for id, band in (("refresh", Priority.REFRESH), ("a", Priority.PEOPLE), ("b", Priority.PEOPLE)):
        reply = await state.submit(FlightRequest(id, Flow("t"), band), token="t", looked=False)
        assert isinstance(reply, Queued)
        gens[id] = reply.gen
    standings = {id: await state.poll(id, gen) for id, gen in gens.items()}
    assert {id: standing.rank for id, standing in standings.items() if isinstance(standing, Queued)} == {
        "a": 0,
        "b": 1,
        "refresh": 2,
    }


async def test_a_job_that_others_hold_is_left_to_them(slow: States) -> None:
    one, other = slow(), slow()
    reply = await one.submit(FlightRequest("a", Flow("t")), token="t", looked=False)
    assert isinstance(reply, Queued)
    await other.submit(FlightRequest("a", Flow("t")), token="t", looked=False)
    assert await one.leave("a", reply.gen) is Left.THEIRS
    assert await one.poll("a", reply.gen) == Gone()
    assert isinstance(await other.poll("a", reply.gen), Queued)
    assert await other.leave("a", reply.gen) is Left.BEHIND


async def test_a_job_that_somebody_waits_for_does_not_expire(
    redis_client: redis.asyncio.Redis, prefix: str, slow: States
) -> None:
    state = slow()
    reply = await state.submit(FlightRequest("a", Flow("t")), token="t", looked=False)
    assert isinstance(reply, Queued)
    keys = [f"{prefix}:{{queue}}:{name}" for name in ("job:a", "procs:a", f"held:{state.process}")]
    for key in keys:
        assert await redis_client.pexpire(key, 60_000)
    await state.poll("a", reply.gen)
    assert all([await redis_client.pttl(key) > 60_000 for key in keys])


async def test_a_burst_may_follow_at_once_and_no_more(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    state = QueueState(redis_client, prefix, Budget(3_600, 3), QueueRules(max_queued=9))
    await redis_client.set(f"{prefix}:{{queue}}:tat", "1")
    jobs = [await state.submit(FlightRequest(f"job{i}", Flow("t")), token="t", looked=False) for i in range(4)]
    assert [type(job) for job in jobs] == [Claimed] * 3 + [Queued]
    assert isinstance(jobs[3], Queued)
    assert jobs[3].wait == pytest.approx(3_600, rel=0.01)


async def test_a_moved_slot_keeps_the_next_one_clear_of_its_allowance(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    state = QueueState(redis_client, prefix, Budget(0.001, 1), RULES)
    await state.submit(FlightRequest("a", Flow("t")), token="t", looked=False)
    reply: object = None
    while not isinstance(reply, Claimed):
        reply = await state.claim()
    claim = reply.claim
    wait, moved = await state.reslot(claim, claim.record, late=1.0, allowance=0.5)
    assert wait == 0
    assert int(moved) - int(claim.record) == 1_500_000
    wait, reserved = await state.reslot(claim, claim.record, late=1.0, allowance=0.25)
    assert 0 < wait <= 1.6
    assert int(reserved) - int(moved) == pytest.approx(251_100, abs=1)
    assert (await state.reslot(replace(claim, token="another's"), reserved, 1.0, 0.5))[0] < 0


class Nonsense:
    """A Redis client whose scripts answer something that is none of ours."""

    def __init__(self, client: redis.asyncio.Redis, reply: object) -> None:
        self._client = client
        self._reply = reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def evalsha(self, *_: object) -> object:
        return self._reply


@pytest.mark.parametrize(
    "reply",
    [[], [b"claimed"], b"nonsense", [b"queued", None, b"x"], None, [b"\xff\xfe", b"\x80", -5]],
    ids=repr,
)
async def test_a_reply_that_is_none_of_ours_is_no_reply(
    redis_client: redis.asyncio.Redis, prefix: str, reply: object
) -> None:
    state = QueueState(Nonsense(redis_client, reply), prefix, Budget(1, 1), RULES)  # type: ignore[arg-type]
    claim = Claim("a", "1", "t", "0", 0.0)
    calls = [
        state.submit(FlightRequest("a", Flow("t")), token="t", looked=False),
        state.reslot(claim, "0", 1.0, 1.0),
        state.recover("a"),
        state.land([state.landing(FlightRequest("a"), "t", b"")]),
        state.leave("a", "1"),
        state.beat(),
        state.probe("fp"),
        state.hold(),
        state.resume("fp"),
        state.snapshot(),
        state.position("a"),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [CacheUnavailable] * len(calls)
    assert state.gate.closed_for(time.monotonic()) == 0
