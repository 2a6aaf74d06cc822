"""Window: the days that an answer covers, read from a request's dates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import NamedTuple

from gateway.catalogue.query import ALL_TIME, Family

CLAMPED = "clamped"
"""Stands for every end date that the service replaces by its limit."""

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LIMIT_YEARS = {"day": 1, "month": 2, "year": 5, "total": 1}
_SLACK = timedelta(days=2)


class Window(NamedTuple):
    """A window as the request states it.

    ``end_date`` is what the canonical form holds: the date as written, CLAMPED, or None where omitted.
    ``last_day`` is None where the window rests on *today* or covers all time.
    """

    end_date: str | None = None
    last_day: date | None = None
    rests_on_today: bool = False


def read_window(family: Family, granularity: str | None, known: Mapping[str, str]) -> Window | None:
    """The window of a request with these documented parameters; None when its dates make no window.

    Omitted dates default to the month so far, hence rest on *today*: always for timelines and breakdowns, for
    tops only with ``sub_item``. Totals, overviews, and tops without it cover all time (contract page, Query
    semantics).
    """
    if family in ALL_TIME:
        return Window()
    start_date, end_date = known.get("start_date"), known.get("end_date")
    start = None if start_date is None else _day(start_date)
    end = None if end_date is None else _day(end_date)
    if (start is None) != (start_date is None) or (end is None) != (end_date is None):
        return None
    if family is Family.TOPS and "sub_item" not in known:
        return None if start and end and start > end else Window(end_date)
    if start is None or end is None:
        return Window(end_date, rests_on_today=True)
    if start > end:
        return None
    return _bounded(family, granularity, start, end)


def _bounded(family: Family, granularity: str | None, start: date, end: date) -> Window:
    """A breakdown's end counts as clamped only two days past the limit: how the service counts is not known."""
    if family is Family.BREAKDOWN and granularity is not None:
        limit = _years_later(start, _LIMIT_YEARS[granularity])
        if end - limit > _SLACK:
            return Window(CLAMPED, last_day=limit)
    return Window(end.isoformat(), last_day=end)


def _years_later(day: date, years: int) -> date:
    """The same day so many years later; 1 March for a 29 February that the year has not, the later choice."""
    if day.year + years > date.max.year:
        return date.max
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def _day(text: str) -> date | None:
    """A calendar day written as YYYY-MM-DD; None for any other text."""
    try:
        return date.fromisoformat(text) if _ISO.fullmatch(text) else None
    except ValueError:
        return None
