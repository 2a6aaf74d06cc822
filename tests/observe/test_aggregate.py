"""Counts by bucket, and their quantiles."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observe.outcome import BOUNDS, NAMES, SIZE, Aggregate, Labels, Outcome, quantile


def counted(values: list[float]) -> list[int]:
    counts = [0] * SIZE
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    return counts


def test_the_bounds_go_from_a_near_hit_to_the_longest_wait_in_steps_that_tell_something() -> None:
    assert (BOUNDS[0], BOUNDS[-1]) == (50e-6, 30.0)
    assert all(1 < more / less <= 1.7 for less, more in pairwise(BOUNDS))
    assert len(set(NAMES)) == SIZE == len(BOUNDS) + 1


def test_nothing_counted_takes_no_time() -> None:
    assert quantile([0] * SIZE, 0.99) == 0.0


def test_a_bucket_is_interpolated() -> None:
    counts = counted([0.0025] * 10)
    assert quantile(counts, 0.5) == pytest.approx(0.0025)
    assert quantile(counts, 1.0) == pytest.approx(0.003)
    assert quantile(counted([10e-6] * 4), 0.5) == pytest.approx(25e-6)


def test_what_is_beyond_the_last_bound_counts_as_that_bound() -> None:
    assert quantile(counted([500.0]), 0.5) == 30.0


@given(st.lists(st.floats(1e-6, 29.9), min_size=1, max_size=50), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_in_the_same_bucket_as_the_value_it_stands_for(values: list[float], share: float) -> None:
    values.sort()
    rank = next(i for i in range(len(values)) if i + 1 >= share * len(values))
    bucket = bisect_left(BOUNDS, values[rank])
    lower = BOUNDS[bucket - 1] if bucket else 0.0
    assert lower <= quantile(counted(values), share) <= BOUNDS[bucket] * (1 + 1e-9)


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bucket_takes_what_lasted_as_long_as_its_bound_and_no_longer(bound: float) -> None:
    aggregate = Aggregate(Labels("totals", Outcome.HIT, 200, "reports", None, "near"), [])
    for seconds in (0.0, bound, math.nextafter(bound, math.inf)):
        aggregate.add(seconds)
    at = bisect_left(BOUNDS, bound)
    expected = [0] * SIZE
    for bucket in (0, at, at + 1):
        expected[bucket] += 1
    assert (aggregate.buckets, aggregate.count) == (expected, 3)
