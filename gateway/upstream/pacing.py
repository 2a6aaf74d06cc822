"""Budget: how fast the fleet may ask the service, and this process's share when it is on its own.

Fleet: what a process knows of the others it shares a budget with, and its own place among them.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

if TYPE_CHECKING:
    from gateway.upstream.queue_state import Pulse


GUARD_SECONDS = 0.020
GUARD_SHARE = 0.1


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
        """The budget of these ``arguments``."""
        seconds = spacing * 1e-6
        guard = min(GUARD_SECONDS, seconds * GUARD_SHARE / (1 + GUARD_SHARE))
        return cls(seconds - guard if spacing else None, burst)

    @property
    def guard(self) -> float:
        return 0.0 if self.interval is None else min(GUARD_SECONDS, GUARD_SHARE * self.interval)

    @property
    def rate(self) -> float:
        """Calls a second; infinite when unlimited."""
        return math.inf if self.interval is None else 1 / self.interval

    @property
    def spacing(self) -> float:
        """Seconds between two slots; 0 when unlimited."""
        return 0.0 if self.interval is None else self.interval + self.guard

    def wait_for(self, rank: int) -> float:
        """Seconds in which a job that ``rank`` others go before should have landed."""
        return (rank + 1) * self.spacing + 1.0

    @property
    def arguments(self) -> tuple[int, int]:
        """Spacing in microseconds, and burst, as the scripts take them."""
        return round(self.spacing * 1e6), self.burst


SHORTEST_WINDOW = 0.005
"""Seconds after a turn in which a loop can be expected to wake."""


@dataclass(frozen=True, slots=True)
class Turns:
    """A process's turns without Redis: ``share`` processes divide the rate, and in each period every one has a
    turn at its own ``phase``, from 0 up to ``share``, so that no two write together whose clocks agree.

    ``spacing`` seconds are between the turns of two; a request is written at most ``window`` after its turn.
    """

    spacing: float
    window: float
    share: int
    phase: float

    @classmethod
    def of(cls, budget: Budget, share: int, phase: float) -> Turns:
        """The turns of a budget that is not unlimited."""
        window = max(budget.guard, min(SHORTEST_WINDOW, budget.spacing / 2))
        return cls(budget.spacing, window, share, phase)

    @property
    def period(self) -> float:
        """Seconds between two turns of one process."""
        return self.spacing * self.share

    @property
    def pause(self) -> float:
        """Seconds after a turn in which there is no other, even where phase or share are others by then."""
        return self.period - self.spacing / 2

    def first(self, earliest: float) -> float:
        """The first turn from a time on."""
        begin = self.spacing * self.phase
        return begin + math.ceil((earliest - begin) / self.period) * self.period


class LocalBudget:
    """A process's own share of the budget while Redis is gone. ``now`` is the fleet's time."""

    def __init__(self) -> None:
        self._reserved: float | None = None
        self._written: float | None = None

    def reserve(self, now: float, turns: Turns) -> float:
        """Takes the next turn; answers the seconds to wait for it."""
        last = self._reserved
        if last is None or not -2 * turns.period <= now - last <= turns.period:
            # What was asked through Redis until a moment ago is not known here: idle time earns nothing.
            self._reserved = turns.first(now + turns.spacing)
        else:
            self._reserved = turns.first(max(now, last + turns.pause))
        return self._reserved - now

    def write(self, now: float, turns: Turns) -> float:
        """Writes now where it is this process's turn; else answers the seconds until it is.

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


log = structlog.get_logger("gateway")

COMMON = ("budget", "budget_burst", "encryption_keys")
"""The settings behind the terms, in their order."""


class Terms(NamedTuple):
    """What all processes of a fleet must have in common: the budget as the scripts take it (microseconds between
    two slots, burst), and the ``mark`` of the newest encryption key, which tells nothing of the key."""

    spacing: int
    burst: int
    mark: str

    @classmethod
    def parse(cls, text: str) -> Terms:
        """As ``lua/beat.lua`` writes them. Raises ValueError for anything else."""
        spacing, burst, mark = text.split("|")
        return cls(int(spacing), int(burst), mark)

    def differing(self, others: tuple[Terms, ...]) -> list[str]:
        """The settings in which any of the others differs."""
        return [name for at, name in enumerate(COMMON) if any(each[at] != self[at] for each in others)]


@dataclass(frozen=True, slots=True)
class FleetRules:
    """What the settings say: how many processes there may be (``size``), how many ``workers`` this one is of and
    which ``worker`` (from 0; None: it is alone), and the ``mark`` of its newest encryption key."""

    size: int = 1
    workers: int = 1
    worker: int | None = None
    mark: Callable[[], str] = lambda: ""


class Fleet:
    """The fleet as the last sign of life found it, and what follows for a process that is on its own.

    ``processes`` were seen last; ``budget`` is the lowest among them; ``differing`` names the settings in which
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
        self._small = 0

    def __repr__(self) -> str:
        return f"<Fleet of {self.processes}, {self.share} share the budget>"

    @property
    def share(self) -> int:
        """By how many the rate is divided without Redis: as many processes as there may be."""
        return max(self.rules.size, self.rules.workers, self.processes)

    @property
    def phase(self) -> float:
        """This process's turn among those who share the rate, from 0 up to ``share``.

        By its place among those that were seen last; who never saw any goes by its worker's number where there is
        no other supervisor, and else by chance.
        """
        if self._place is not None:
            return self._place
        if self.share <= self.rules.workers:
            return self.rules.worker or 0
        return self._random * self.share

    @property
    def turns(self) -> Turns | None:
        """When it may ask without Redis; None: at any time."""
        return None if self.budget.interval is None else Turns.of(self.budget, self.share, self.phase)

    @property
    def is_larger_than_told(self) -> bool:
        """Whether more processes were seen than ``size`` allows for."""
        return self.processes > self.rules.size

    def now(self) -> float:
        """The fleet's time in seconds, without Redis by this machine's clock."""
        return time.time() + self._offset

    def heard(self, pulse: Pulse) -> None:
        """What a sign of life found; what is wrong with it is told once."""
        self._offset = pulse.now + pulse.skew - time.time()
        self.processes, self._place = pulse.processes, pulse.place
        self._compare(pulse.others)
        if not self.is_larger_than_told:
            self._small = 0
        elif self.processes > max(1, self._small):
            self._small = self.processes
            log.warning(
                "fleet_size_too_small",
                fleet_size=self.rules.size,
                processes=self.processes,
                consequence="without Redis, processes that never saw it would ask the service too fast",
            )

    def _compare(self, others: tuple[Terms, ...]) -> None:
        own = Terms(*self._own.arguments, self.rules.mark())
        paced = [Budget.of(each.spacing, each.burst) for each in (own, *others) if each.spacing]
        interval = max((each.interval or 0.0 for each in paced), default=0.0)
        burst = min((each.burst for each in paced), default=self._own.burst)
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
