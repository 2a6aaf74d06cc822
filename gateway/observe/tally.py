"""Tally: requests of one kind as plain numbers, so that a hit pays for counting next to nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from gateway.observe.histogram import BOUNDS, SIZE
from gateway.observe.outcome import Outcome

SHORTEST = BOUNDS[0]
"""What nearly any hit takes less than."""
MOST = 10_000
"""Kinds that are remembered between two tellings."""


class Kind(NamedTuple):
    """What is the same of all requests that are counted together. ``cache`` says where a stored answer was,
    ``near`` or ``shared``; it is empty for any other answer."""

    family: str
    outcome: Outcome
    status: int
    tenant: str
    key_id: str | None
    cache: str


class Tally:
    """How many, their seconds in all, and how many in each bucket of ``observe.histogram``."""

    __slots__ = ("_untold", "buckets", "count", "kind", "seconds")

    def __init__(self, kind: Kind, untold: list[Tally]) -> None:
        self.kind = kind
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * SIZE
        self._untold = untold

    def __repr__(self) -> str:
        return f"<Tally {self.count} of {self.kind}>"

    def add(self, seconds: float) -> None:
        """One request, answered after so many seconds."""
        if not self.count:
            self._untold.append(self)
        self.count += 1
        self.seconds += seconds
        self.buckets[0 if seconds <= SHORTEST else bisect_left(BOUNDS, seconds)] += 1


class Tallies:
    """All tallies of a process; ``tell`` is told of each that has counted something since the last time.

    A tally that is kept elsewhere goes on counting, whether it is remembered here or not.
    """

    def __init__(self, tell: Callable[[Tally], None]) -> None:
        self._tell = tell
        self._kinds: dict[Kind, Tally] = {}
        self._untold: list[Tally] = []

    def __repr__(self) -> str:
        return f"<Tallies {len(self._untold)} to tell>"

    def of(self, kind: Kind) -> Tally:
        """The tally of a kind."""
        tally = self._kinds.get(kind)
        if tally is None:
            if len(self._kinds) >= MOST:
                self._kinds.clear()
            tally = self._kinds[kind] = Tally(kind, self._untold)
        return tally

    def gather(self) -> None:
        """Tells of everything that was counted, and begins anew."""
        for tally in self._untold:
            self._tell(tally)
            tally.count, tally.seconds = 0, 0.0
            tally.buckets = [0] * SIZE
        self._untold.clear()
