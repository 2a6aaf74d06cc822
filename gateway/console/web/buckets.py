"""Buckets: the days, months or years that a timeline counts by, as the service names them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

MOST = 4_000
"""Buckets that are shown; a longer timeline is cut at its beginning."""
_SHAPES = {
    "day": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "month": re.compile(r"[0-9]{4}-[0-9]{2}"),
    "year": re.compile(r"[0-9]{4}"),
}
_TAILS = {"day": "", "month": "-01", "year": "-01-01"}


class Window(NamedTuple):
    """First and last day, both inclusive."""

    first: date
    last: date


def granularity_of(names: Iterable[str]) -> str | None:
    """What these names count by; None for none, for a mixture, and for what is no date."""
    found: str | None = None
    for name in names:
        kind = next((kind for kind, shape in _SHAPES.items() if shape.fullmatch(name)), None)
        if kind is None or found not in (None, kind) or _first_day(name, kind) is None:
            return None
        found = kind
    return found


def all_between(names: Iterable[str], window: Window | None) -> list[str] | None:
    """All buckets of the window in their order, with those named outside it; None where ``names`` are no buckets,
    or all would be more than ``MOST``."""
    named = set(names)
    kind = granularity_of(named)
    if kind is None:
        return None
    days = [day for name in named if (day := _first_day(name, kind)) is not None]
    first, last = min(days), max(days)
    if window is not None and window.first <= window.last:
        first, last = min(first, _start(window.first, kind)), max(last, window.last)
    if _about(first, last, kind) > MOST:
        return None
    return _series(first, last, kind)


def _series(first: date, last: date, kind: str) -> list[str]:
    if kind == "day":
        return [(first + timedelta(n)).isoformat() for n in range((last - first).days + 1)]
    if kind == "year":
        return [f"{year:04}" for year in range(first.year, last.year + 1)]
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{month // 12:04}-{month % 12 + 1:02}" for month in months]


def _about(first: date, last: date, kind: str) -> float:
    return ((last - first).days + 1) / {"day": 1, "month": 30.4, "year": 365.2}[kind]


def _start(day: date, kind: str) -> date:
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}[kind]


def _first_day(name: str, kind: str) -> date | None:
    try:
        return date.fromisoformat(name + _TAILS[kind])
    except ValueError:
        return None
