"""The budget for calls to the service, the priorities by which it is spent, and the fleet that shares it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Self

import structlog

from gateway.errors import CacheUnavailable

MICRO = 1e-6
GUARD_SECONDS = 0.020
GUARD_SHARE = 0.1
SHORTEST_WINDOW = 0.005
"""Seconds after a turn in which a loop can be expected to wake."""
COMMON = ("budget", "budget_burst", "encryption_keys")
"""The settings behind ``Terms``, in the order of its fields."""

log = structlog.get_logger("gateway")


def micros(seconds: float) -> int:
    """Seconds as the whole microseconds that the Lua scripts take."""
    return round(seconds / MICRO)


class Priority(IntEnum):
    """The queued calls that go first, in order: one of a later priority waits while any of an earlier one does,
    but for the share that is guaranteed to JOBS (``Shares``).

    The one table of priorities: the Lua scripts, the metrics, the API, the console and the command line go by it.
    ``band`` is its number in Redis, in the same order; older versions know 0 to 2. ``words`` describe such calls
    to operators. ``capacity`` is the share of the queue that may be filled before a new one of this priority is
    turned away. ``spare``: it leaves people their burst, and takes only what of the budget is beyond
    ``budget_burst`` - 1 calls.
    """

    PEOPLE = 0, "0", "for people", 1.0, False
    LEFT = 1, "1", "whose callers left", 1.0, False
    JOBS = 2, "1.5", "for reports and batches", 1.0, True
    REFRESH = 3, "2", "to refresh", 0.5, True
    WARM = 4, "3", "to warm", 0.5, True

    band: str
    words: str
    capacity: float
    spare: bool

    def __new__(cls, place: int, band: str, words: str, capacity: float, spare: bool) -> Self:
        member = int.__new__(cls, place)
        member._value_ = place
        member.band, member.words, member.capacity, member.spare = band, words, capacity, spare
        return member

    @classmethod
    def of(cls, band: bytes) -> Priority:
        """The priority of a number in Redis. Raises ValueError if there is none."""
        for priority in cls:
            if priority.band == band.decode():
                return priority
        raise ValueError(f"no priority has the band {band!r}")

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of the budget, from 0 to 1: ``jobs`` are guaranteed theirs while people ask for all of it; ``warm`` is
    what warming may take at most of the calls that all others leave."""

    jobs: float = 0.1
    warm: float = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """``interval`` seconds between two calls (None: unlimited), ``burst`` calls that may follow at once.

    ``guard`` absorbs network jitter: slots are that much further apart than the interval, and a request is
    written at most that much after its slot, so that two writes are never closer than the interval.
    """

    interval: float | None
    burst: int

    @classmethod
    def of(cls, spacing: int, burst: int) -> Budget:
        seconds = spacing * MICRO
        guard = min(GUARD_SECONDS, seconds * GUARD_SHARE / (1 + GUARD_SHARE))
        return cls(seconds - guard if spacing else None, burst)

    @property
    def guard(self) -> float:
        return 0.0 if self.interval is None else min(GUARD_SECONDS, GUARD_SHARE * self.interval)

    @property
    def rate(self) -> float:
        """Calls per second; infinite when unlimited."""
        return math.inf if self.interval is None else 1 / self.interval

    @property
    def spacing(self) -> float:
        """Seconds between two slots; 0 when unlimited."""
        return 0.0 if self.interval is None else self.interval + self.guard

    def wait_for(self, rank: int) -> float:
        """Expected seconds until a queued call with ``rank`` others before it has landed."""
        return (rank + 1) * self.spacing + 1.0

    @property
    def arguments(self) -> tuple[int, int]:
        """Spacing in microseconds, and burst, as the Lua scripts take them."""
        return micros(self.spacing), self.burst


