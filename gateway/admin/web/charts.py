"""An answer of the service as rows to draw and to list. Pure, and total: no JSON makes it raise.

Only the shape of an answer counts. What cannot be read is left out: the page shows the raw answer too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from typing import Any, ClassVar, NamedTuple

Number = int | float
MOST = 4_000
"""Buckets that are shown; a longer timeline is cut at its beginning."""
_SHAPES = {
    "day": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "month": re.compile(r"[0-9]{4}-[0-9]{2}"),
    "year": re.compile(r"[0-9]{4}"),
}
_TAILS = {"day": "", "month": "-01", "year": "-01-01"}
LARGEST = 10**15
"""A larger number is not drawn."""
MOST_ROWS = 500
MOST_CITIES = 5_000
"""Cities that a page lists, in all countries together."""
TOTAL = "total"
EVERY = ""
"""The choice of all buckets of a breakdown together."""


class Window(NamedTuple):
    """The first and last day of a timeline, both inclusive."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Row:
    """A name and its count; the bar's length is its ``share`` of the largest, from 0 to 1."""

    name: str
    value: Number
    share: float


@dataclass(frozen=True, slots=True)
class Total:
    kind: ClassVar = "total"
    value: Number


@dataclass(frozen=True, slots=True)
class Series:
    """A timeline in order, with zeros where nothing happened; ``left_out`` earlier rows are not in it."""

    kind: ClassVar = "series"
    rows: tuple[Row, ...]
    total: Number
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Ranking:
    """A top list in the answer's order; ``left_out`` later rows are not in it."""

    kind: ClassVar = "ranking"
    rows: tuple[Row, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Country:
    """A country with its cities, the largest first; ``elsewhere`` counts its events without a known city."""

    row: Row
    cities: tuple[Row, ...]
    elsewhere: Row | None
    left_out: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Countries, the largest first, of the ``chosen`` bucket or of all ``buckets`` together."""

    kind: ClassVar = "breakdown"
    buckets: tuple[str, ...]
    chosen: str
    countries: tuple[Country, ...]
    total: Number
    left_out: int


Chart = Total | Series | Ranking | Breakdown


def chart_of(answer: Any, *, bare: bool, window: Window | None = None, chosen: str = EVERY) -> Chart | None:
    """The chart of an answer; None for none of the service's shapes.

    A ``bare`` object of numbers is a ranking only where tops or an overview were asked for. ``window`` is what
    a timeline is to cover, ``chosen`` the bucket of a breakdown.
    """
    if not isinstance(answer, dict):
        return None
    if (number := number_of(answer.get("totals"))) is not None:
        return Total(number)
    for key, make in (("timeline", _timeline), ("breakdown", _breakdown), ("top", _ranking)):
        if key in answer and isinstance(answer[key], dict | None):
            return make(answer[key] or {}, window, chosen)
    return _ranking(answer, window, chosen) if bare and _only_counts(answer) else None


def number_of(value: Any) -> Number | None:
    """A number that can be drawn, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        return None
    return value


def _timeline(counts: Mapping[Any, Any], window: Window | None, _: str) -> Chart:
    found = _numbers(counts)
    if list(found) == [TOTAL]:
        return Total(found[TOTAL])
    names = all_between(found, window) or list(found)
    shown = names[-MOST:]
    rows = _rows((name, found.get(name, 0)) for name in shown)
    return Series(rows, sum(found.values()), len(names) - len(shown))


def _ranking(counts: Mapping[Any, Any], _: Window | None, __: str) -> Chart:
    found = _numbers(counts)
    return Ranking(_rows(islice(found.items(), MOST_ROWS)), max(0, len(found) - MOST_ROWS))


def _breakdown(buckets: Mapping[Any, Any], _: Window | None, chosen: str) -> Chart:
    found = {name: countries for name, countries in buckets.items() if isinstance(countries, dict)}
    chosen = chosen if chosen in found else EVERY
    totals: dict[str, Number] = {}
    cities: dict[str, dict[str, Number]] = {}
    for countries in found.values() if chosen == EVERY else [found[chosen]]:
        for country, places in countries.items():
            counts = _numbers(places) if isinstance(places, dict) else {}
            own = counts.pop(TOTAL, None)
            totals[country] = totals.get(country, 0) + (sum(counts.values()) if own is None else own)
            _add(cities.setdefault(country, {}), counts)
    ranked = _ranked(totals)
    rows, room, shown = _rows(ranked[:MOST_ROWS]), MOST_CITIES, []
    for row in rows:
        shown.append(_country(row, cities[row.name], room))
        room -= len(shown[-1].cities)
    total = sum(totals.values())
    return Breakdown(tuple(islice(found, MOST)), chosen, tuple(shown), total, len(ranked) - len(rows))


def _country(row: Row, cities: dict[str, Number], room: int) -> Country:
    ranked = _ranked(cities)
    shown = _rows(ranked[: min(room, MOST_ROWS)], most=row.value)
    unknown = row.value - sum(cities.values())
    elsewhere = Row("", unknown, min(1.0, unknown / row.value)) if unknown > 0 and row.value > 0 else None
    return Country(row, shown, elsewhere, len(ranked) - len(shown))


def _ranked(counts: Mapping[str, Number]) -> list[tuple[str, Number]]:
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _rows(counts: Iterable[tuple[str, Number]], most: Number = 0) -> tuple[Row, ...]:
    """Rows whose bars are shares of the largest, or of ``most`` where that is more."""
    pairs = list(counts)
    largest = max((value for _, value in pairs), default=0)
    largest = max(largest, most)
    return tuple(Row(name, value, max(0.0, value / largest) if largest > 0 else 0.0) for name, value in pairs)


def _add(sums: dict[str, Number], counts: Mapping[str, Number]) -> None:
    for name, value in counts.items():
        sums[name] = sums.get(name, 0) + value


def _numbers(counts: Mapping[Any, Any]) -> dict[str, Number]:
    return {str(name): number for name, value in counts.items() if (number := number_of(value)) is not None}


def _only_counts(answer: Mapping[Any, Any]) -> bool:
    return all(number_of(value) is not None for value in answer.values())


# The days, months or years that a timeline counts by, as the service names them


def granularity_of(names: Iterable[str]) -> str | None:
    """The granularity of a timeline's names; None for a mixture, for no names and for no dates."""
    found: str | None = None
    for name in names:
        kind = next((kind for kind, shape in _SHAPES.items() if shape.fullmatch(name)), None)
        if kind is None or found not in (None, kind) or _first_day(name, kind) is None:
            return None
        found = kind
    return found


def all_between(names: Iterable[str], window: Window | None) -> list[str] | None:
    """All buckets of the window and those in ``names``, in order; None where ``names`` are no buckets, or for more
    than about ``MOST``."""
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
