"""Budget: how fast the fleet may ask the service, and this process's share when it is on its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
