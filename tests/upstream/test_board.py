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
from gateway.upstream.flight import Band, Claim, Payer
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import (
    Board,
    Claimed,
    Full,
    Gone,
    Landed,
    Leading,
    Left,
    LookAgain,
    Queued,
    QueueRules,
    Running,
)

RULES = QueueRules(dead_after=0.05, max_queued=3)
Boards = Callable[[], Board]


@pytest.fixture
def board(redis_client: redis.asyncio.Redis, prefix: str) -> Boards:
    """Makes one process's board after another, all of one fleet."""
    return lambda: Board(redis_client, prefix, Budget(None, 1), RULES)


@pytest.fixture
def slow(redis_client: redis.asyncio.Redis, prefix: str) -> Boards:
    """The same with a budget that is empty for the length of any test."""
    return lambda: Board(redis_client, prefix, Budget(3_600, 1), RULES)


async def claimed(board: Board, id: str = "a") -> Claimed:
    reply = await board.submit(id, Payer("t"), Band.PEOPLE, token="t", looked=True)
    assert isinstance(reply, Claimed)
    return reply


async def reaped(survivor: Board) -> None:
    """Until those who gave no sign of life count as dead."""
    for _ in range(1_000):
        if (await survivor.beat()).processes == 1:
            return
    raise AssertionError("nobody died")


async def test_one_leads_and_the_others_wait(board: Boards) -> None:
    leader, other = board(), board()
    claim = (await claimed(leader)).claim
    assert await other.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False) == Running(claim.gen)
    await leader.land([leader.landing(claim.id, claim.token, b"result")])
    assert await other.poll("a", claim.gen) == Landed(b"result")


async def test_nothing_is_kept_for_nobody(board: Boards) -> None:
    leader = board()
    claim = (await claimed(leader)).claim
    await leader.land([leader.landing(claim.id, claim.token, b"result")])
    assert await board().poll("a", claim.gen) == Gone()


async def test_after_a_landing_one_looks_again_before_one_flies(board: Boards) -> None:
    leader, late = board(), board()
    claim = (await claimed(leader)).claim
    await leader.land([leader.landing(claim.id, claim.token, b"result")])
    assert await late.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False) == LookAgain()
    assert isinstance(await late.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=True), Claimed)


async def test_a_leader_that_was_thought_dead_lands_nothing(board: Boards) -> None:
    dead, survivor = board(), board()
    await dead.beat()
    stale = (await claimed(dead)).claim
    await survivor.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False)
    await reaped(survivor)
    fresh = await survivor.claim()
    assert isinstance(fresh, Claimed)
    assert fresh.claim.gen == stale.gen
    late = await dead.land([dead.landing(stale.id, stale.token, b"late")])
    assert late.wait is None
    assert await survivor.poll("a", stale.gen) == Leading()


async def test_what_only_the_dead_held_is_dropped(slow: Boards) -> None:
    dead, survivor = slow(), slow()
    await dead.beat()
    assert isinstance(await dead.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False), Queued)
    await reaped(survivor)
    assert (await survivor.beat()).queued == (0, 0, 0)


async def test_leaders_that_keep_dying_cost_a_job_its_life(
    redis_client: redis.asyncio.Redis, prefix: str, board: Boards
) -> None:
    waiter = board()
    gen = ""
    for _ in range(RULES.attempts):
        # The waiter alone reaps: on a busy machine it may be silent for longer than the dead are given.
        leader = Board(redis_client, prefix, Budget(None, 1), replace(RULES, dead_after=60))
        await leader.beat()
        reply = await leader.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=True)
        if not isinstance(reply, Claimed):
            reply = await leader.claim()  # type: ignore[assignment]
        assert isinstance(reply, Claimed)
        gen = reply.claim.gen
        await waiter.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=True)
        await reaped(waiter)
    assert await waiter.poll("a", gen) == Landed(b"lost")


