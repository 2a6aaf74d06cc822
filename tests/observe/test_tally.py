"""Tallies: where a request is counted."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest

from gateway.observe.aggregate import BOUNDS, SIZE, Kind, Tally
from gateway.observe.outcome import Outcome

KIND = Kind("totals", Outcome.HIT, 200, "reports", None, "near")


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bucket_takes_what_lasted_as_long_as_its_bound_and_no_longer(bound: float) -> None:
    tally = Tally(KIND, [])
    for seconds in (0.0, bound, math.nextafter(bound, math.inf)):
        tally.add(seconds)
    at = bisect_left(BOUNDS, bound)
    expected = [0] * SIZE
    for bucket in (0, at, at + 1):
        expected[bucket] += 1
    assert (tally.buckets, tally.count) == (expected, 3)
