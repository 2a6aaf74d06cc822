"""An invented world of articles and events, and the counts that answer questions about it.

Articles are all there is: every other item is the set of articles that belong to it, and every number is a
count of their events. So days sum to months, years and totals, breakdowns sum to timelines, groups hold
their articles, and filters select subsets, because there is nothing else that they could do. All of it is a
deterministic function of (seed, institution, article, counter); inside no institution is a world of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

from gateway.sandbox.question import Question, Window, window_of

ITEM_TYPES = ("figure", "media", "dataset", "fileset", "poster", "paper", "presentation", "thesis", "code")

PLACES: tuple[tuple[tuple[str, str | None], int], ...] = (
    (("United States", "Kansas City"), 9),
    (("United States", "Orlando"), 7),
    (("United States", "Boston"), 11),
    (("United States", None), 4),
    (("United Kingdom", "London"), 12),
    (("United Kingdom", "Loughborough"), 8),
    (("United Kingdom", None), 3),
    (("Australia", "Melbourne"), 10),
    (("Australia", "Sydney"), 6),
    (("Australia", None), 2),
    (("Spain", "Madrid"), 5),
    (("Spain", "Seville"), 4),
    (("Spain", None), 1),
    (("Germany", "Köln"), 5),
    (("Germany", "Berlin"), 6),
    (("Brazil", "São Paulo"), 5),
    (("Brazil", "Campinas"), 3),
    (("Brazil", "Indaiatuba"), 2),
    (("China", "Chengdu"), 5),
    (("China", "Fuzhou"), 3),
    (("China", None), 2),
    (("Venezuela", "Caracas"), 3),
    (("Antarctica", None), 1),
)
"""((country, city or None), weight): some events are known by their country alone."""

REFERRALS = (
    ("www.google.com", 30),
    ("www.figshare.com", 22),
    ("scholar.google.com", 14),
    ("doi.org", 9),
    ("www.bing.com", 6),
    ("en.wikipedia.org", 5),
    ("twitter.com", 4),
    ("www.nature.com", 3),
    ("github.com", 3),
    ("www.facebook.com", 2),
    ("orcid.org", 2),
    ("www.mendeley.com", 1),
)


def seeded(*parts: object) -> Random:
    """A stream of chance that is the same whenever, and wherever, its parts are."""
    return Random(repr(parts))  # noqa: S311 - invents events, guards nothing


ARTICLES = 400
AUTHORS = 80
COLLECTIONS = 40
GROUPS = 25
PROJECTS = 40
CATEGORIES = 15

FIRST_DAY = date(2010, 1, 1)
DAYS = tuple((FIRST_DAY + timedelta(n)).isoformat() for n in range(30 * 365))
"""Every day on which something can happen, as it is written: the order of the text is that of time."""
LAST_PUBLICATION = 12 * 365
EVENTS = {"views": 100, "downloads": 40, "shares": 15}
"""Events of an article without much luck, by counter, over all of ``DAYS``."""
MOST_POPULAR = 8.0

PLACE_NAMES = [place for place, _ in PLACES]
PLACE_WEIGHTS = list(accumulate(weight for _, weight in PLACES))
REFERRAL_NAMES = [referral for referral, _ in REFERRALS]
REFERRAL_WEIGHTS = list(accumulate(weight for _, weight in REFERRALS))


@dataclass(frozen=True, slots=True)
class Article:
    """An article, and what it belongs to; the names of the fields are those of items and sub-items."""

    article: str
    author: str
    collection: str | None
    group: str
    project: str | None
    category: str
    item_type: str
    published: int
    popularity: float

    def part_of(self, kind: str, name: str | None) -> bool:
        """Whether it belongs to that item or sub-item; to any of the kind, when none is named."""
        mine = getattr(self, kind)
        return mine is not None and name in (None, mine)


class Event(NamedTuple):
    """One view, download or share: its day (``YYYY-MM-DD``), where from, and what led there."""

    day: str
    country: str
    city: str | None
    referral: str


class Universe:
    """The world that grows from a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.articles = lru_cache(maxsize=64)(self._articles)
        self._events = lru_cache(maxsize=8_192)(self._draw_events)

    def events(self, institution: str | None, counter: str, article: Article, window: Window) -> Sequence[Event]:
        """What happened to an article in a window, in the order of time."""
        every = self._events(institution, counter, article)
        first = bisect_left(every, window.first.isoformat(), key=_day)
        return every[first : bisect_right(every, window.last.isoformat(), key=_day)]

    def _articles(self, institution: str | None) -> Sequence[Article]:
        return tuple(self._draw_article(institution, number) for number in range(1, ARTICLES + 1))

    def _draw_article(self, institution: str | None, number: int) -> Article:
        draw = seeded(self.seed, institution, number)
        return Article(
            article=str(number),
            author=str(draw.randint(1, AUTHORS)),
            collection=_one_of(draw, COLLECTIONS),
            group=str(draw.randint(1, GROUPS)),
            project=_one_of(draw, PROJECTS),
            category=str(draw.randint(1, CATEGORIES)),
            item_type=draw.choice(ITEM_TYPES),
            published=draw.randrange(LAST_PUBLICATION),
            popularity=min(draw.paretovariate(1.2), MOST_POPULAR),
        )

    def _draw_events(self, institution: str | None, counter: str, article: Article) -> Sequence[Event]:
        draw = seeded(self.seed, institution, article.article, counter)
        number = round(EVENTS[counter] * article.popularity)
        days = sorted(draw.choices(DAYS[article.published :], k=number))
        places = draw.choices(PLACE_NAMES, cum_weights=PLACE_WEIGHTS, k=number)
        referrals = draw.choices(REFERRAL_NAMES, cum_weights=REFERRAL_WEIGHTS, k=number)
        return [Event(day, *place, referral) for day, place, referral in zip(days, places, referrals, strict=True)]


def _one_of(draw: Random, many: int) -> str | None:
    """One of so many, or none in one case out of four."""
    return str(draw.randint(1, many)) if draw.random() < 0.75 else None


def _day(event: Event) -> str:
    return event.day


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
