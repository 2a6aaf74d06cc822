"""How a request was answered, in one vocabulary for log, metric and header; its timings, and aggregates.

Requests with the same labels are counted as plain numbers, durations by bucket: that costs a hit next to nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import accumulate
from math import floor
from time import monotonic

import msgspec

from gateway.cache.rules import Why


class Outcome(StrEnum):
    HIT = "hit"
    STALE = "stale"
    MISS = "miss"
    COLLAPSED = "collapsed"
    REVALIDATED = "revalidated"
    BYPASS = "bypass"
    REFUSED = "refused"
    FAILED = "failed"

    __hash__ = str.__hash__  # each answer is counted and looked up by its outcome; Enum's own is not in C


SPARED = frozenset({Outcome.HIT, Outcome.STALE})
"""The outcomes of answers from the cache."""


class Forwarded(msgspec.Struct, frozen=True):
    """Why the service was asked, and what came of it.

    ``status`` is the service's where the client gets another (RFC 9211 §2.3); ``collapsed`` says that one call
    was for several requests (§2.6), ``stored`` that its answer was kept (§2.5).
    """

    why: Why
    status: int | None = None
    collapsed: bool = False
    stored: bool = False


CACHE = b"stats-gateway"
FORWARD = re.compile(rb"(; fwd=[a-z-]+)(?!.*; fwd-status=)")


def cache_status(forwarded: Forwarded | None = None, *, ttl: float | None = None, detail: str = "") -> bytes:
    """A ``Cache-Status`` value (RFC 9211 §2): a hit for ``ttl`` seconds where nothing was ``forwarded``; neither
    where the gateway itself speaks, without a ``ttl``.

    ``detail`` is a token-like reason of the gateway's own, never text from a client.
    """
    value = CACHE
    if forwarded is not None:
        value += b"; fwd=" + forwarded.why.encode()
        if forwarded.status is not None:
            value += b"; fwd-status=%d" % forwarded.status
        value += b"; collapsed" * forwarded.collapsed + b"; stored" * forwarded.stored
    elif ttl is not None:
        value += b"; hit"
    if ttl is not None:
        value += b"; ttl=%d" % whole_seconds(ttl)
    if detail:
        value += b"; detail=" + detail.encode("ascii")
    return value


def hit_for(ttl: float) -> bytes:
    """The ``Cache-Status`` of a plain hit."""
    return b"%s; hit; ttl=%d" % (CACHE, int(ttl) if ttl > 0 else whole_seconds(ttl))


def whole_seconds(ttl: float) -> int:
    """The rest of a lifetime in whole seconds, negative as soon as it is over (RFC 9211 §2.4)."""
    return floor(ttl) if ttl > 0 else min(floor(ttl), -1)


def with_status(value: bytes, status: int) -> bytes:
    """The ``Cache-Status`` of an answer whose client gets another status than the service gave (RFC 9211 §2.3)."""
    return FORWARD.sub(rb"\1; fwd-status=%d" % status, value)


clock: Callable[[], float] = monotonic
"""The clock of the stages, in seconds; only differences mean anything."""


class Timings(msgspec.Struct, eq=False):
    """The end of each stage of a request, in seconds of ``clock``; 0 for a stage that it did not reach.

    ``flown`` is the service's own time, in the flight that this request led or joined; ``near`` says that the
    answer came from the near cache.
    """

    began: float = msgspec.field(default_factory=clock)
    identified: float = 0.0
    admitted: float = 0.0
    looked_up: float = 0.0
    landed: float = 0.0
    flown: float = 0.0
    near: bool = False

    def spans(self, ended: float) -> list[tuple[str, float, float]]:
        """The stages that were begun, each with when it began and ended; the last ends with the request.

        ``queue`` is all waiting for a flight but for the service's own time, ``upstream``.
        """
        found: list[tuple[str, float, float]] = []
        since = self.began
        for name, end in (("identify", self.identified), ("admit", self.admitted), ("look_up", self.looked_up)):
            found.append((name, since, end or ended))
            if not end:
                return found
            since = end
        if self.landed:
            answered = max(since, self.landed - self.flown)
            found.append(("queue", since, answered))
            if self.flown:
                found.append(("upstream", answered, self.landed))
        return found

    def seconds(self, ended: float) -> dict[str, float]:
        """How long each stage took, in seconds."""
        return {name: round(end - began, 6) for name, began, end in self.spans(ended)}


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


class Labels(msgspec.Struct, frozen=True):
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

    @property
    def filled(self) -> list[tuple[int, int]]:
        """The buckets that are not empty: the place of each, and its number."""
        if self.buckets[0] == self.count:  # so it is with most hits
            return [(0, self.count)]
        return [(place, count) for place, count in enumerate(self.buckets) if count]


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