@dataclass(frozen=True, slots=True)
class Turns:
    """A process's turns without Redis: ``share`` processes divide the rate, and in each period every one has a
    turn at its own ``phase``, from 0 up to ``share``, so that no two with agreeing clocks write together.

    Turns of different processes are ``spacing`` seconds apart; a request is written at most ``window`` seconds
    after its turn.
    """

    spacing: float
    window: float
    share: int
    phase: float

    @classmethod
    def of(cls, budget: Budget, share: int, phase: float) -> Turns:
        window = max(budget.guard, min(SHORTEST_WINDOW, budget.spacing / 2))
        return cls(budget.spacing, window, share, phase)

    @property
    def period(self) -> float:
        return self.spacing * self.share

    @property
    def pause(self) -> float:
        """Seconds after a turn without another one, even if phase or share change meanwhile."""
        return self.period - self.spacing / 2

    def first(self, earliest: float) -> float:
        begin = self.spacing * self.phase
        return begin + math.ceil((earliest - begin) / self.period) * self.period


class LocalBudget:
    """A process's own share of the budget while Redis is gone. ``now`` is the fleet's time."""

    def __init__(self) -> None:
        self._reserved: float | None = None
        self._written: float | None = None

    def reserve(self, now: float, turns: Turns) -> float:
        """Take the next turn; return the seconds until it comes."""
        last = self._reserved
        if last is None or not -2 * turns.period <= now - last <= turns.period:
            # What was asked through Redis until a moment ago is not known here: idle time earns nothing.
            self._reserved = turns.first(now + turns.spacing)
        else:
            self._reserved = turns.first(max(now, last + turns.pause))
        return self._reserved - now

    def write(self, now: float, turns: Turns) -> float:
        """Note a write now and return 0 if it is this process's turn; else return the seconds until it is.

        A turn that is used late moves: those taken from now on keep their distance from its request.
        """
        turn = turns.first(now - turns.window)
        if self._written is not None and self._written <= now:  # else the clock was set back
            turn = max(turn, turns.first(self._written + turns.pause))
        if turn > now:
            return turn - now
        self._written = turn
        self._reserved = turn if self._reserved is None else max(self._reserved, turn)
        return 0.0


