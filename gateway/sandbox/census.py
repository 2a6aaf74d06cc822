"""Counts the events of an invented world, which answers questions about it (docs/service.md, Answers)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from gateway.sandbox.question import Question, Window, window_of
from gateway.sandbox.world import DAYS, Article, Event, Universe, seeded

Breakdown = dict[str, dict[str, dict[str, int]]]
BUCKET_LENGTH = {"year": len("YYYY"), "month": len("YYYY-MM"), "day": len("YYYY-MM-DD"), "total": 0}
BARE_TOPS = ("referral", "item_type")
"""The sub-items whose tops the documentation shows without ``{"top": …}`` around them."""
MOST_CITIES, MOST_COUNTRIES = 10, 200
"""What a breakdown lists in each bucket: the cities of a country, and countries."""


class Census:
    """Answers a question about one universe on one day."""

    def __init__(self, universe: Universe, question: Question, today: date) -> None:
        self._universe = universe
        self._question = question
        self._today = today
        self._window = window_of(question, today)
        if question.family not in ("total", "count") and universe.habits.lag:
            latest = today - timedelta(universe.habits.lag)
            self._window = Window(self._window.first, min(self._window.last, latest))

    def answer(self) -> Any:
        """The answer as JSON values; the order of the keys is that of the wire."""
        draw = seeded(self._universe.seed, self._question, self._today)
        return self._universe.habits.arranged(self._answer(), draw)

    def _answer(self) -> Any:
        nothing = self._universe.habits.nothing
        match self._question.family:
            case "total":
                return {"totals": sum(map(self._number, self._members))}
            case "count":
                return len(self._members)
            case "timeline":
                return {"timeline": timeline(self._days(), self._bucket) or nothing(None)}
            case "breakdown":
                return {"breakdown": breakdown(self._happened(), self._bucket) or nothing({})}
            case "top":
                best = self._top() or nothing({})
                return best if best and self._question.sub_item in BARE_TOPS else {"top": best}
            case "overview":
                raise ValueError("an overview is made of totals")

    @cached_property
    def _members(self) -> Sequence[Article]:
        asked, found = self._question, self._universe.members
        named = found(asked.institution, asked.item)
        if asked.item_id is not None:
            members = named.get(asked.item_id, [])
        else:
            members = [article for articles in named.values() for article in articles]
        if asked.sub_item is None or asked.sub_item_id is None:
            return members
        return [article for article in members if getattr(article, asked.sub_item) == asked.sub_item_id]

    @property
    def _counter(self) -> str:
        return self._question.counter or "views"

    def _number(self, article: Article) -> int:
        institution = self._question.institution
        return self._universe.number(institution, self._counter, article, self._window, self._today)

    def _days(self) -> Iterator[int]:
        for article in self._members:
            yield from self._universe.days(
                self._question.institution, self._counter, article, self._window, self._today
            )

    def _happened(self) -> Iterator[Event]:
        for article in self._members:
            yield from self._universe.events(
                self._question.institution, self._counter, article, self._window, self._today
            )

    def _bucket(self, day: int) -> str:
        return DAYS[day][: BUCKET_LENGTH[self._question.granularity or "total"]] or "total"

    def _top(self) -> dict[str, int]:
        numbers: Counter[str] = Counter()
        if self._question.sub_item == "referral":
            numbers.update(event.referral for event in self._happened())
        else:
            kind = self._question.sub_item or self._question.item
            for article in self._members:
                numbers[getattr(article, kind)] += self._number(article)
        return self._universe.habits.listed(ranking(numbers), self._question.count)


def timeline(days: Iterable[int], bucket: Callable[[int], str]) -> dict[str, int]:
    """Events by bucket, in the order of time; a bucket without events does not appear."""
    return dict(sorted(Counter(map(bucket, days)).items()))


def breakdown(events: Iterable[Event], bucket: Callable[[int], str]) -> Breakdown:
    """Events by bucket, country and city, the most of each that are listed; a country's ``total`` has all of its
    events, those without a city too."""
    found: dict[str, dict[str, Counter[str | None]]] = {}
    for event in events:
        countries = found.setdefault(bucket(event.day), {})
        countries.setdefault(event.country, Counter())[event.city] += 1
    return {name: _listed(countries) for name, countries in sorted(found.items())}


def ranking(numbers: Counter[str]) -> list[tuple[str, int]]:
    """Names and numbers, highest first, equals by name; nothing that never happened."""
    best = sorted((-number, name) for name, number in numbers.items() if number)
    return [(name, -number) for number, name in best]


def _listed(countries: dict[str, Counter[str | None]]) -> dict[str, dict[str, int]]:
    highest = ranking(Counter({country: cities.total() for country, cities in countries.items()}))
    return {country: _with_total(countries[country]) for country, _ in sorted(highest[:MOST_COUNTRIES])}


def _with_total(cities: Counter[str | None]) -> dict[str, int]:
    named = Counter({city: number for city, number in cities.items() if city is not None})
    return dict(sorted(ranking(named)[:MOST_CITIES])) | {"total": cities.total()}
