"""Requests with the same labels as plain numbers, so that counting costs a hit next to nothing.

Durations are counted by bucket.
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
"""Nearly any hit takes less."""
MOST = 10_000
"""Labels that are remembered between two gatherings."""


class Labels(NamedTuple):
    """What all requests of an aggregate have in common. ``cache`` says where a stored answer was, ``near`` or
    ``shared``; it is empty for any other answer."""

    family: str
    outcome: Outcome
    status: int
    tenant: str
    key_id: str | None
    cache: str


class Aggregate:
    """The number of requests, the sum of their seconds, and their number in each bucket of ``BOUNDS``."""

    __slots__ = ("_changed", "buckets", "count", "labels", "seconds")

    def __init__(self, labels: Labels, changed: list[Aggregate]) -> None:
        self.labels = labels
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * SIZE
        self._changed = changed

    def __repr__(self) -> str:
        return f"<Aggregate {self.count} of {self.labels}>"

    def add(self, seconds: float) -> None:
        """Counts a request that was answered after so many seconds."""
        if not self.count:
            self._changed.append(self)
        self.count += 1
        self.seconds += seconds
        self.buckets[0 if seconds <= SHORTEST else bisect_left(BOUNDS, seconds)] += 1


class Aggregates:
    """All aggregates of a process; ``report`` gets each that has counted something since the last gathering.

    An aggregate that is kept elsewhere goes on counting, whether it is remembered here or not.
    """

    def __init__(self, report: Callable[[Aggregate], None]) -> None:
        self._report = report
        self._by_labels: dict[Labels, Aggregate] = {}
        self._changed: list[Aggregate] = []

    def __repr__(self) -> str:
        return f"<Aggregates {len(self._changed)} changed>"

    def of(self, labels: Labels) -> Aggregate:
        """The aggregate of requests with these labels."""
        aggregate = self._by_labels.get(labels)
        if aggregate is None:
            if len(self._by_labels) >= MOST:
                self._by_labels.clear()
            aggregate = self._by_labels[labels] = Aggregate(labels, self._changed)
        return aggregate

    def gather(self) -> None:
        """Reports everything that was counted, and begins anew."""
        for aggregate in self._changed:
            self._report(aggregate)
            aggregate.count, aggregate.seconds = 0, 0.0
            aggregate.buckets = [0] * SIZE
        self._changed.clear()
