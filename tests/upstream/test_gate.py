"""The gate's rules: the same for the fleet's in Redis, on memory://, and for a process on its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

import fakeredis
import pytest
import redis.asyncio

from gateway.upstream.board import Board, QueueRules
from gateway.upstream.flight import Band, Claim
from gateway.upstream.gate import Gate, GateRules
from gateway.upstream.pacing import Budget
from gateway.upstream.payer import Payer
from gateway.upstream.replies import Claimed, Closed
from gateway.upstream.signs import ANSWERED, BLOCKED, FAILED, NOTHING, RESET, Kind, Sign

RULES = GateRules(pause=100, longest=350, shortest=10)


def after(seconds: float) -> Sign:
    return Sign(Kind.BLOCKED, seconds)


class House(Protocol):
    """Somebody who asks the service, and heeds the gate."""

    async def set_out(self) -> object:
        """A flight, or None where the gate lets nobody through."""

    async def land(self, flight: object, sign: Sign) -> None: ...

    async def closed_for(self) -> float: ...

    async def wait(self) -> None:
        """Until the pause is over."""

    async def lose(self, flight: object) -> None:
        """The flight's leader dies."""


@dataclass
class Alone:
    """A process without Redis, and a clock that is moved by hand."""

    now: float = 1_000.0
    gate: Gate = field(default_factory=lambda: Gate(RULES))

    async def set_out(self) -> object:
        return None if self.gate.closed_for(self.now) > 0 else ("flight", self.gate.enter())

    async def land(self, flight: object, sign: Sign) -> None:
        assert isinstance(flight, tuple)
        self.gate.judge(self.now, sign, probe=flight[1])

    async def closed_for(self) -> float:
        return self.gate.closed_for(self.now)

    async def wait(self) -> None:
        self.now += self.gate.closed_for(self.now)

    async def lose(self, flight: object) -> None:
        await self.land(flight, NOTHING)


