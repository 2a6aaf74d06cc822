"""HTTP-dates are read in all three formats and written in one."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.dates import format_date, http_date

EXAMPLE = 784_111_777.0
"""The moment of the RFC's examples."""

seconds = st.integers(-30_610_224_000, 253_402_300_799)
"""From the year 1000 to the end of 9999."""


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT", id="rfc9110_5_6_7_imf_fixdate"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", id="rfc9110_5_6_7_rfc850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", id="rfc9110_5_6_7_asctime"),
        pytest.param(b"Sun Nov 06 08:49:37 1994", id="rfc9110_5_6_7_asctime_two_digit_day"),
        pytest.param(b" \tSun, 06 Nov 1994 08:49:37 GMT ", id="rfc9110_5_5_surrounding_whitespace"),
        pytest.param(b"SUN, 06 nOV 1994 08:49:37 gmt", id="rfc9111_4_2_letter_case"),
    ],
)
def test_rfc9110_5_6_7_every_format_is_read(value: bytes) -> None:
    assert http_date(value) == EXAMPLE


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=name)
        for name, value in {
            "empty": b"",
            "number": b"784111777",
            "zero": b"0",
            "minus_one": b"-1",
            "two_digit_year": b"Sun, 06 Nov 94 08:49:37 GMT",
            "full_day_with_imf": b"Sunday, 06 Nov 1994 08:49:37 GMT",
            "no_comma": b"Sun 06 Nov 1994 08:49:37 GMT",
            "two_spaces": b"Sun, 06  Nov  1994 08:49:37 GMT",
            "dashes": b"Sun, 06-Nov-1994 08:49:37 GMT",
            "periods": b"Sun, 06 Nov 1994 08.49.37 GMT",
            "one_digit_hour": b"Sun, 06 Nov 1994 8:49:37 GMT",
            "one_digit_day": b"Sun, 6 Nov 1994 08:49:37 GMT",
            "other_zone": b"Sun, 06 Nov 1994 08:49:37 EST",
            "offset": b"Sun, 06 Nov 1994 08:49:37 +0000",
            "no_zone": b"Sun, 06 Nov 1994 08:49:37",
            "unknown_day": b"Son, 06 Nov 1994 08:49:37 GMT",
            "unknown_month": b"Sun, 06 Nvm 1994 08:49:37 GMT",
            "day_0": b"Sun, 00 Nov 1994 08:49:37 GMT",
            "february_30": b"Wed, 30 Feb 1994 08:49:37 GMT",
            "february_29_in_a_common_year": b"Tue, 29 Feb 1994 08:49:37 GMT",
            "hour_24": b"Sun, 06 Nov 1994 24:00:00 GMT",
            "minute_60": b"Sun, 06 Nov 1994 08:60:00 GMT",
            "second_61": b"Sun, 06 Nov 1994 08:49:61 GMT",
            "year_0": b"Sun, 06 Nov 0000 08:49:37 GMT",
            "rfc9111_4_2_another_zone": b"Sun, 06 Nov 1994 08:49:37 UTC",
            "two_dates": b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "trailing": b"Sun, 06 Nov 1994 08:49:37 GMT x",
            "newline": b"Sun, 06 Nov 1994 08:49:37 GMT\n",
            "other_digits": "Sun, ٠٦ Nov 1994 08:49:37 GMT".encode(),
        }.items()
    ],
)
def test_rfc9110_5_6_7_what_is_malformed_is_no_date(value: bytes) -> None:
    assert http_date(value) is None


@pytest.mark.parametrize(
    ("digits", "year"),
    [(b"26", 2026), (b"76", 2076), (b"77", 1977), (b"94", 1994), (b"00", 2000)],
)
def test_rfc9110_5_6_7_two_digit_years_lie_at_most_50_years_ahead(digits: bytes, year: int) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    found = http_date(b"Sunday, 06-Nov-%s 08:49:37 GMT" % digits, now)
    assert found == datetime(year, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()


def test_rfc9110_5_6_7_a_leap_second_is_the_one_after_59() -> None:
    leap = http_date(b"Sat, 31 Dec 2016 23:59:60 GMT")
    assert leap == http_date(b"Sun, 01 Jan 2017 00:00:00 GMT")


def test_february_29_of_a_leap_year_is_a_day() -> None:
    assert http_date(b"Thu, 29 Feb 1996 00:00:00 GMT") is not None


@given(seconds, st.sampled_from([0.0, 0.25, 0.75]))
def test_rfc9110_5_6_7_dates_are_written_as_imf_fixdate(second: int, fraction: float) -> None:
    moment = datetime.fromtimestamp(second, UTC)
    assert format_date(second + fraction) == format_datetime(moment, usegmt=True).encode()


@given(seconds)
def test_what_is_written_is_read_back(second: int) -> None:
    assert http_date(format_date(second)) == second


@pytest.mark.parametrize(
    ("time", "date"),
    [(1e18, b"Fri, 31 Dec 9999 23:59:59 GMT"), (-1e18, b"Mon, 01 Jan 0001 00:00:00 GMT")],
    ids=["far_future", "far_past"],
)
def test_no_time_is_too_far_to_be_written(time: float, date: bytes) -> None:
    assert format_date(time) == date


@given(st.binary(max_size=60) | st.text("SunNov 0123456789:-,GMT", max_size=40).map(str.encode))
def test_no_value_breaks_the_reader(value: bytes) -> None:
    assert http_date(value) is None or isinstance(http_date(value), float)
