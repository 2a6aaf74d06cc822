"""How a limit is told: the fields of draft-ietf-httpapi-ratelimit-headers-11."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from gateway.tenants.ratelimit import Rules, policy, refusal
from gateway.tenants.ratelimit import fields_left as standing_of
from gateway.tenants.tenant import TenantLimits

ITEM = re.compile(rb'"(?P<name>rate|day)"(?P<parameters>(;[a-z]+=[0-9]{1,15})+)')
"""An item of a structured field: a string, with integers of at most fifteen digits as parameters (RFC 9651 §3)."""


def parsed(field: bytes) -> dict[str, dict[str, int]]:
    """A field's items and their parameters; fails on what is not a list of such."""
    items = {}
    for member in field.split(b", "):
        found = ITEM.fullmatch(member)
        assert found is not None, member
        words = found["parameters"].decode().split(";")[1:]
        items[found["name"].decode()] = {word[0]: int(word[2:]) for word in words}
    return items


def rules_of(rate: float | None = None, burst: int | None = None, day: int | None = None) -> Rules:
    return Rules.of(TenantLimits(requests_per_second=rate, burst=burst, requests_per_day=day))


def standing(rules: Rules, left: int, day_left: int, midnight: float) -> bytes:
    """The field of an admitted request, which its lines agree with."""
    told = standing_of(policy(rules), rules, left, day_left, midnight)
    assert told.lines == b"".join(b"%s: %s\r\n" % pair for pair in told.headers)
    assert [name for name, _ in told.headers] == [b"ratelimit-policy", b"ratelimit"]
    assert told.headers[0][1] == policy(rules)
    return told.headers[1][1]


def test_a_policy_is_its_quota_and_window() -> None:
    assert policy(rules_of(10, 20, 1_000)) == b'"rate";q=20;w=2, "day";q=1000;w=86400'
    assert policy(rules_of(10, 5)) == b'"rate";q=10;w=1'
    assert policy(rules_of(2.5)) == b'"rate";q=5;w=2'
    assert policy(rules_of(0.01, 3)) == b'"rate";q=3;w=300'
    assert policy(rules_of(day=7)) == b'"day";q=7;w=86400'


def test_what_is_left_is_told_with_the_time_over_which_it_keeps_the_rate() -> None:
    rules = rules_of(10, 20, 1_000)
    assert standing(rules, 15, 990, 3_599.5) == b'"rate";r=15;t=2, "day";r=990;t=3600'
    assert standing(rules_of(10, 20), 20, 0, 0) == b'"rate";r=20;t=2'
    assert standing(rules_of(day=7), 0, 6, 60) == b'"day";r=6;t=60'


def test_what_is_left_is_never_told_as_less_than_nothing() -> None:
    assert standing(rules_of(1, 2, 5), -3, -1, 0) == b'"rate";r=0;t=1, "day";r=0;t=1'


def test_a_refusal_tells_only_of_the_limit_that_refused() -> None:
    rules = rules_of(10, 20, 1_000)
    assert refusal(rules, 0.05, 0.0) == b'"rate";r=0;t=1'
    assert refusal(rules, 0.0, 3_600.5) == b'"day";r=0;t=3601'
    assert refusal(rules, 2.0, 3_600.0) == b'"rate";r=0;t=2, "day";r=0;t=3600'
    assert refusal(rules, 0.0, 0.0) == b'"rate";r=0;t=1'
    assert refusal(rules_of(day=7), 0.0, 0.0) == b'"day";r=0;t=1'


rates = st.none() | st.floats(1e-6, 1e6)
days = st.none() | st.integers(1, 10**12)


@given(rates, st.none() | st.integers(1, 10**6), days, st.integers(-(10**6), 10**12), st.floats(0, 86_400))
def test_any_limit_is_told_in_well_formed_fields_that_agree(
    rate: float | None, burst: int | None, day: int | None, left: int, midnight: float
) -> None:
    if rate is None and day is None:
        return
    rules = rules_of(rate, burst, day)
    quotas, limits = parsed(policy(rules)), parsed(standing(rules, left, left, midnight))
    assert quotas.keys() == limits.keys()
    for name, quota in quotas.items():
        assert quota["w"] >= 1
        assert limits[name]["t"] >= 1
        assert limits[name]["r"] <= max(quota["q"], left)
    if rate is not None:
        told = limits["rate"]
        assert told["r"] <= quotas["rate"]["q"]
        assert told["r"] / told["t"] <= 1 / rules.interval * (1 + 1e-9)


@given(rates, days, st.floats(0, 1e6), st.floats(0, 86_400))
def test_no_window_of_a_refusal_ends_after_its_retry_after(
    rate: float | None, day: int | None, rate_wait: float, day_wait: float
) -> None:
    if rate is None and day is None:
        return
    rules = rules_of(rate, None, day)
    waits = (rate_wait if rate else 0.0, day_wait if day else 0.0)
    retry_after = max(1, math.ceil(max(waits)))
    for item in parsed(refusal(rules, *waits)).values():
        assert item["r"] == 0
        assert item["t"] <= retry_after
