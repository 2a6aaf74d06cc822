"""What is left of a limit, in one process alone; and how it is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.grant import LocalLimits, Rules
from gateway.admission.policy import policy, told
from gateway.tenants.tenant import TenantLimits

NOON = 1_700_049_600.0 - 1_700_049_600.0 % 86_400 + 43_200


def test_a_burst_is_the_requests_of_one_second_where_nothing_else_is_said() -> None:
    assert Rules.of(TenantLimits(requests_per_second=2.5)).burst == 3
    assert Rules.of(TenantLimits(requests_per_second=0.1)).burst == 1


def test_a_burst_goes_at_once_and_then_the_rate_holds() -> None:
    limits, rules = LocalLimits(), Rules(interval=0.5, burst=4, most=0)
    first = limits.take(rules, NOON, wanted=10, owed=0)
    assert (first.granted, first.left, first.wait) == (4, 0, 0.5)
    assert limits.take(rules, NOON + 1, wanted=10, owed=0).granted == 2


def test_what_was_taken_on_credit_is_paid_first() -> None:
    limits, rules = LocalLimits(), Rules(interval=1.0, burst=1, most=0)
    assert limits.take(rules, NOON, wanted=0, owed=3).wait == 3.0
    assert limits.take(rules, NOON + 2.9, wanted=1, owed=0).granted == 0
    assert limits.take(rules, NOON + 3.1, wanted=1, owed=0).granted == 1


def test_what_is_given_back_is_there_again() -> None:
    limits, rules = LocalLimits(), Rules(interval=1.0, burst=4, most=10)
    assert limits.take(rules, NOON, wanted=4, owed=0).granted == 4
    again = limits.take(rules, NOON, wanted=2, owed=-3)
    assert (again.granted, again.left, again.day_left) == (2, 1, 7)


def test_a_day_ends_at_midnight_utc() -> None:
    limits, rules = LocalLimits(), Rules(interval=0.0, burst=1, most=5)
    spent = limits.take(rules, NOON, wanted=9, owed=0)
    assert (spent.granted, spent.day_left, spent.wait) == (5, 0, 43_200)
    assert limits.take(rules, NOON + 43_200, wanted=9, owed=0).granted == 5


@given(
    rate=st.floats(0.01, 1_000),
    burst=st.integers(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=30),
)
def test_never_more_than_the_burst_and_what_comes_in_the_time(
    rate: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    limits, rules, now, granted = LocalLimits(), Rules(1 / rate, burst, 0), NOON, 0
    for pause, wanted in steps:
        now += pause
        granted += limits.take(rules, now, wanted=wanted, owed=0).granted
    assert granted <= burst + (now - NOON) * rate + 0.01


def test_the_fields_are_those_of_the_draft() -> None:
    rules = Rules.of(TenantLimits(requests_per_second=10, burst=20, requests_per_day=1_000))
    assert policy(rules) == b'"rate";q=20;w=2, "day";q=1000;w=86400'
    assert told(rules, 15, 990, 3_599.5) == [
        (b"ratelimit-policy", b'"rate";q=20;w=2, "day";q=1000;w=86400'),
        (b"ratelimit", b'"rate";r=15;t=1, "day";r=990;t=3600'),
    ]


def test_what_is_left_is_never_told_as_less_than_nothing() -> None:
    assert told(Rules(1.0, 2, 0), -3, -1, 0)[1] == (b"ratelimit", b'"rate";r=0;t=2')
