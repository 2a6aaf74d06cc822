"""What people ask a report for: the request, and the ids of its items."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidInput
from gateway.jobs.columns import Column, Period, ReportRequest, item_target, ranking_target
from gateway.jobs.ids import read_ids
from gateway.jobs.request import days_of, read_order

ORDER = {"institution": "lboro", "ids": [23, "24"], "counters": ["views", "shares"]}


def order(**fields: Any) -> bytes:
    return json.dumps(ORDER | fields).encode()


def test_an_order_has_its_items_counters_and_window() -> None:
    read = read_order(order(by="month", to="2025-02", dry_run=True, max_calls=50, **{"from": "2024-12"}))
    assert (read.max_calls, read.dry_run, read.notes) == (50, True, ())
    assert read.report == ReportRequest(
        "lboro", "article", (23, 24), ("views", "shares"), "month", date(2024, 12, 1), date(2025, 2, 28)
    )
    assert [period.name for period in read.report.periods()] == ["2024-12", "2025-01", "2025-02"]
    assert read_order(order(ids="all")).report.ids is None
    assert read_order(order(ids=[1e7])).report.ids == (10_000_000,)  # as R writes 10000000
    assert read_order(order(ids=[23, 23])).notes == ("ids[1]: 23 is left out, for it is in ids[0] already",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"institution": ""}, "institution"),
        ({"institution": "total"}, "institution: 'total' is none"),
        ({"institution": 3}, r"Expected `str`, got `int` - at `\$.institution`"),
        ({"item": "planet"}, "item: 'planet' is none of article"),
        ({"counters": []}, "counters: '' is none of views, downloads, shares"),
        ({"counters": ["hugs"]}, "counters: 'hugs'"),
        ({"by": "week"}, "by"),
        ({"by": "month"}, "from, to: a report of a window needs both"),
        ({"from": "2025"}, "from, to: a report of a window needs both"),
        ({"from": "2025-02-30", "to": "2026"}, "from: '2025-02-30' is no date like"),
        ({"from": "2025", "to": "soon"}, "to: 'soon' is no date like"),
        ({"from": "2025-03", "to": "2025-02"}, "2025-03 is after 2025-02"),
        ({"ids": ["23", "x", -1]}, r"ids\[1\]: 'x' is no id; ids\[2\]: '-1' is no id"),
        ({"ids": list(range(20_001))}, "20001 ids are more than 20000"),
        ({"ids": [1] * 20_001}, "20001 ids are more than 20000"),
        ({"ids": [1.5, 1e300]}, r"ids\[0\]: '1.5' is no id; ids\[1\]: '1e\+300' is no id"),
        ({"max_calls": 0}, "max_calls"),
        ({"maxcalls": 3}, "maxcalls"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_made_is_refused_by_its_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_order(order(**fields))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_order_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_order(body)


@given(st.dates(), st.dates(), st.sampled_from(["year", "month", "day"]))
def test_periods_cover_their_window_without_a_gap(first: date, last: date, by: Any) -> None:
    last = min(max(first, last), date.fromordinal(min(first.toordinal() + 800, date.max.toordinal())))
    periods = ReportRequest("lboro", "article", (), ("views",), by, first, last).periods()
    assert (periods[0].first, periods[-1].last) == (first, last)
    for one, other in pairwise(periods):
        assert one.last is not None
        assert other.first is not None
        assert (other.first - one.last).days == 1
    for name, start, end in periods:
        assert str(start).startswith(name)
        assert str(end).startswith(name)


def test_dates_end_with_their_month_or_year() -> None:
    assert days_of("from", "2024-02") == (date(2024, 2, 1), date(2024, 2, 29))
    assert days_of("from", "9999") == (date(9999, 1, 1), date(9999, 12, 31))


def test_targets_are_those_that_a_client_would_write() -> None:
    total = ReportRequest("Zürich x", "author", (), ("views",))
    month = ReportRequest("lboro", "article", (), ("views",), "month", date(2025, 1, 5), date(2025, 2, 28))
    column = Column("views", Period("2025-01", date(2025, 1, 5), date(2025, 1, 31)))
    dates = "start_date=2025-01-05&end_date="
    assert item_target(total, "views", 7) == "/Z%C3%BCrich%20x/total/views/author/7"
    assert item_target(month, "views", 7) == f"/lboro/timeline/month/views/article/7?{dates}2025-02-28"
    assert ranking_target(month, column, 10) == f"/lboro/top/views/article?count=10&{dates}2025-01-31"
    assert ranking_target(total, total.columns("views")[0], 10) == "/Z%C3%BCrich%20x/top/views/author?count=10"


@pytest.mark.parametrize(
    "content",
    [
        b"23\n24\n25\n",
        b"23\r\n24\r\n25",
        b"\xef\xbb\xbf23\n24\n25",
        b"\xef\xbb\xbfid,title\n23,a\n\n24,b\n25,c\n",
        b'"id";"title"\n"23";"a;b"\n24;b\n25;\n',
        b"article_id\ttitle\n23\ta\n24\tb\n ,\n25\t\n".replace(b" ,", b" \t"),
    ],
)
def test_ids_are_in_the_first_column_under_a_head_or_without(content: bytes) -> None:
    assert read_ids(content) == ((23, 24, 25), ())


def test_ids_may_be_in_a_column_that_is_named() -> None:
    content = b'Title,Article ID\n"a\nb",23\nc,24\n'
    assert read_ids(content, "article id").ids == (23, 24)
    assert read_ids(b"id 2\n23\n", "id 2").ids == (23,)
    with pytest.raises(InvalidInput, match="no column 'id'; its first line names Title, Article ID"):
        read_ids(content, "id")


def test_numbers_and_duplicates_are_told_by_line() -> None:
    assert read_ids(b"id\n1e+07\n23\n007\n24.0\n23\n") == (
        (10_000_000, 23, 7, 24),
        (
            "line 2: 1e+07 is read as 10000000",
            "line 4: 007 is read as 7",
            "line 5: 24.0 is read as 24",
            "line 6: 23 is left out, for it is in line 3 already",
        ),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id\n23\nabc\n-4\n1.5\n", "line 3: 'abc' is no id; line 4: '-4' is no id; line 5: '1.5' is no id"),
        (b"1O23\n24\n", "line 1, no heading as it has digits: '1O23' is no id"),
        (b"\xef\xbb\xbfO1;a\n24;b\n", "line 1, no heading as it has digits: 'O1' is no id"),
        (b"-4\n24\n", "line 1, no heading as it has digits: '-4' is no id"),
        (b"23\n\xff\n", "line 2: the file of ids is not UTF-8"),
        (b"id,title\n,a\n", "line 2: there is no id"),
        ("id\n１２\n".encode(), "line 2: '１２' is no id"),
        (b"id\nNaN\n1_0\n1e99\n1e999999999\n", "line 2: 'NaN' is no id; line 3: '1_0'.*line 5: '1e999999999'"),
        (b"id\n" + b"x\n" * 100, "line 21: 'x' is no id; and 80 more"),
        (b'id\n"' + b"x" * 200_000 + b'"\n', "line 2: field larger than field limit"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_id_is_told_by_line(content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_ids(content)


@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(content: bytes) -> None:
    with suppress(InvalidInput):
        read_ids(content)
