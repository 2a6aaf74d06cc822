"""An invented world of articles and events, and the counts that answer questions about it.

Articles are all there is: every other item is the set of articles that belong to it, and every number is a
count of their events. So days sum to months, years and totals, breakdowns sum to timelines, groups hold
their articles, and filters select subsets, because there is nothing else that they could do. All of it is a
deterministic function of (seed, institution, article, counter); inside no institution is a world of its own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import NamedTuple, TypeVar

from gateway.sandbox.habits import Habits
from gateway.sandbox.question import Window

T = TypeVar("T")

ITEM_TYPES = ("figure", "media", "dataset", "fileset", "poster", "paper", "presentation", "thesis", "code")

PLACES: tuple[tuple[tuple[str, str | None], int], ...] = (
    (("United States", "Kansas City"), 9),
    (("United States", "Orlando"), 7),
    (("United States", "Boston"), 11),
    (("United States", "Ann Arbor"), 4),
    (("United States", "Austin"), 3),
    (("United States", "Baltimore"), 3),
    (("United States", "Chicago"), 6),
    (("United States", "Denver"), 2),
    (("United States", "Ithaca"), 2),
    (("United States", "Pittsburgh"), 3),
    (("United States", "Seattle"), 5),
    (("United States", "Tucson"), 1),
    (("United States", "Unknown"), 5),
    (("United States", None), 4),
    (("United Kingdom", "London"), 12),
    (("United Kingdom", "Loughborough"), 8),
    (("United Kingdom", "Unknown"), 2),
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
"""((country, city or None), weight): some events are known by their country alone, some by a city ``Unknown``, and
one country has more cities than a breakdown lists."""

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


AUTHORS = 80
COLLECTIONS = 40
GROUPS = 25
PROJECTS = 40
CATEGORIES = 15

FIRST_DAY = date(2010, 1, 1)
DAYS = tuple((FIRST_DAY + timedelta(n)).isoformat() for n in range(30 * 365))
"""Every day on which something can happen, as it is written; elsewhere a day is its number in here."""
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

    number: int
    article: str
    author: str
    collection: str | None
    group: str
    project: str | None
    category: str
    item_type: str
    published: int
    popularity: float


class Event(NamedTuple):
    """One view, download or share: its day, where from, and what led there."""

    day: int
    country: str
    city: str | None
    referral: str


Days = MutableSequence[int]


class Universe:
    """The world that grows from a seed, as its service tells of it by its habits."""

    def __init__(self, seed: int, habits: Habits) -> None:
        self.seed = seed
        self.habits = habits
        self.articles = lru_cache(maxsize=64)(self._articles)
        self.members = lru_cache(maxsize=256)(self._members)
        self._days = lru_cache(maxsize=max(8_192, 8 * habits.items))(self._draw_days)
        self._events = lru_cache(maxsize=8_192)(self._draw_events)

    def number(self, institution: str | None, counter: str, article: Article, window: Window, today: date) -> int:
        """How many events of an article are in a window."""
        return len(self.days(institution, counter, article, window, today))

    def days(
        self, institution: str | None, counter: str, article: Article, window: Window, today: date
    ) -> Sequence[int]:
        """The days of an article's events in a window, as the service knows them today, in the order of time."""
        every = self._days(institution, counter, article.number)
        known = self._revised(every, every, article, today)
        return known[bisect_left(known, number_of(window.first)) : bisect_right(known, number_of(window.last))]

    def events(
        self, institution: str | None, counter: str, article: Article, window: Window, today: date
    ) -> Sequence[Event]:
        """What happened to an article in a window, in the order of time."""
        every = self._events(institution, counter, article.number)
        known = self._revised(every, self._days(institution, counter, article.number), article, today)
        first, end = number_of(window.first), number_of(window.last) + 1
        return [event for event in known if first <= event.day < end]

    def _revised(self, each: MutableSequence[T], days: Days, article: Article, today: date) -> MutableSequence[T]:
        """``each`` of the events on ``days`` that has not been taken back; of today's, all."""
        if not self.habits.revise:
            return each
        past = bisect_left(days, number_of(today))
        one_of = round(1 / self.habits.revise)
        kept = each[:past]
        del kept[(today.toordinal() + article.number) % one_of :: one_of]
        kept.extend(each[past:])
        return kept

    def _articles(self, institution: str | None) -> Sequence[Article]:
        return tuple(self._draw_article(institution, number) for number in range(1, self.habits.items + 1))

    def _members(self, institution: str | None, kind: str) -> Mapping[str, Sequence[Article]]:
        """The articles that belong to each item or sub-item of a kind."""
        found: dict[str, list[Article]] = {}
        for article in self.articles(institution):
            name = getattr(article, kind)
            if name is not None:
                found.setdefault(name, []).append(article)
        return found

    def _draw_article(self, institution: str | None, number: int) -> Article:
        draw = seeded(self.seed, institution, number)
        return Article(
            number=number,
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

    def _draw_days(self, institution: str | None, counter: str, number: int) -> Days:
        return self._history(institution, counter, number)[1]

    def _draw_events(self, institution: str | None, counter: str, number: int) -> MutableSequence[Event]:
        draw, days = self._history(institution, counter, number)
        places = draw.choices(PLACE_NAMES, cum_weights=PLACE_WEIGHTS, k=len(days))
        referrals = draw.choices(REFERRAL_NAMES, cum_weights=REFERRAL_WEIGHTS, k=len(days))
        return [Event(day, *place, referral) for day, place, referral in zip(days, places, referrals, strict=True)]

    def _history(self, institution: str | None, counter: str, number: int) -> tuple[Random, Days]:
        """An article's days, and the stream of chance that goes on to their events."""
        article = self.articles(institution)[number - 1]
        draw = seeded(self.seed, institution, article.article, counter)
        many = round(EVENTS[counter] * article.popularity)
        return draw, array("H", sorted(draw.choices(range(article.published, len(DAYS)), k=many)))


def number_of(day: date) -> int:
    """The number of a day, counted from the first; negative before it."""
    return (day - FIRST_DAY).days


def _one_of(draw: Random, many: int) -> str | None:
    """One of so many, or none in one case out of four."""
    return str(draw.randint(1, many)) if draw.random() < 0.75 else None
