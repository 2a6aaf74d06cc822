"""Universe: an invented world of articles and of the events that happened to them.

Articles are all there is: every other item is the set of articles that belong to it, and every number is a
count of their events. So days sum to months, years and totals, breakdowns sum to timelines, groups hold
their articles, and filters select subsets, because there is nothing else that they could do. All of it is a
deterministic function of (seed, institution, article, counter); inside no institution is a world of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

from gateway.sandbox.dice import seeded
from gateway.sandbox.question import Window
from gateway.sandbox.scenery import ITEM_TYPES, PLACES, REFERRALS

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
