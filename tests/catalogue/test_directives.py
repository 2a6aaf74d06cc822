from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalogue.directives import Directives, read_directives


def read(*lines: bytes, age: bytes | None = None) -> Directives:
    headers = [(b"content-type", b"application/json"), *((b"cache-control", line) for line in lines)]
    return read_directives(headers if age is None else [*headers, (b"age", age)])


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        (b"", Directives()),
        (b"public", Directives()),
        (b"no-store", Directives(no_store=True)),
        (b"No-Store", Directives(no_store=True)),
        (b"no-cache", Directives(no_store=True)),
        (b'no-cache="set-cookie, x"', Directives(no_store=True)),
        (b"private", Directives(private=True)),
        (b'private="set-cookie"', Directives(private=True)),
        (b"must-revalidate", Directives(must_revalidate=True)),
        (b"proxy-revalidate", Directives(must_revalidate=True)),
        (b"max-age=60", Directives(max_age=60.0)),
        (b'max-age="60"', Directives(max_age=60.0)),
        (b"MAX-AGE=60 , ,public,", Directives(max_age=60.0)),
        (b"max-age=0, s-maxage=60", Directives(max_age=60.0)),
        (b"s-maxage=5, max-age=60", Directives(max_age=5.0)),
        (b"max-age=60, max-age=30", Directives(max_age=30.0)),
        (b'x="a, no-store, \\", max-age=1", max-age=60', Directives(max_age=60.0)),
        (b"x-no-store, no-storex", Directives()),
    ],
)
def test_directives_are_read_as_the_rfc_writes_them(value: bytes, directives: Directives) -> None:
    assert read(value) == directives


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"max-age",
            b"max-age=",
            b"max-age=abc",
            b"max-age=-1",
            b"max-age=1.5",
            b"max-age = 60",
            b"max-age=60 s",
        ),
        *(
            b"max-age=" + b"9" * 5000,
            b"@",
            b'public, x="open',
            b"max-age=60, max-age=x",
            b"s-maxage=x, max-age=60",
        ),
    ],
)
def test_what_cannot_be_read_makes_the_answer_stale_at_once(value: bytes) -> None:
    assert read(value).max_age == 0


def test_what_cannot_be_read_hides_nothing_that_can() -> None:
    assert read(b"max-age = 60, no-store, private") == Directives(no_store=True, private=True, max_age=0.0)


def test_several_lines_count_as_one() -> None:
    assert read(b"max-age=60", b"private") == Directives(private=True, max_age=60.0)


@pytest.mark.parametrize(("age", "left"), [(b"20", 40.0), (b"90", -30.0), (b"soon", 60.0), (b"-5", 60.0)])
def test_the_age_that_an_answer_came_with_counts_against_its_max_age(age: bytes, left: float) -> None:
    assert read(b"max-age=60", age=age).max_age == left


@pytest.mark.parametrize(
    ("directives", "public", "private"),
    [
        (Directives(), False, False),
        (Directives(no_store=True), True, True),
        (Directives(private=True), True, False),
    ],
)
def test_a_credentials_scope_satisfies_private_and_nothing_satisfies_no_store(
    directives: Directives, public: bool, private: bool
) -> None:
    assert directives.forbids_storing(private_scope=False) is public
    assert directives.forbids_storing(private_scope=True) is private


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text('max-ge=1,"\\ ;nostr', max_size=60).map(str.encode))
def test_no_value_breaks_the_reader(value: bytes) -> None:
    directives = read(value)
    assert directives.max_age is None or directives.max_age >= 0
