"""Census: counts a universe's events into the answer to a question (contract page, Answers)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any

from gateway.sandbox.question import Question, window_of
from gateway.sandbox.universe import Article, Event, Universe

Breakdown = dict[str, dict[str, dict[str, int]]]
BUCKET_LENGTH = {"year": len("YYYY"), "month": len("YYYY-MM"), "day": len("YYYY-MM-DD")}
BARE_TOPS = ("referral", "item_type")
"""The sub-items whose tops the documentation shows without ``{"top": …}`` around them."""


class Census:
    """Answers questions about one universe on one day."""

    def __init__(self, universe: Universe, question: Question, today: date) -> None:
        self._universe = universe
        self._question = question
        self._window = window_of(question, today)

    def answer(self) -> Any:
        """The answer as JSON values; the order of the keys is that of the wire."""
        match self._question.family:
            case "total":
                return {"totals": self._total(self._question.counter)}
            case "count":
                return len(self._members())
            case "timeline":
                return {"timeline": timeline(self._happened(), self._bucket()) or None}
            case "breakdown":
                return {"breakdown": breakdown(self._happened(), self._bucket())}
            case "top":
                return self._top()
            case "overview":
                raise ValueError("an overview is made of totals")

    def _members(self) -> Sequence[Article]:
        asked = self._question
        found = [
            article
            for article in self._universe.articles(asked.institution)
            if article.part_of(asked.item, asked.item_id)
        ]
        if asked.sub_item is None or asked.sub_item_id is None:
            return found
        return [article for article in found if article.part_of(asked.sub_item, asked.sub_item_id)]

    def _events(self, article: Article, counter: str | None) -> Sequence[Event]:
        return self._universe.events(self._question.institution, counter or "views", article, self._window)

    def _happened(self) -> Iterator[Event]:
        for article in self._members():
            yield from self._events(article, self._question.counter)

    def _total(self, counter: str | None) -> int:
        return sum(len(self._events(article, counter)) for article in self._members())

    def _bucket(self) -> Callable[[Event], str]:
        length = BUCKET_LENGTH.get(self._question.granularity or "total")
        return (lambda event: "total") if length is None else (lambda event: event.day[:length])

    def _top(self) -> dict[str, Any]:
        asked = self._question
        if asked.sub_item == "referral":
            numbers = Counter(event.referral for event in self._happened())
        else:
            numbers = self._numbers_by(asked.sub_item or asked.item)
        best = ranking(numbers, asked.count)
        return best if best and asked.sub_item in BARE_TOPS else {"top": best}

    def _numbers_by(self, kind: str) -> Counter[str]:
        numbers: Counter[str] = Counter()
        for article in self._members():
            numbers[getattr(article, kind)] += len(self._events(article, self._question.counter))
        return numbers


def timeline(events: Iterable[Event], bucket: Callable[[Event], str]) -> dict[str, int]:
    """Events by bucket, in the order of time; a bucket without events does not appear."""
    return dict(sorted(Counter(map(bucket, events)).items()))


def breakdown(events: Iterable[Event], bucket: Callable[[Event], str]) -> Breakdown:
    """Events by bucket, country and city; a country's ``total`` also counts those without a city."""
    found: dict[str, dict[str, Counter[str | None]]] = {}
    for event in events:
        countries = found.setdefault(bucket(event), {})
        countries.setdefault(event.country, Counter())[event.city] += 1
    return {
        name: {country: _with_total(cities) for country, cities in sorted(countries.items())}
        for name, countries in sorted(found.items())
    }


def ranking(numbers: Counter[str], count: int) -> dict[str, int]:
    """The ``count`` highest, highest first, equals by name; nothing that never happened."""
    best = sorted((-number, name) for name, number in numbers.items() if number)
    return {name: -number for number, name in best[:count]}


def _with_total(cities: Counter[str | None]) -> dict[str, int]:
    return {city: cities[city] for city in sorted(filter(None, cities))} | {"total": cities.total()}
