"""Of a whole stored answer, the part that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.conditional import MOST, UNSATISFIABLE, WHOLE, Part, Unsatisfiable, Whole, range_of
from gateway.errors import Headers

LENGTH = 10_000
ETAG = b'"abc"'
MODIFIED = b"Sun, 06 Nov 1994 08:49:37 GMT"
DATE = b"Sun, 06 Nov 1994 08:49:38 GMT"

lengths = st.integers(1, 1_000)


def ask(*ranges: bytes, condition: tuple[bytes, ...] = ()) -> Headers:
    return [*((b"range", value) for value in ranges), *((b"if-range", value) for value in condition)]


def found(*ranges: bytes, length: int = LENGTH) -> Whole | Part | Unsatisfiable:
    return range_of(ask(*ranges), ETAG, MODIFIED, DATE, length)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"bytes=0-499", Part(0, 500), id="rfc9110_14_1_2_first_500"),
        pytest.param(b"bytes=500-999", Part(500, 1000), id="rfc9110_14_1_2_second_500"),
        pytest.param(b"bytes=-500", Part(9500, 10_000), id="rfc9110_14_1_2_final_500"),
        pytest.param(b"bytes=9500-", Part(9500, 10_000), id="rfc9110_14_1_2_open_ended"),
        pytest.param(b"bytes=0-", Part(0, 10_000), id="rfc9110_14_1_2_all_of_it"),
        pytest.param(b"bytes=0-0", Part(0, 1), id="rfc9110_14_1_2_one_byte"),
        pytest.param(b"bytes=-1", Part(9999, 10_000), id="rfc9110_14_1_2_last_byte"),
        pytest.param(b"bytes=9999-9999", Part(9999, 10_000), id="rfc9110_14_1_2_last_byte_by_number"),
        pytest.param(b"bytes=9000-20000", Part(9000, 10_000), id="rfc9110_14_1_2_end_beyond"),
        pytest.param(b"bytes=-20000", Part(0, 10_000), id="rfc9110_14_1_2_suffix_longer_than_all"),
        pytest.param(b"bytes=007-08", Part(7, 9), id="rfc9110_14_1_2_leading_zeros"),
        pytest.param(b"bytes=0-" + b"9" * 5000, Part(0, 10_000), id="rfc9110_17_5_absurd_end"),
        pytest.param(b"bytes=-" + b"9" * 5000, Part(0, 10_000), id="rfc9110_17_5_absurd_suffix"),
        pytest.param(b"Bytes=0-1", Part(0, 2), id="rfc9110_14_1_unit_case"),
        pytest.param(b" bytes=0-1\t", Part(0, 2), id="rfc9110_5_5_surrounding_whitespace"),
        pytest.param(b"bytes= 0-1", Part(0, 2), id="rfc9110_14_1_1_whitespace_in_the_set"),
        pytest.param(b"bytes=,0-1,,", Part(0, 2), id="rfc9110_5_6_1_2_empty_members"),
    ],
)
def test_rfc9110_14_1_2_one_range(value: bytes, expected: Part) -> None:
    assert found(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"bytes=10000-", id="from_the_end"),
        pytest.param(b"bytes=10000-10001", id="beyond_the_end"),
        pytest.param(b"bytes=-0", id="empty_suffix"),
        pytest.param(b"bytes=" + b"9" * 5000 + b"-", id="absurd"),
        pytest.param(b"bytes=10000-, -0, 20000-30000", id="several"),
    ],
)
def test_rfc9110_14_1_2_unsatisfiable(value: bytes) -> None:
    assert found(value) is UNSATISFIABLE


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"bytes", id="unit_alone"),
        pytest.param(b"bytes=", id="no_range"),
        pytest.param(b"bytes=-", id="no_number"),
        pytest.param(b"bytes=1", id="no_dash"),
        pytest.param(b"bytes=5-4", id="rfc9110_14_1_1_ends_before_it_starts"),
        pytest.param(b"bytes=0-1, 5-4", id="rfc9110_14_1_1_one_of_two_malformed"),
        pytest.param(b"bytes=a-b", id="letters"),
        pytest.param(b"bytes=0x1-0x2", id="hexadecimal"),
        pytest.param(b"bytes=1_0-2_0", id="underscores"),
        pytest.param(b"bytes=+1-2", id="sign"),
        pytest.param(b"bytes=--1", id="two_dashes"),
        pytest.param(b"bytes=0 - 1", id="space_within"),
        pytest.param(b"bytes =0-1", id="space_before_equals"),
        pytest.param(b"bytes:0-1", id="colon"),
        pytest.param(b"bytes=0-1;5-6", id="semicolon"),
        pytest.param("bytes=٠-١".encode(), id="other_digits"),
        pytest.param(b"lines=0-1", id="rfc9110_14_2_other_unit"),
        pytest.param(b"bytes=0-1\n", id="newline"),
    ],
)
def test_rfc9110_14_2_what_is_malformed_does_not_count(value: bytes) -> None:
    assert found(value) is WHOLE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"bytes=0-1,2-3", Part(0, 4), id="rfc9110_15_3_7_2_adjacent"),
        pytest.param(b"bytes=0-5,3-8", Part(0, 9), id="rfc9110_15_3_7_2_overlapping"),
        pytest.param(b"bytes=2-3 , 0-1", Part(0, 4), id="rfc9110_15_3_7_2_out_of_order"),
        pytest.param(b"bytes=0-9,2-3", Part(0, 10), id="rfc9110_15_3_7_2_nested"),
        pytest.param(b"bytes=0-1,20000-", Part(0, 2), id="rfc9110_15_3_7_2_one_satisfiable"),
        pytest.param(b"bytes=0-,-5", Part(0, 10_000), id="rfc9110_15_3_7_2_suffix_within"),
        pytest.param(b"bytes=0-1,3-4", WHOLE, id="rfc9110_14_2_gap"),
        pytest.param(b"bytes=0-0,-1", WHOLE, id="rfc9110_14_1_2_first_and_last"),
        pytest.param(b"bytes=" + b"0-," * MOST, Part(0, 10_000), id="rfc9110_17_15_many"),
        pytest.param(b"bytes=" + b"0-," * (MOST + 1), WHOLE, id="rfc9110_17_15_too_many"),
    ],
)
def test_rfc9110_14_2_several_ranges_are_one_or_the_whole(value: bytes, expected: Part | Whole) -> None:
    assert found(value) == expected


def test_rfc9110_14_2_a_repeated_range_does_not_count() -> None:
    assert found(b"bytes=0-1", b"bytes=0-1") is WHOLE


def test_rfc9110_14_2_without_a_range_all_is_wanted() -> None:
    assert range_of(ask(condition=(ETAG,)), ETAG, MODIFIED, DATE, LENGTH) is WHOLE


@pytest.mark.parametrize("value", [b"bytes=0-", b"bytes=0-0", b"bytes=-1", b"bytes=-0"])
def test_rfc9110_14_2_of_an_empty_body_there_is_only_the_whole(value: bytes) -> None:
    assert found(value, length=0) is WHOLE


@pytest.mark.parametrize(
    ("condition", "etag", "modified", "date", "holds"),
    [
        pytest.param((ETAG,), ETAG, b"", b"", True, id="rfc9110_13_1_5_same_tag"),
        pytest.param((b'"abd"',), ETAG, b"", b"", False, id="rfc9110_13_1_5_other_tag"),
        pytest.param((b'W/"abc"',), ETAG, b"", b"", False, id="rfc9110_13_1_5_weak_asked"),
        pytest.param((ETAG,), b'W/"abc"', b"", b"", False, id="rfc9110_8_8_3_2_weak_stored"),
        pytest.param((b'W/"abc"',), b'W/"abc"', b"", b"", False, id="rfc9110_8_8_3_2_both_weak"),
        pytest.param((b'"abc-gzip"',), ETAG, b"", b"", False, id="rfc9110_8_8_3_3_coded_copy"),
        pytest.param((b'"abc", "x"',), ETAG, b"", b"", False, id="rfc9110_13_1_5_list"),
        pytest.param((b"*",), ETAG, b"", b"", False, id="rfc9110_13_1_5_any"),
        pytest.param((b"abc",), b"abc", b"", b"", False, id="rfc9110_13_1_5_unquoted"),
        pytest.param((b"",), b"", b"", b"", False, id="rfc9110_13_1_5_empty"),
        pytest.param((ETAG, ETAG), ETAG, b"", b"", False, id="rfc9110_13_1_5_repeated"),
        pytest.param((MODIFIED,), ETAG, MODIFIED, DATE, True, id="rfc9110_13_1_5_same_date"),
        pytest.param((DATE,), ETAG, MODIFIED, DATE, False, id="rfc9110_13_1_5_later_date"),
        pytest.param((MODIFIED,), ETAG, MODIFIED, MODIFIED, False, id="rfc9110_8_8_2_2_weak_date"),
        pytest.param((MODIFIED,), ETAG, MODIFIED, b"", False, id="rfc9110_8_8_2_2_unknown_date"),
        pytest.param((MODIFIED,), ETAG, b"", DATE, False, id="rfc9110_13_1_5_no_last_modified"),
        pytest.param((b"x",), ETAG, b"x", DATE, False, id="rfc9110_13_1_5_malformed_date"),
    ],
)
def test_rfc9110_13_1_5_if_range(
    condition: tuple[bytes, ...], etag: bytes, modified: bytes, date: bytes, holds: bool
) -> None:
    asked = ask(b"bytes=0-1", condition=condition)
    assert range_of(asked, etag, modified, date, LENGTH) == (Part(0, 2) if holds else WHOLE)


def test_rfc9110_14_4_content_range() -> None:
    assert Part(0, 500).content_range(1234) == b"bytes 0-499/1234"
    assert UNSATISFIABLE.content_range(1234) == b"bytes */1234"


@given(lengths, st.integers(0, 1_200), st.none() | st.integers(0, 1_200))
def test_a_part_has_exactly_the_bytes_asked_for(length: int, first: int, last: int | None) -> None:
    body = bytes(index % 251 for index in range(length))
    got = found(b"bytes=%d-%s" % (first, b"" if last is None else b"%d" % last), length=length)
    wanted = body[first:] if last is None else body[first : last + 1]
    if isinstance(got, Part):
        assert body[got.start : got.end] == wanted != b""
    else:
        assert wanted == b""
        assert got is (WHOLE if last is not None and last < first else UNSATISFIABLE)


@given(lengths, st.binary(max_size=30) | st.text("0123456789-, ", max_size=30).map(str.encode))
def test_no_value_breaks_the_reader(length: int, value: bytes) -> None:
    got = found(b"bytes=" + value, length=length)
    assert not isinstance(got, Part) or 0 <= got.start < got.end <= length
