"""Two processes of a fleet on one Redis, and a clock that moves when a test says so: slots are counted."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

from gateway.redis import Client, Invocation, Script
from gateway.upstream import queue_state
from gateway.upstream.flight import FlightRequest, Flow
from gateway.upstream.pacing import Budget, Priority, Shares, micros
from gateway.upstream.queue_state import SHARED, Claimed, Queued, QueueRules, QueueState, Running

AHEAD = 1_000.0
"""Seconds that the clock begins ahead of Redis's, which it replaces as long as nobody sends a heartbeat."""
OLDER = (
    "local PEOPLE, LEFT, REFRESH, JOBS, WARM = 0, 1, 2, 9, 9\n"
    "local BANDS, CAPACITY, SPARE = {0, 1, 2}, {[0] = 1.0, [1] = 1.0, [2] = 0.5}, {}\n"
)
"""The table of priorities of a version without jobs."""


@dataclass
class Clock:
    now: float = field(default_factory=lambda: round(time.time()) + AHEAD)


class Process(QueueState):
    """A process by the clock; one of an ``older`` version knows no jobs and nothing of shares."""

    def __init__(self, client: Client, prefix: str, budget: Budget, clock: Clock, *, older: bool = False) -> None:
        super().__init__(client, prefix, budget, QueueRules())
        self._clock = clock
        self._older = older

    def _expected(self) -> int:
        return micros(self._clock.now)

    def _invocation(self, script: Script, *args: bytes | str | int | float) -> Invocation:
        return super()._invocation(older(script) if self._older else script, *args)


@cache
def older(script: Script) -> Script:
    """The script as that version has it: it never looks at jobs, and lets refreshes take people's burst."""
    name = next(
        name for name in ("submit", "claim", "finish", "leave") if getattr(queue_state, name.upper()) is script
    )
    shared = (*SHARED, "breaker.lua") if name == "finish" else SHARED
    return Script.load(queue_state.PACKAGE, *shared, f"{name}.lua", prelude=OLDER)


@dataclass(frozen=True)
class Call:
    """A call that set out: when it was submitted, and when its slot was, in seconds since the beginning."""

    id: str
    priority: Priority
    submitted: float
    at: float

    @property
    def wait(self) -> float:
        return self.at - self.submitted


class Stage:
    """People ask at one process; jobs, refreshes and warming at the other, which goes on with ``kept`` of each."""

    def __init__(
        self, client: Client, prefix: str, budget: Budget, shares: Shares | None = None, *, older: bool = False
    ) -> None:
        self.clock = Clock()
        self.began = self.clock.now
        self.budget = budget
        self.people = Process(client, prefix, budget, self.clock, older=older)
        self.others = Process(client, prefix, budget, self.clock)
        self.calls: list[Call] = []
        self.kept: Counter[Priority] = Counter()
        self._shares = shares or Shares()
        self._client = client
        self._key = f"{prefix}:{{queue}}"
        self._waiting: dict[str, tuple[Process, Priority, float]] = {}

    @property
    def now(self) -> float:
        return self.clock.now - self.began

    async def open(self, *, full: bool = True) -> None:
        """As a heartbeat leaves it: the shares are known; the budget is ``full`` or empty."""
        await self._client.hset(
            f"{self._key}:fleet", mapping={"jobs": self._shares.jobs, "warm": self._shares.warm}
        )
        if full:
            await self._client.set(f"{self._key}:tat", 1)

    async def keep(self, priority: Priority, count: int) -> None:
        """As many are outstanding from now on: one that lands is followed by another."""
        self.kept[priority] = count
        for _ in range(count):
            await self.ask(priority)

    async def ask(self, priority: Priority = Priority.PEOPLE, id: str = "", tenant: str = "t") -> None:
        process = self.people if priority is Priority.PEOPLE else self.others
        id = id or f"{priority.label}{len(self.calls)}.{len(self._waiting)}.{self.now}"
        request = FlightRequest(id, Flow(tenant), priority, exact=id)
        self._waiting[id] = (process, priority, self.now)
        reply = await process.submit(request, token=id, looked=True)
        if isinstance(reply, Claimed):
            await self._set_out(process, reply)
        else:
            assert isinstance(reply, Queued | Running), reply

    async def until(self, end: float) -> None:
        """Until ``end`` seconds have passed since the beginning; whoever may set out does."""
        while True:
            wait = await self._settled()
            if wait is None or self.now + wait > end:
                break
            self.clock.now += wait
        self.clock.now = self.began + end

    async def _settled(self) -> float | None:
        """The seconds until the next may set out; None if nobody waits."""
        while True:
            replies = [(each, await each.claim()) for each in (self.people, self.others)]
            claims = [(each, reply) for each, reply in replies if isinstance(reply, Claimed)]
            for process, claim in claims:
                await self._set_out(process, claim)
            if not claims:
                return min((reply for _, reply in replies if isinstance(reply, float)), default=None)

    async def _set_out(self, process: Process, claimed: Claimed) -> None:
        claim = claimed.claim
        holder, priority, submitted = self._waiting.pop(claim.id)
        self.calls.append(Call(claim.id, priority, submitted, self.now))
        await process.land([process.landing(FlightRequest(claim.id, Flow("t")), claim.token, b"")])
        if (
            holder is process
            and sum(each is priority for _, each, _ in self._waiting.values()) < self.kept[priority]
        ):
            await self.ask(priority)

    def of(self, priority: Priority) -> list[Call]:
        return [call for call in self.calls if call.priority is priority]
