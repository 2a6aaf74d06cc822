"""What is remembered of invalidations, and for how long."""

from __future__ import annotations

import pytest

from gateway.cache.entry import AHEAD, Entry, stamp
from gateway.cache.invalidation import KEPT, MOST, Invalidations

NOW = 1_800_000_000.0


def asked_at(dispatched: float, key: str = "a", skew: float = 0.0) -> Entry:
    return Entry(key, 200, [], b"", b"", dispatched, dispatched, 0.0, 0.0, 0.0, skew=skew)


@pytest.fixture
def voids() -> Invalidations:
    return Invalidations()


def test_what_was_asked_for_before_is_void_and_what_was_since_is_not(voids: Invalidations) -> None:
    assert not voids
    voids.note("a", stamp(NOW), NOW)
    assert voids
    assert voids.covers(asked_at(NOW - 0.001))
    assert not voids.covers(asked_at(NOW))
    assert not voids.covers(asked_at(NOW - 1, "b"))
    assert not voids.covers(asked_at(NOW - 1, skew=2.0))  # by the fleet's own time


def test_the_later_of_two_counts_whichever_is_heard_first(voids: Invalidations) -> None:
    voids.note("a", stamp(NOW), NOW)
    voids.note("a", stamp(NOW - 5), NOW)
    assert voids.covers(asked_at(NOW - 1))
    assert voids.since("a", NOW) == stamp(NOW)


def test_a_time_from_a_clock_that_was_wrong_counts_for_nothing(voids: Invalidations) -> None:
    voids.note("a", stamp(NOW + AHEAD + 1), NOW)
    assert not voids


def test_it_is_forgotten_when_nothing_older_can_be_under_way(voids: Invalidations) -> None:
    voids.note("a", stamp(NOW), NOW)
    later = NOW + KEPT + 1
    assert voids.since("a", NOW + 1) == stamp(NOW)
    assert voids.since("a", later) is None
    voids.note("b", stamp(later), later)
    assert not voids.covers(asked_at(NOW - 1))


def test_what_the_fleet_was_not_told_of_is_kept_until_it_is(voids: Invalidations) -> None:
    voids.note("a", stamp(NOW), NOW)
    voids.send_later("a", stamp(NOW))
    later = NOW + KEPT + 1
    voids.note("b", stamp(later), later)
    assert voids.covers(asked_at(NOW - 1))
    assert voids.unsent == [("a", stamp(NOW))]
    voids.sent("a", stamp(NOW - 1))
    assert voids.unsent
    voids.sent("a", stamp(NOW))
    voids.note("c", stamp(later), later)
    assert not voids.unsent
    assert not voids.covers(asked_at(NOW - 1))


def test_of_too_many_the_oldest_leave(voids: Invalidations) -> None:
    for number in range(MOST + 1):
        voids.note(str(number), stamp(NOW + number * 1e-5), NOW)
        voids.send_later(str(number), stamp(NOW))
    assert not voids.covers(asked_at(NOW - 1, "0"))
    assert voids.covers(asked_at(NOW - 1, "1"))
    assert len(voids.unsent) == MOST
