"""What a report is to hold: its items, its columns, the targets that can fill them, and what that costs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Literal, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.derivation.ranking import Count

By = Literal["total", "year", "month", "day"]
Method = Literal["stored", "ranking", "each"]
"""What a column rests on: stored answers, a ranking, or each item by itself."""

MOST_ITEMS = 20_000
MOST_COLUMNS = 16_000
"""A sheet has 16,384."""
MOST_CELLS = 1_500_000
"""20,000 items and three counters by month for two years; as Python numbers they take some 50 MiB."""


class Period(NamedTuple):
    """A column's days, both ends inclusive, under the name that a timeline gives them; all time without days."""

    name: str
    first: date | None = None
    last: date | None = None


class Column(NamedTuple):
    """One counter in one period."""

    counter: str
    period: Period


class ReportRequest(msgspec.Struct, frozen=True):
    """A checked request for a report; ``gateway.jobs.request`` reads it.

    ``ids`` is None for all items that the rankings list. Without ``first`` and ``last`` the report is of all time,
    and ``by`` is ``total``. ``method``: ``auto`` takes what is cheapest; ``ranking`` and ``each`` insist.
    """

    institution: str
    item: str
    ids: tuple[int, ...] | None
    counters: tuple[str, ...]
    by: By = "total"
    first: date | None = None
    last: date | None = None
    method: Literal["auto", "ranking", "each"] = "auto"

    @property
    def is_dated(self) -> bool:
        """Whether it is about a window rather than all time."""
        return self.first is not None

    @property
    def window(self) -> Period:
        """All of its days as one period."""
        return Period("total", self.first, self.last)

    def subject(self, counter: str) -> str:
        """What the checks of a counter's rankings are about: those of a window, or those of all time."""
        return f"{counter} dated" if self.is_dated else counter

    def periods(self) -> list[Period]:
        """The periods of its columns, in the order of time; the first and the last end where the window does."""
        if self.by == "total" or self.first is None or self.last is None:
            return [self.window]
        return list(_periods(self.by, self.first, self.last))

    @property
    def many_periods(self) -> int:
        """How many periods there are, without making them."""
        if self.by == "total" or self.first is None or self.last is None:
            return 1
        years = self.last.year - self.first.year
        if self.by == "day":
            return (self.last - self.first).days + 1
        return 1 + (years if self.by == "year" else 12 * years + self.last.month - self.first.month)

    def columns(self, counter: str) -> list[Column]:
        """A counter's columns."""
        return [Column(counter, period) for period in self.periods()]


_NAME_LENGTH = {"year": len("YYYY"), "month": len("YYYY-MM"), "day": len("YYYY-MM-DD")}


def _periods(by: By, first: date, last: date) -> Iterator[Period]:
    while first <= last:
        end = min(_last_day(by, first), last)
        yield Period(first.isoformat()[: _NAME_LENGTH[by]], first, end)
        if end == date.max:
            return
        first = end + timedelta(1)


def _last_day(by: By, day: date) -> date:
    """The last day of the year, month or day that a day is in."""
    if by == "day":
        return day
    month = 12 if by == "year" else day.month
    return date.max if (day.year, month) == (9999, 12) else _first_of_next(day.year, month) - timedelta(1)


def _first_of_next(year: int, month: int) -> date:
    return date(year + month // 12, month % 12 + 1, 1)


def ranking_target(request: ReportRequest, column: Column, count: int) -> str:
    """The target of the ranking that fills a column."""
    window = _dates(column.period, "&")
    return f"{_place(request)}/top/{column.counter}/{request.item}?count={count}{window}"


def item_target(request: ReportRequest, counter: str, id: int) -> str:
    """The target of one item by itself, which fills its cells in all columns of a counter."""
    rest = f"{counter}/{request.item}/{id}"
    if not request.is_dated:
        return f"{_place(request)}/total/{rest}"
    return f"{_place(request)}/timeline/{request.by}/{rest}{_dates(request.window, '?')}"


def overview_target(request: ReportRequest, id: int) -> str:
    """The target of one item's totals, all counters in one call."""
    return f"{_place(request)}/total/{request.item}/{id}"


def _place(request: ReportRequest) -> str:
    return "/" + quote(request.institution, safe="")


def _dates(period: Period, before: str) -> str:
    return f"{before}start_date={period.first}&end_date={period.last}" if period.first else ""


class Unreadable(ValueError):
    """An answer about an item has no numbers that can be read."""


class _Item(msgspec.Struct):
    totals: Count | msgspec.UnsetType | None = msgspec.UNSET
    timeline: dict[str, Count] | msgspec.UnsetType | None = msgspec.UNSET


_ITEM = msgspec.json.Decoder(_Item)
_OVERVIEW = msgspec.json.Decoder(dict[str, Count | None])


def item_numbers(request: ReportRequest, body: bytes) -> dict[str, int]:
    """The numbers of an item by itself by the names of the periods; what is missing counts nothing.

    Raises Unreadable.
    """
    try:
        found = _ITEM.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("the answer cannot be read") from None
    if request.is_dated and not isinstance(found.timeline, msgspec.UnsetType):
        return found.timeline or {}
    if not request.is_dated and not isinstance(found.totals, msgspec.UnsetType):
        return {"total": found.totals or 0}
    raise Unreadable("the answer has no numbers")


def overview_numbers(body: bytes, counters: Sequence[str]) -> dict[str, int]:
    """The totals in an overview by counter. Raises Unreadable."""
    try:
        found = _OVERVIEW.decode(body)
        return {counter: found[counter] or 0 for counter in counters}
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
        raise Unreadable("the overview has not all totals") from None