async def test_a_full_queue_makes_room_for_people_first(slow: Boards) -> None:
    board = slow()
    refreshed = await board.submit("refresh", Payer("t"), Band.REFRESH, token="t", looked=False)
    assert isinstance(refreshed, Queued)
    for id in ("a", "b"):
        assert isinstance(await board.submit(id, Payer("t"), Band.PEOPLE, token="t", looked=False), Queued)
    assert await board.submit("refresh2", Payer("t"), Band.REFRESH, token="t", looked=False) == Full(3)
    assert isinstance(await board.submit("c", Payer("t"), Band.PEOPLE, token="t", looked=False), Queued)
    assert await board.poll("refresh", refreshed.gen) == Landed(b"dropped:2")
    assert await board.submit("d", Payer("t"), Band.PEOPLE, token="t", looked=False) == Full(3)


async def test_ranks_count_those_who_go_before(slow: Boards) -> None:
    board = slow()
    gens = {}
    for id, band in (("refresh", Band.REFRESH), ("a", Band.PEOPLE), ("b", Band.PEOPLE)):
        reply = await board.submit(id, Payer("t"), band, token="t", looked=False)
        assert isinstance(reply, Queued)
        gens[id] = reply.gen
    standings = {id: await board.poll(id, gen) for id, gen in gens.items()}
    assert {id: standing.rank for id, standing in standings.items() if isinstance(standing, Queued)} == {
        "a": 0,
        "b": 1,
        "refresh": 2,
    }


async def test_a_job_that_others_hold_is_left_to_them(slow: Boards) -> None:
    one, other = slow(), slow()
    reply = await one.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False)
    assert isinstance(reply, Queued)
    await other.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False)
    assert await one.leave("a", reply.gen) is Left.THEIRS
    assert await one.poll("a", reply.gen) == Gone()
    assert isinstance(await other.poll("a", reply.gen), Queued)
    assert await other.leave("a", reply.gen) is Left.BEHIND


async def test_a_job_that_somebody_waits_for_does_not_expire(
    redis_client: redis.asyncio.Redis, prefix: str, slow: Boards
) -> None:
    board = slow()
    reply = await board.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False)
    assert isinstance(reply, Queued)
    keys = [f"{prefix}:{{queue}}:{name}" for name in ("job:a", "procs:a", f"held:{board.process}")]
    for key in keys:
        assert await redis_client.pexpire(key, 60_000)
    await board.poll("a", reply.gen)
    assert all([await redis_client.pttl(key) > 60_000 for key in keys])


async def test_a_burst_may_follow_at_once_and_no_more(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    board = Board(redis_client, prefix, Budget(3_600, 3), replace(RULES, max_queued=9))
    await redis_client.set(f"{prefix}:{{queue}}:tat", "1")
    jobs = [await board.submit(f"job{i}", Payer("t"), Band.PEOPLE, token="t", looked=False) for i in range(4)]
    assert [type(job) for job in jobs] == [Claimed] * 3 + [Queued]
    assert isinstance(jobs[3], Queued)
    assert jobs[3].wait == pytest.approx(3_600, rel=0.01)


async def test_a_moved_slot_keeps_the_next_one_clear_of_its_allowance(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    board = Board(redis_client, prefix, Budget(0.001, 1), RULES)
    await board.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False)
    reply: object = None
    while not isinstance(reply, Claimed):
        reply = await board.claim()
    claim = reply.claim
    wait, moved = await board.reslot(claim, claim.record, late=1.0, allowance=0.5)
    assert wait == 0
    assert int(moved) - int(claim.record) == 1_500_000
    wait, reserved = await board.reslot(claim, claim.record, late=1.0, allowance=0.25)
    assert 0 < wait <= 1.6
    assert int(reserved) - int(moved) == pytest.approx(251_100, abs=1)
    assert (await board.reslot(replace(claim, token="another's"), reserved, 1.0, 0.5))[0] < 0


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
    board = Board(Nonsense(redis_client, reply), prefix, Budget(1, 1), RULES)  # type: ignore[arg-type]
    claim = Claim("a", "1", "t", "0", 0.0)
    calls = [
        board.submit("a", Payer("t"), Band.PEOPLE, token="t", looked=False),
        board.reslot(claim, "0", 1.0, 1.0),
        board.recover("a"),
        board.land([board.landing("a", "t", b"")]),
        board.leave("a", "1"),
        board.beat(),
        board.probe("fp"),
        board.hold(),
        board.resume("fp"),
        board.census(),
        board.standing("a"),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [CacheUnavailable] * len(calls)
    assert board.gate.closed_for(time.monotonic()) == 0
