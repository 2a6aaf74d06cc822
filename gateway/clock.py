"""Clock: the fleet's time: Redis's for the calendar, and one that runs on evenly for what came before what."""

from __future__ import annotations

import time

LEAP = 1.5
"""Seconds by which a time may be ahead of ours and still be believed; as in prelude.lua."""
INSTANT = 1e-6


class Clock:
    """This machine's clock, corrected to Redis's by each sign of life, so that replicas agree on ages.

    Redis's clock may step. ``skew`` seconds are between it and the fleet's own time, which never does
    (``lua/prelude.lua``): ``order`` is by that one, and changes of ``skew`` tell what was noted before a step.
    """

    def __init__(self) -> None:
        self.skew = 0.0
        self._offset = 0.0
        self._reached = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def order(self) -> float:
        """Seconds of the fleet's own time: what is noted later has the larger one, whatever Redis's clock did."""
        return self.now() + self.skew

    def sync(self, fleet: float, skew: float) -> bool:
        """``fleet`` is what Redis's clock shows now. Answers whether it stepped since the last time."""
        stepped, self.skew = skew != self.skew, skew
        self._offset = fleet - time.time()
        self.reached(self._reached)
        return stepped

    def reached(self, order: float) -> None:
        """The fleet's own time has been this: it is later now.

        A sign of life's reply takes its time, and ours is behind by that: what is dispatched after a purge would
        count as dispatched before it, and what a purge made stale would be fresh for a moment more.
        """
        behind = order - self.order()
        if behind >= LEAP:
            return
        self._reached = max(self._reached, order)
        if behind >= 0:
            self._offset += behind + INSTANT
