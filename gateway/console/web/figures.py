"""Figures: an answer of the service as rows to draw and to list. Pure; whatever the JSON, nothing is raised.

Only the shape of an answer counts, and what cannot be read is left out: the raw answer is shown beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from gateway.console.web.buckets import MOST, Window, all_between

Number = int | float
LARGEST = 10**15
"""A count beyond it is none."""
MOST_ROWS = 500
MOST_CITIES = 5_000
"""Cities that a page lists, of all countries together."""
TOTAL = "total"
EVERY = ""
"""The choice of all buckets together."""


@dataclass(frozen=True, slots=True)
class Row:
    """A name and its count; ``share`` of the largest, from 0 to 1, is how long its bar is."""

    name: str
    value: Number
    share: float


@dataclass(frozen=True, slots=True)
class Total:
    """One number."""

    kind: ClassVar = "total"
    value: Number


@dataclass(frozen=True, slots=True)
class Series:
    """A timeline in the order of time, zeros where nothing happened; ``left_out`` earlier rows are not here."""

    kind: ClassVar = "series"
    rows: tuple[Row, ...]
    total: Number
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Ranking:
    """Tops, in the order of the answer; ``left_out`` later rows are not there."""

    kind: ClassVar = "ranking"
    rows: tuple[Row, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Country:
    """A country with its cities, the most first; ``elsewhere`` are its events of which no city is known."""

    row: Row
    cities: tuple[Row, ...]
    elsewhere: Row | None
    left_out: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Countries, the most first, of the ``chosen`` bucket, or of all ``buckets`` together."""

    kind: ClassVar = "breakdown"
    buckets: tuple[str, ...]
    chosen: str
    countries: tuple[Country, ...]
    total: Number
    left_out: int


Figure = Total | Series | Ranking | Breakdown


def figure_of(answer: Any, *, bare: bool, window: Window | None = None, chosen: str = EVERY) -> Figure | None:
    """The figure that an answer makes; None where it has none of the service's shapes.

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
    """A count that can be drawn, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        return None
    return value


def _timeline(counts: Mapping[Any, Any], window: Window | None, _: str) -> Figure:
    found = _numbers(counts)
    if list(found) == [TOTAL]:
        return Total(found[TOTAL])
    names = all_between(found, window) or list(found)
    shown = names[-MOST:]
    rows = _rows((name, found.get(name, 0)) for name in shown)
    return Series(rows, sum(found.values()), len(names) - len(shown))


def _ranking(counts: Mapping[Any, Any], _: Window | None, __: str) -> Figure:
    found = _numbers(counts)
    return Ranking(_rows(islice(found.items(), MOST_ROWS)), max(0, len(found) - MOST_ROWS))


def _breakdown(buckets: Mapping[Any, Any], _: Window | None, chosen: str) -> Figure:
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