class Terms(NamedTuple):
    """What all processes of a fleet must have in common: the budget as the scripts take it (microseconds between
    two slots, burst), and the ``mark`` of the newest encryption key, which reveals nothing of the key."""

    spacing: int
    burst: int
    mark: str

    @classmethod
    def parse(cls, text: str) -> Terms:
        """The terms as ``lua/beat.lua`` writes them. Raises ValueError for anything else."""
        spacing, burst, mark = text.split("|")
        return cls(int(spacing), int(burst), mark)

    def differing(self, others: tuple[Terms, ...]) -> list[str]:
        return [name for at, name in enumerate(COMMON) if any(each[at] != self[at] for each in others)]


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """The fleet as a heartbeat found it.

    ``now`` is Redis's time and ``skew`` how far the fleet's own is ahead of it, in seconds. ``queued`` counts the
    queued calls in the order of ``Priority``. ``wait``: seconds until this process's turn, None if it is not next.
    ``refused`` maps refused credentials to the seconds left of their pauses, negative while held by hand.
    ``targets`` counts refused targets, ``why`` is the signal that closed the gate, if any. ``place`` is the
    caller's rank among the processes, from 0; ``others`` are terms that differ from its own.
    """

    now: float
    skew: float
    processes: int
    queued: tuple[int, ...]
    running: int
    wait: float | None
    refused: Mapping[str, float] = field(default_factory=dict)
    targets: int = 0
    why: str = ""
    place: int = 0
    others: tuple[Terms, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetRules:
    """The fleet by the settings: how many processes there may be (``size``), how many ``workers`` this one is of
    and which ``worker`` (from 0; None: it is alone), and the ``mark`` of its newest encryption key."""

    size: int = 1
    workers: int = 1
    worker: int | None = None
    mark: Callable[[], str] = lambda: ""


class Fleet:
    """The fleet as the last heartbeat found it, and this process's place in it while it is on its own.

    ``processes`` were seen last; ``budget`` is the lowest among theirs; ``differing`` names the settings in which
    they are not all alike.
    """

    def __init__(self, budget: Budget, rules: FleetRules | None = None) -> None:
        self.rules = rules or FleetRules()
        self.processes = 1
        self.budget = budget
        self.differing: list[str] = []
        self._own = budget
        self._place: int | None = None
        self._offset = 0.0
        self._random = random.random()  # noqa: S311 (a phase)
        self._warned_of = 1

    def __repr__(self) -> str:
        return f"<Fleet of {self.processes}, {self.share} share the budget>"

    @property
    def share(self) -> int:
        """The number by which the rate is divided without Redis: as many processes as there may be."""
        return max(self.rules.size, self.rules.workers, self.processes)

    @property
    def phase(self) -> float:
        """This process's turn among those that share the rate, from 0 up to ``share``.

        It follows from its place among the processes last seen. A process that never saw any takes its worker's
        number if there is no other supervisor, else a random phase.
        """
        if self._place is not None:
            return self._place
        if self.share <= self.rules.workers:
            return self.rules.worker or 0
        return self._random * self.share

    @property
    def turns(self) -> Turns | None:
        """When this process may ask without Redis; None: at any time."""
        return None if self.budget.interval is None else Turns.of(self.budget, self.share, self.phase)

    def now(self) -> float:
        """The fleet's time in seconds; without Redis, by this machine's clock."""
        return time.time() + self._offset

    def update(self, reply: HeartbeatReply) -> None:
        """Take over what a heartbeat found; each misconfiguration is logged once."""
        self._offset = reply.now + reply.skew - time.time()
        self.processes, self._place = reply.processes, reply.place
        self._compare(reply.others)
        if self.processes <= self.rules.size:
            self._warned_of = 1
        elif self.processes > self._warned_of:
            self._warned_of = self.processes
            log.warning(
                "fleet_size_too_small",
                fleet_size=self.rules.size,
                processes=self.processes,
                consequence="without Redis, processes that never saw it would ask the service too fast",
            )

    def _compare(self, others: tuple[Terms, ...]) -> None:
        own = Terms(*self._own.arguments, self.rules.mark())
        limited = [Budget.of(each.spacing, each.burst) for each in (own, *others) if each.spacing]
        interval = max((each.interval or 0.0 for each in limited), default=0.0)
        burst = min((each.burst for each in limited), default=self._own.burst)
        self.budget = Budget(interval, burst) if others and interval else self._own
        differing = own.differing(others)
        if differing == self.differing:
            return
        self.differing = differing
        if differing:
            log.error(
                "fleet_disagrees",
                settings=differing,
                rate=round(self.budget.rate, 6),
                burst=self.budget.burst,
                consequence="the lowest budget holds for all; with other keys nothing protected is shared",
            )
        else:
            log.warning("fleet_agrees")


class Heartbeat:
    """This process's heartbeat, every ``period`` seconds; hands each reply on.

    ``depths`` are the fleet's queued calls in the order of ``Priority``, when last seen. ``degraded``: the last
    heartbeat was lost, since Redis does not answer or accepts no writes.
    """

    def __init__(
        self,
        send: Callable[[str], Awaitable[HeartbeatReply]],
        period: float,
        fleet: Fleet,
        on_reply: Callable[[HeartbeatReply], None],
    ) -> None:
        self.fleet = fleet
        self.depths = (0,) * len(Priority)
        self.degraded = False
        self._send = send
        self._period = period
        self._on_reply = on_reply

    async def beat(self) -> bool:
        """Send one heartbeat; whether Redis accepted it."""
        try:
            reply = await self._send(self.fleet.rules.mark())
        except CacheUnavailable as error:
            if not self.degraded:
                consequence = "near cache, local flights and a share of the budget"
                log.warning("redis_lost", consequence=consequence, reason=error.message)
            self.degraded = True
            return False
        if self.degraded:
            log.warning("redis_back")
        self.degraded = False
        self.depths = reply.queued
        self.fleet.update(reply)
        self._on_reply(reply)
        return True

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            await self.beat()
