from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.catalogue.endpoints import recognise
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from tests.catalogue.service import READINGS, YEARS, Limit, anniversary


def breakdown(granularity: str, start: str, end: str) -> Query:
    path = f"/breakdown/{granularity}/views/group/1".encode()
    return recognise(path, f"start_date={start}&end_date={end}".encode())


LIMITS = [
    ("day", "2014-03-10", "2015-03-10", "2015-03-12", "2015-03-13"),
    ("month", "2014-03-10", "2016-03-10", "2016-03-12", "2016-03-13"),
    ("year", "2014-03-10", "2019-03-10", "2019-03-12", "2019-03-13"),
    ("total", "2014-03-10", "2015-03-10", "2015-03-12", "2015-03-13"),
    ("day", "2016-02-29", "2017-03-01", "2017-03-03", "2017-03-04"),
    ("month", "2016-02-29", "2018-03-01", "2018-03-03", "2018-03-04"),
    ("year", "2016-02-29", "2021-03-01", "2021-03-03", "2021-03-04"),
    ("day", "2015-02-28", "2016-02-28", "2016-03-01", "2016-03-02"),
]


@pytest.mark.parametrize(("granularity", "start", "limit", "last_kept", "first_clamped"), LIMITS)
def test_an_end_date_is_clamped_only_from_three_days_past_the_limit(
    granularity: str, start: str, limit: str, last_kept: str, first_clamped: str
) -> None:
    kept, clamped = breakdown(granularity, start, last_kept), breakdown(granularity, start, first_clamped)
    assert kept.last_day == date.fromisoformat(last_kept)
    assert clamped.last_day == date.fromisoformat(limit)
    assert clamped.canonical == breakdown(granularity, start, "2099-01-01").canonical
    at_the_limit = breakdown(granularity, start, limit)
    assert len({at_the_limit.canonical, kept.canonical, clamped.canonical}) == 3
    assert at_the_limit.last_day == date.fromisoformat(limit)


nearby = st.integers(-4, 6)


@given(st.dates(date(2011, 12, 1), date(2026, 12, 31)), st.sampled_from(sorted(YEARS)), nearby, nearby)
@example(date(2016, 2, 29), "day", 2, 3)
@example(date(2015, 2, 28), "year", 0, 1)
def test_however_the_limit_is_counted_only_ends_past_it_share_an_answer(
    start: date, granularity: str, one: int, other: int
) -> None:
    limit = anniversary(start, YEARS[granularity])
    ends = limit + timedelta(days=one), limit + timedelta(days=other)
    queries = [breakdown(granularity, start.isoformat(), end.isoformat()) for end in ends]

    def answered(reading: Limit) -> list[date]:
        return [min(end, reading(start, YEARS[granularity])) for end in ends]

    if any(len(set(answered(reading))) == 2 for reading in READINGS):
        assert queries[0].canonical != queries[1].canonical


def test_a_limit_past_the_end_of_the_calendar_clamps_nothing() -> None:
    query = breakdown("year", "9996-01-01", "9999-12-31")
    assert (query.family, query.last_day) == (Family.BREAKDOWN, date.max)


def test_a_timeline_is_never_clamped() -> None:
    path = b"/timeline/day/views/group/1"
    one = recognise(path, b"start_date=2014-01-01&end_date=2018-01-01")
    other = recognise(path, b"start_date=2014-01-01&end_date=2019-01-01")
    assert one.canonical != other.canonical
    assert one.last_day == date(2018, 1, 1)


@pytest.mark.parametrize("family", ["timeline", "breakdown"])
@pytest.mark.parametrize("dates", [b"", b"start_date=2014-01-01", b"end_date=2014-01-01", b"end_date=2099-01-01"])
def test_an_omitted_date_makes_a_timeline_or_breakdown_rest_on_today(family: str, dates: bytes) -> None:
    query = recognise(f"/{family}/month/views/group/1".encode(), dates)
    assert query.family == family
    assert (query.rests_on_today, query.last_day) == (True, None)


@pytest.mark.parametrize("dates", [b"", b"start_date=2014-01-01", b"end_date=2014-01-01"])
def test_tops_rest_on_today_only_with_a_sub_item(dates: bytes) -> None:
    alone, filtered = (
        recognise(b"/top/views/group", dates),
        recognise(b"/top/views/group", dates + b"&sub_item=category"),
    )
    assert alone.family is filtered.family is Family.TOPS
    assert (alone.rests_on_today, filtered.rests_on_today) == (False, True)
    assert alone.last_day is filtered.last_day is None


def test_tops_have_a_last_day_only_with_a_sub_item() -> None:
    dates = b"start_date=2014-01-01&end_date=2020-01-01"
    assert recognise(b"/top/views/group", dates).last_day is None
    assert recognise(b"/top/views/group", dates + b"&sub_item=referral").last_day == date(2020, 1, 1)


@pytest.mark.parametrize("dates", [b"", b"start_date=2014-01-01", b"start_date=2014-01-01&end_date=2014-02-01"])
def test_totals_cover_all_time_whatever_their_dates(dates: bytes) -> None:
    query = recognise(b"/total/views/group/1", dates)
    assert (query.family, query.rests_on_today, query.last_day) == (Family.TOTALS, False, None)
