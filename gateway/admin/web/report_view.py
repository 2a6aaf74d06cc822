"""A report as its page shows it: some rows and columns, sums, charts, and what the columns rest on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from gateway.admin.web.charts import LARGEST, MOST, Row, Series
from gateway.admin.web.format import count
from gateway.jobs.checks import Difference
from gateway.jobs.render import ColumnView, Document, RowView

MOST_ROWS = 200
MOST_COLUMNS = 40
"""A page shows no more; the files have all."""
IDS = "id"
"""The choice of the items' ids to sort by; of a column it is the column's number."""


class Sort(NamedTuple):
    """What rows are sorted by: the ids, or the column of a number."""

    column: int | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """A column's name, and the choices of a link that sorts by it; ``sorted`` is how it is sorted by now."""

    name: str
    sort: str
    order: str
    sorted: str
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """An item, its numbers as they are read, and why it has not all of them."""

    id: int
    cells: list[str]
    problem: str


@dataclass(frozen=True, slots=True)
class Rests:
    """Columns of one counter that rest on the same."""

    name: str
    method: str
    checked: int
    oldest: datetime | None
    newest: datetime | None
    partial: bool
    why: str
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Chart:
    """A counter's sums by period, of all items."""

    counter: str
    series: Series


@dataclass(frozen=True, slots=True)
class ReportView:
    """A report, of which some rows and columns are left out."""

    document: Document
    heads: list[Head]
    lines: list[Line]
    sums: list[str]
    more_rows: int
    more_columns: int
    charts: list[Chart]
    rests: list[Rests]

    @property
    def has_problems(self) -> bool:
        return any(line.problem for line in self.lines)


def sort_of(column: str, order: str) -> Sort:
    """What a link of the page asks for; anything else is by the ids, upwards."""
    known = column.isascii() and column.isdecimal() and len(column) < len("16000") + 1
    return Sort(int(column) if known else None, order == "desc")


def view_of(found: Document, sort: Sort) -> ReportView:
    """A report as its page shows it."""
    if sort.column is not None and sort.column >= len(found.columns):
        sort = Sort()
    sums = _sums(found.rows, len(found.columns))
    columns = found.columns[:MOST_COLUMNS]
    lines = [
        Line(row.id, [count(value) for value in row.values[:MOST_COLUMNS]], row.problem)
        for row in _sorted(found.rows, sort)[:MOST_ROWS]
    ]
    return ReportView(
        document=found,
        heads=[
            _head("Item", None, sort),
            *(_head(each.name, at, sort, each.partial) for at, each in enumerate(columns)),
        ],
        lines=lines,
        sums=[count(each) for each in sums[:MOST_COLUMNS]],
        more_rows=len(found.rows) - len(lines),
        more_columns=len(found.columns) - len(columns),
        charts=list(_charts(found.columns, sums)),
        rests=list(_rests(found.columns)),
    )


def _sums(rows: Sequence[RowView], columns: int) -> list[int]:
    """What each column comes to; where there is no number nothing is counted."""
    sums = [0] * columns
    for row in rows:
        for at, value in enumerate(row.values):
            if value:
                sums[at] += value
    return sums


def _sorted(rows: list[RowView], sort: Sort) -> list[RowView]:
    """The rows in order; those without a number are last, whichever way.

    Sorted by whole numbers alone, which takes so short that no other thread has to wait for it.
    """
    by_id = sorted(rows, key=attrgetter("id"), reverse=sort.column is None and sort.descending)
    if sort.column is None:
        return by_id
    column, last = sort.column, -1 if sort.descending else LARGEST

    def number(row: RowView) -> int:
        value = row.values[column]
        return last if value is None else value

    return sorted(by_id, key=number, reverse=sort.descending)


def _head(name: str, at: int | None, sort: Sort, partial: bool = False) -> Head:
    here = sort.column == at
    downwards = not sort.descending if here else at is not None  # of numbers the largest are looked for
    now = ("descending" if sort.descending else "ascending") if here else ""
    return Head(name, IDS if at is None else str(at), "desc" if downwards else "asc", now, partial)


def _charts(columns: Sequence[ColumnView], sums: Sequence[int]) -> Iterator[Chart]:
    """A chart of each counter; of one column each, all counters are one chart."""
    pairs = list(zip(columns, sums, strict=True))
    if len({column.period for column in columns}) == 1:
        yield Chart("", _series([(column.counter, total) for column, total in pairs]))
        return
    for counter, own in groupby(pairs, key=lambda pair: pair[0].counter):
        yield Chart(counter, _series([(column.period, total) for column, total in own]))


def _series(pairs: list[tuple[str, int]]) -> Series:
    shown = pairs[-MOST:]
    largest = max((total for _, total in shown), default=0)
    rows = tuple(Row(name, total, total / largest if largest else 0.0) for name, total in shown)
    return Series(rows, sum(total for _, total in pairs), len(pairs) - len(shown))


def _rests(columns: Sequence[ColumnView]) -> Iterator[Rests]:
    def basis(column: ColumnView) -> tuple[object, ...]:
        return column.counter, column.method, column.checked, column.why, column.difference

    for _, group in groupby(columns, key=basis):
        own = list(group)
        first, last = own[0], own[-1]
        name = first.name if first is last else f"{first.name} to {last.period}"
        oldest = min((each.oldest for each in own if each.oldest), default=None)
        newest = max((each.newest for each in own if each.newest), default=None)
        partial = any(each.partial for each in own)
        yield Rests(name, first.method, first.checked, oldest, newest, partial, first.why, first.difference)


def progress_of(calls: int, left: int) -> float | None:
    """The part of a job's calls that is made, from 0 to 1; None where it makes none."""
    return calls / (calls + left) if calls + left else None
