"""Histogram: how long something took, as counts by bucket; and quantiles of those. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

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
