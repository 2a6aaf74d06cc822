"""Houses that ask the service and heed the gate: fleets in Redis, and a process on its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import pytest
import redis.asyncio

from gateway.upstream.credential_breaker import NOTHING, PauseRules, Signal, SignalKind
from gateway.upstream.flight import Claim, FlightRequest, Flow
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import Claimed, Closed, Paused, QueueRules, QueueState
from gateway.upstream.upstream_breaker import UpstreamBreaker, paused_error

RULES = PauseRules(100, longest=350, shortest=10)
NUMBERS = count()


def after(seconds: float) -> Signal:
    return Signal(SignalKind.LIMITED, seconds)


@dataclass(frozen=True)
class Query:
    """Who asks for what: a target of its own unless told."""

    tenant: str = "t"
    target: str = field(default_factory=lambda: f"target{next(NUMBERS)}")
    caller: str = ""
    credential: str = ""

    @property
    def flow(self) -> Flow:
        return Flow(self.tenant, caller=self.caller, credential=self.credential)

    def request(self, id: str) -> FlightRequest:
        return FlightRequest(id, self.flow, question=self.target)


@dataclass
class Flight:
    query: Query
    token: object


class House(Protocol):
    """Somebody who asks the service, and heeds the gate."""

    async def set_out(self, query: Query) -> Flight | str:
        """A flight, or why nobody gets through: the gate's pause or the query's own."""

    async def land(self, flight: Flight, sign: Signal) -> None: ...

    async def closed_for(self) -> float: ...

    async def advance(self, seconds: float) -> None:
        """So much time passes."""

    async def lose(self, flight: Flight) -> None:
        """The flight's leader dies."""

    async def refused(self) -> int:
        """How many targets are refused now."""


@dataclass
class Alone:
    """A process without Redis, and a clock that is moved by hand."""

    now: float = 10_000.0
    gate: UpstreamBreaker = field(default_factory=lambda: UpstreamBreaker(RULES))

    async def set_out(self, query: Query) -> Flight | str:
        error = self.gate.objection(self.now, query.request("x"))
        return Flight(query, self.gate.enter()) if error is None else type(error).__name__

    async def land(self, flight: Flight, sign: Signal) -> None:
        query = flight.query
        self.gate.judge(self.now, sign, query.request("x"), probe=int(str(flight.token)))

    async def closed_for(self) -> float:
        return self.gate.closed_for(self.now)

    async def advance(self, seconds: float) -> None:
        self.now += seconds

    async def lose(self, flight: Flight) -> None:
        await self.land(flight, NOTHING)

    async def refused(self) -> int:
        return sum(1 for _ in self.gate.evidence.targets.lasting(self.now))


class Fleet:
    """Two processes that take turns; the one that asks is never the one that asked before."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        self.client = client
        self.prefix = f"{prefix}:{{queue}}"
        self.key = f"{self.prefix}:gate"
        rules = QueueRules(dead_after=0.02, gate=RULES)
        self.states = [QueueState(client, prefix, Budget(None, 1), rules) for _ in range(2)]
        self.flights = 0

    def state(self) -> QueueState:
        self.states.reverse()
        return self.states[0]

    async def set_out(self, query: Query) -> Flight | str:
        self.flights += 1
        reply = await self.state().submit(query.request(f"f{self.flights}"), token="t", looked=True)
        match reply:
            case Claimed(claim):
                return Flight(query, claim)
            case Paused(why, seconds):
                return type(paused_error(why, seconds)).__name__
        assert isinstance(reply, Closed)
        assert reply.seconds > 0
        return "GateClosed"

    async def land(self, flight: Flight, sign: Signal) -> None:
        claim, query, state = flight.token, flight.query, self.state()
        assert isinstance(claim, Claim)
        await state.land([state.landing(query.request(claim.id), claim.token, b"result", sign)])

    async def closed_for(self) -> float:
        state = self.state()
        await state.claim()
        return state.gate.closed_for(time.monotonic())

    async def advance(self, seconds: float) -> None:
        """Everything that was noted was noted so much earlier."""
        micro = round(seconds * 1e6)
        if until := await self.client.hget(self.key, "until"):
            await self.client.hset(self.key, "until", int(until) - micro)
        kinds = [f"paused:{kind}" for kind in ("target", "caller", "bearer")]
        for name in (*kinds, "callers", "credentials"):
            key = f"{self.prefix}:{name}"
            scores: dict[str, float] = dict(await self.client.zrange(key, 0, -1, withscores=True))  # type: ignore[arg-type]
            if scores:
                await self.client.zadd(key, {member: score - micro for member, score in scores.items()})

    async def lose(self, flight: Flight) -> None:
        assert isinstance(flight.token, Claim)
        await self.state().recover(flight.token.id)
        await self.states[1].recover(flight.token.id)
        again = await self.states[0].claim()
        again = again if isinstance(again, Claimed) else await self.states[1].claim()
        assert isinstance(again, Claimed)
        await self.land(Flight(flight.query, again.claim), NOTHING)

    async def refused(self) -> int:
        return (await self.state().beat()).targets


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=5)


async def out(house: House, query: Query | None = None) -> Flight:
    flight = await house.set_out(query or Query())
    assert isinstance(flight, Flight), flight
    return flight


async def told(house: House, sign: Signal, **query: str) -> None:
    """One flight, there and back."""
    await house.land(await out(house, Query(**query)), sign)


async def closed(house: House, *signs: Signal) -> None:
    """Flights that set out together land one after another."""
    flights = [await out(house) for _ in signs]
    for flight, sign in zip(flights, signs, strict=True):
        await house.land(flight, sign)


async def wait(house: House) -> None:
    """Until the gate's pause is over."""
    await house.advance(await house.closed_for() + 0.001)
