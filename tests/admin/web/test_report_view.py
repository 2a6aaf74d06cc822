"""A report as its page shows it: bounded, sorted, summed, and what its columns rest on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from gateway.admin.web.report_view import MOST_COLUMNS, MOST_ROWS, Sort, progress_of, sort_of, view_of
from gateway.jobs.checks import Difference
from gateway.jobs.render import ColumnView, Document, RowView

MADE = datetime(2026, 3, 17, 12, tzinfo=UTC)


def report(rows: list[RowView], periods: int = 1, counters: tuple[str, ...] = ("views",)) -> Document:
    months = [f"2025-{month:02}" for month in range(1, periods + 1)] if periods > 1 else ["total"]
    columns = [
        ColumnView(counter if periods == 1 else f"{counter} {month}", counter, month, "ranking", 20, oldest=MADE)
        for counter in counters
        for month in months
    ]
    return Document("lboro", "article", "month" if periods > 1 else "total", MADE, columns, len(rows), rows=rows)


def row(id: int, *values: int | None, problem: str = "") -> RowView:
    return msgspec.convert({"id": id, "values": values, "problem": problem}, RowView)


ROWS = [row(2, 5, 1), row(10, None, 7, problem="views: 404"), row(1, 5, 0)]


@pytest.mark.parametrize(
    ("column", "order", "ids"),
    [
        ("", "", [1, 2, 10]),
        ("id", "desc", [10, 2, 1]),
        ("0", "asc", [1, 2, 10]),
        ("0", "desc", [1, 2, 10]),
        ("1", "desc", [10, 2, 1]),
        ("2", "desc", [1, 2, 10]),
        ("-1", "", [1, 2, 10]),
        ("9" * 30, "asc", [1, 2, 10]),
        ("²", "asc", [1, 2, 10]),
    ],
)
def test_rows_are_sorted_by_what_a_link_says_those_without_a_number_last(
    column: str, order: str, ids: list[int]
) -> None:
    view = view_of(report(ROWS, counters=("views", "shares")), sort_of(column, order))
    assert [line.id for line in view.lines] == ids


def test_a_heading_says_how_it_is_sorted_and_leads_to_the_other_way() -> None:
    heads = view_of(report(ROWS, counters=("views", "shares")), Sort(1, descending=True)).heads
    assert [(head.sort, head.order, head.sorted) for head in heads] == [
        ("id", "asc", ""),
        ("0", "desc", ""),
        ("1", "asc", "descending"),
    ]


def test_sums_are_of_all_items_though_some_are_shown() -> None:
    rows = [row(id, *[1] * 120) for id in range(MOST_ROWS + 50)]
    view = view_of(report(rows, 60, ("views", "shares")), Sort())
    assert (len(view.lines), view.more_rows, view.more_columns) == (MOST_ROWS, 50, 120 - MOST_COLUMNS)
    assert view.sums == ["250"] * MOST_COLUMNS
    assert [(chart.counter, len(chart.series.rows), chart.series.total) for chart in view.charts] == [
        ("views", 60, 60 * 250),
        ("shares", 60, 60 * 250),
    ]


def test_what_has_no_number_is_a_dash_and_counts_nothing() -> None:
    view = view_of(report(ROWS, counters=("views", "shares")), Sort())
    assert [line.cells for line in view.lines] == [["5", "0"], ["5", "1"], ["–", "7"]]
    assert view.sums == ["10", "8"]
    assert view.has_problems
    (chart,) = view.charts
    assert [(row.name, row.value) for row in chart.series.rows] == [("views", 10), ("shares", 8)]


def test_columns_that_rest_on_the_same_are_one_line() -> None:
    found = report([row(1, *[1] * 6)], 3, ("views", "shares"))
    later = MADE + timedelta(hours=1)
    found.columns[1].newest = later
    found.columns[2].partial = True
    found.columns[5].method, found.columns[5].why = "each", "a check found another number"
    found.columns[5].difference = Difference(1, "2025-03", 4, 5)
    rests = view_of(found, Sort()).rests
    assert [(each.name, each.method, each.partial) for each in rests] == [
        ("views 2025-01 to 2025-03", "ranking", True),
        ("shares 2025-01 to 2025-02", "ranking", False),
        ("shares 2025-03", "each", False),
    ]
    assert (rests[0].oldest, rests[0].newest) == (MADE, later)


def test_a_report_of_nothing_is_shown_too() -> None:
    view = view_of(report([]), Sort(0))
    assert (view.lines, view.sums, view.more_rows) == ([], ["0"], 0)
    assert progress_of(0, 0) is None
    assert progress_of(1, 3) == 0.25