class Fleet:
    """Two processes that take turns; the one that asks is never the one that asked before."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        self.client = client
        self.key = f"{prefix}:{{queue}}:gate"
        rules = QueueRules(dead_after=0.02)
        self.boards = [Board(client, prefix, Budget(None, 1), rules, Gate(RULES)) for _ in range(2)]
        self.flights = 0

    def board(self) -> Board:
        self.boards.reverse()
        return self.boards[0]

    async def set_out(self) -> object:
        self.flights += 1
        reply = await self.board().submit(f"f{self.flights}", Payer("t"), Band.PEOPLE, token="t", looked=True)
        assert isinstance(reply, Claimed | Closed)
        return reply.claim if isinstance(reply, Claimed) else None

    async def land(self, flight: object, sign: Sign) -> None:
        assert isinstance(flight, Claim)
        board = self.board()
        await board.land([board.landing(flight.id, flight.token, b"result", sign)])

    async def closed_for(self) -> float:
        board = self.board()
        await board.claim()
        return board.gate.closed_for(time.monotonic())

    async def wait(self) -> None:
        if await self.client.hexists(self.key, "until"):
            await self.client.hset(self.key, "until", "1")

    async def lose(self, flight: object) -> None:
        assert isinstance(flight, Claim)
        await self.board().recover(flight.id)
        await self.boards[1].recover(flight.id)
        again = await self.boards[0].claim()
        again = again if isinstance(again, Claimed) else await self.boards[1].claim()
        assert isinstance(again, Claimed)
        await self.land(again.claim, NOTHING)


@pytest.fixture(params=["redis", "memory", "alone"])
async def house(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[House]:
    """Each kind of house: all keep the same rules."""
    if request.param == "alone":
        yield Alone()
        return
    client: redis.asyncio.Redis
    if request.param == "redis":
        client = redis.asyncio.Redis.from_url(request.getfixturevalue("shared_redis").url, protocol=2)
    else:
        client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    yield Fleet(client, prefix)
    await client.aclose()


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=5)


async def closed(house: House, *signs: Sign) -> None:
    """Flights that set out together land one after another."""
    flights = [await house.set_out() for _ in signs]
    for flight, sign in zip(flights, signs, strict=True):
        await house.land(flight, sign)


async def test_decision_9_a_block_closes_for_as_long_as_it_says(house: House) -> None:
    await closed(house, after(200))
    assert await house.closed_for() == about(200)
    assert await house.set_out() is None


@pytest.mark.parametrize(("asked", "given"), [(99_999, 350), (0, 10)])
async def test_a_pause_is_clamped(house: House, asked: float, given: float) -> None:
    await closed(house, after(asked))
    assert await house.closed_for() == pytest.approx(given, abs=2)


async def test_pauses_grow_with_each_probe_that_is_blocked(house: House) -> None:
    for pause in (100, 200, 350, 350):
        await closed(house, BLOCKED)
        assert await house.closed_for() == about(pause)
        await house.wait()


async def test_an_answer_lets_pauses_begin_anew(house: House) -> None:
    for sign in (BLOCKED, BLOCKED, ANSWERED):
        await closed(house, sign)
        await house.wait()
    await closed(house, BLOCKED)
    assert await house.closed_for() == about(100)


async def test_one_burst_is_one_block(house: House) -> None:
    await closed(house, BLOCKED, BLOCKED, BLOCKED)
    assert await house.closed_for() == about(100)
    await house.wait()
    await closed(house, BLOCKED)
    assert await house.closed_for() == about(200)


async def test_closing_only_extends(house: House) -> None:
    await closed(house, after(200), after(50), BLOCKED)
    assert await house.closed_for() == about(200)


async def test_a_longer_block_extends(house: House) -> None:
    await closed(house, after(50), after(300))
    assert await house.closed_for() == about(300)


async def test_answers_to_those_who_set_out_before_open_nothing(house: House) -> None:
    await closed(house, after(200), ANSWERED, FAILED)
    assert await house.closed_for() == about(200)


async def test_after_the_pause_one_probe_sets_out_and_no_other(house: House) -> None:
    await closed(house, BLOCKED)
    await house.wait()
    probe = await house.set_out()
    assert probe is not None
    assert await house.set_out() is None
    assert await house.closed_for() == about(10)
    await house.land(probe, ANSWERED)
    assert await house.closed_for() == 0
    assert await house.set_out() is not None
    assert await house.set_out() is not None


@pytest.mark.parametrize("sign", [FAILED, NOTHING, RESET], ids=["failed", "silent", "reset"])
async def test_a_probe_that_learns_nothing_is_followed_by_another(house: House, sign: Sign) -> None:
    await closed(house, BLOCKED)
    await house.wait()
    await closed(house, sign)
    probe = await house.set_out()
    assert probe is not None
    assert await house.set_out() is None


async def test_a_probe_that_is_lost_is_followed_by_another(house: House) -> None:
    await closed(house, BLOCKED)
    await house.wait()
    lost = await house.set_out()
    assert await house.set_out() is None
    await house.lose(lost)
    assert await house.set_out() is not None
    assert await house.set_out() is None


async def test_a_block_that_comes_in_while_the_probe_is_out_counts(house: House) -> None:
    early, slow = await house.set_out(), await house.set_out()
    await house.land(early, BLOCKED)
    await house.wait()
    probe = await house.set_out()
    await house.land(slow, after(300))
    await house.land(probe, ANSWERED)
    assert await house.closed_for() == about(300)


@pytest.mark.parametrize(
    ("signs", "pause"),
    [
        pytest.param([RESET, RESET], 0, id="two"),
        pytest.param([RESET, RESET, RESET], 100, id="three"),
        pytest.param([RESET, RESET, ANSWERED, RESET, RESET], 0, id="answered-between"),
        pytest.param([RESET, RESET, FAILED, RESET, RESET], 0, id="failed-between"),
        pytest.param([RESET, NOTHING, RESET, NOTHING, RESET], 100, id="silence-between"),
    ],
)
async def test_the_third_reset_in_a_row_is_a_block(house: House, signs: list[Sign], pause: float) -> None:
    for sign in signs:
        await closed(house, sign)
    assert await house.closed_for() == about(pause)


async def test_a_failure_or_silence_closes_nothing(house: House) -> None:
    await closed(house, FAILED, NOTHING, FAILED, ANSWERED)
    assert await house.closed_for() == 0


def test_what_the_fleet_says_goes_but_for_what_it_has_yet_to_hear() -> None:
    gate = Gate(RULES)
    gate.told(0.0, 50.0)
    assert gate.closed_for(10.0) == 40.0
    assert gate.untold(10.0) == 0.0
    gate.judge(10.0, after(100))
    assert gate.untold(10.0) == 100.0
    gate.told(20.0, 0.0)
    assert gate.closed_for(20.0) == 90.0
    gate.told(20.0, 95.0)
    assert gate.untold(20.0) == 0.0
    gate.told(30.0, 0.0)
    assert gate.closed_for(30.0) == 0.0


async def test_a_redis_whose_clock_was_set_back_keeps_nobody_out_for_longer_than_the_longest(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    fleet = Fleet(redis_client, prefix)
    await closed(fleet, BLOCKED)
    await redis_client.hset(fleet.key, "until", str(10**17))
    assert await fleet.closed_for() == about(350)


async def test_what_the_gate_keeps_does_not_stay_for_ever(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    fleet = Fleet(redis_client, prefix)
    await closed(fleet, RESET)
    assert await redis_client.pttl(fleet.key) > 0
    await closed(fleet, BLOCKED)
    assert 86_400_000 < await redis_client.pttl(fleet.key) <= 86_500_000
    await fleet.wait()
    await closed(fleet, ANSWERED)
    assert await redis_client.exists(fleet.key) == 0
