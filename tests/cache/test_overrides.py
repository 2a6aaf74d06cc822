"""A tenant's own lifetimes, on entries that were fetched for anyone."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.entry import Entry
from gateway.cache.rules import overridden

NOW = 1_000_000.0


def entry(rule: str = "open", *, life: float = 900, serve: float = 900, bound: float = math.inf) -> Entry:
    fresh = min(NOW + life, bound)
    end = fresh + serve
    return Entry("k", 200, [], b"", b"", NOW, NOW, fresh, end, end, NOW, end, serve > 0, rule=rule, bound=bound)


def test_a_shorter_lifetime_makes_an_entry_stale_earlier_and_it_serves_one_more() -> None:
    (found,) = overridden([entry()], {"open": 60})
    assert (found.fresh_until, found.serve_until, found.keep_until) == (NOW + 60, NOW + 120, NOW + 1800)


def test_a_longer_lifetime_makes_it_stale_later() -> None:
    (found,) = overridden([entry()], {"open": 3_600})
    assert found.fresh_until == NOW + 3_600


def test_another_rules_lifetime_changes_nothing() -> None:
    assert overridden([entry("closed"), entry("")], {"open": 60}) == [entry("closed"), entry("")]


def test_an_error_record_ends_at_once_and_never_lives_longer_than_it_was_stored_for() -> None:
    (shorter,) = overridden([entry("error", life=600, serve=0)], {"error": 60})
    assert shorter.fresh_until == shorter.serve_until == shorter.keep_until == NOW + 60
    (longer,) = overridden([entry("error", life=600, serve=0)], {"error": 6_000})
    assert longer.keep_until == NOW + 600


@given(life=st.floats(0.1, 1e7), left=st.floats(-1e5, 1e5))
def test_no_lifetime_goes_beyond_the_bound_of_midnight_or_the_services_max_age(life: float, left: float) -> None:
    (found,) = overridden([entry(bound=NOW + left)], {"open": life})
    assert found.fresh_until <= NOW + left
