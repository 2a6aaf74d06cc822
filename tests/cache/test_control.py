"""What headers say of caching is read as the RFCs write it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.control import CacheControl, Wishes, age_of, names_of, response_control, wishes_of


def control(*lines: bytes) -> CacheControl:
    return response_control([(b"cache-control", line) for line in lines])


@pytest.mark.parametrize(
    ("value", "max_age"),
    [
        pytest.param(b"public", None, id="rfc9111-5.2.2.9-says-nothing-of-age"),
        pytest.param(b"max-age=60", 60.0, id="rfc9111-5.2.2.1"),
        pytest.param(b'max-age="60"', 60.0, id="rfc9111-5.2-quoted"),
        pytest.param(b"MAX-AGE=060 , ,public,", 60.0, id="rfc9111-5.2-case-and-empty-members"),
        pytest.param(b"max-age=99999999999999999999", 2.0**31, id="rfc9111-1.2.2-too-large"),
        pytest.param(b"max-age=60, s-maxage=5", 5.0, id="rfc9111-5.2.2.10-s-maxage-first"),
        pytest.param(b"s-maxage=60, max-age=5", 60.0, id="rfc9111-5.2.2.10-s-maxage-in-any-order"),
        pytest.param(b"max-age=60, max-age=30", 30.0, id="rfc9111-4.2.1-repeated"),
        pytest.param(b'x="max-age=600", max-age=1', 1.0, id="rfc9111-5.2-inside-a-string"),
        *(
            pytest.param(value, 0.0, id=f"rfc9111-4.2.1-unreadable-{number}")
            for number, value in enumerate(
                (b"max-age", b"max-age=", b"max-age=abc", b"max-age=-1", b"max-age=1.5", b"max-age = 60", b"@")
            )
        ),
    ],
)
def test_the_freshness_that_a_response_states(value: bytes, max_age: float | None) -> None:
    assert control(value).max_age == max_age


def test_rfc9110_5_3_several_lines_are_one() -> None:
    both = control(b"max-age=60", b"no-store")
    assert (both.max_age, b"no-store" in both) == (60.0, True)


@pytest.mark.parametrize(
    ("value", "forbidden"),
    [
        (b"max-age=1", False),
        (b"must-revalidate", True),
        (b"proxy-revalidate", True),
        (b"s-maxage=1", True),
        (b"no-cache", True),
        (b'no-cache="set-cookie"', True),
    ],
)
def test_rfc9111_4_2_4_what_forbids_serving_stale(value: bytes, forbidden: bool) -> None:
    assert control(value).forbids_stale is forbidden


@pytest.mark.parametrize(
    ("value", "public", "private"),
    [(b"no-store", True, True), (b"private", True, False), (b"max-age=1", False, False)],
)
def test_rfc9111_5_2_2_what_forbids_storing(value: bytes, public: bool, private: bool) -> None:
    assert control(value).forbids_storing(private_scope=False) is public
    assert control(value).forbids_storing(private_scope=True) is private


def test_rfc5861_the_stale_windows() -> None:
    given = control(b"max-age=1, stale-while-revalidate=30, stale-if-error=60")
    assert (given.stale_while_revalidate, given.stale_if_error) == (30.0, 60.0)
    assert (control(b"max-age=1").stale_while_revalidate, control(b"max-age=1").stale_if_error) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("targeted", "max_age"),
    [
        pytest.param(b"max-age=5", 5.0, id="rfc9213-2.2-goes-before"),
        pytest.param(b"max-age=5;x=1, foo=(a b)", 5.0, id="rfc8941-3.2-parameters-and-lists"),
        pytest.param(b"", 60.0, id="rfc9213-2.2-empty"),
        pytest.param(b"max-age=5, &&&&", 60.0, id="rfc9213-2.1-not-a-dictionary"),
        pytest.param(b'max-age="5"', 60.0, id="rfc9213-2.1-not-an-integer"),
        pytest.param(b"max-age=5,", 60.0, id="rfc8941-4.2.2-a-comma-too-many"),
        pytest.param(b"MAX-AGE=5", 60.0, id="rfc8941-3.2-keys-are-lower-case"),
    ],
)
def test_a_targeted_field_counts_where_it_is_valid(targeted: bytes, max_age: float) -> None:
    found = response_control([(b"cache-control", b"max-age=60, no-store"), (b"cdn-cache-control", targeted)])
    assert (found.max_age, b"no-store" in found) == (max_age, max_age == 60.0)


@pytest.mark.parametrize(
    ("headers", "wishes"),
    [
        ([], Wishes()),
        ([(b"cache-control", b"no-cache, no-store")], Wishes(no_cache=True, no_store=True)),
        ([(b"cache-control", b"max-age=0")], Wishes(max_age=0.0)),
        ([(b"cache-control", b"max-stale")], Wishes(max_stale=math.inf)),
        ([(b"cache-control", b"max-stale=5, min-fresh=6")], Wishes(max_stale=5.0, min_fresh=6.0)),
        ([(b"cache-control", b"max-stale=x, max-age=y, &")], Wishes()),
        ([(b"cache-control", b"only-if-cached"), (b"cache-control", b"no-transform")], None),
        ([(b"pragma", b"x, No-Cache")], Wishes(no_cache=True)),
        ([(b"cache-control", b"max-age=5"), (b"pragma", b"no-cache")], Wishes(max_age=5.0)),
    ],
    ids=range(9),
)
def test_rfc9111_5_2_1_what_a_request_wishes(headers: list[tuple[bytes, bytes]], wishes: Wishes | None) -> None:
    assert wishes_of(headers) == (wishes or Wishes(only_if_cached=True, no_transform=True))


@pytest.mark.parametrize(
    ("lines", "age"),
    [
        ([], 0.0),
        ([b"7"], 7.0),
        ([b"7, 9"], 7.0),
        ([b"7", b"9"], 7.0),
        ([b"old"], 0.0),
        ([b"-7"], 0.0),
        ([b"7.5"], 0.0),
        ([b"9" * 30], 2.0**31),
    ],
    ids=range(8),
)
def test_rfc9111_5_1_the_age_that_a_response_came_with(lines: list[bytes], age: float) -> None:
    assert age_of([(b"age", line) for line in lines]) == age


def test_rfc9110_12_5_5_the_fields_that_an_answer_varies_by() -> None:
    assert names_of([b"Accept, ,foo", b"FOO"]) == (b"accept", b"foo")


@given(st.binary(max_size=200))
def test_nothing_that_is_sent_is_an_error(value: bytes) -> None:
    headers = [(b"cache-control", value), (b"cdn-cache-control", value), (b"age", value), (b"pragma", value)]
    response_control(headers)
    wishes_of(headers)
    assert 0 <= age_of(headers) <= 2.0**31
