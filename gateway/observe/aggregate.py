"""Tally: requests of one kind as plain numbers, so that a hit pays for counting next to nothing.

Histogram: how long something took, as counts by bucket; and quantiles of those. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from gateway.observe.outcome import Outcome

STEPS = (10, 15, 20, 30, 50, 70)
DECADES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
MICROSECONDS = tuple(each for ten in DECADES for step in STEPS if 50 <= (each := step * ten) <= 30_000_000)
BOUNDS = tuple(each / 1e6 for each in MICROSECONDS)
"""The greatest value of each bucket in seconds, from 50 µs to 30 s, at most 1.7 times the one before; one more
bucket takes what is longer."""
NAMES = (*(str(each) for each in MICROSECONDS), "inf")
"""The buckets' names: their bounds in microseconds."""
SIZE = len(NAMES)


def quantile(counts: Sequence[int], share: float) -> float:
    """The seconds that ``share`` of what was counted took at most, interpolated inside its bucket; what is
    beyond the last bound counts as that bound. 0 where nothing was counted."""
    sums = list(accumulate(counts))
    wanted = share * sums[-1]
    if wanted <= 0:
        return 0.0
    bucket = bisect_left(sums, wanted)
    if bucket == len(BOUNDS):
        return BOUNDS[-1]
    lower = BOUNDS[bucket - 1] if bucket else 0.0
    part = (wanted - sums[bucket] + counts[bucket]) / counts[bucket]
    return lower + part * (BOUNDS[bucket] - lower)


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
