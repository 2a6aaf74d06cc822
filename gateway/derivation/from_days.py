"""Rules that add up days: timelines by month, by year and in total out of one timeline by day. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.derivation.rules import Derived, Kind, Source, asked, means, parameters_of
from gateway.derivation.style import TIMELINE, Layout, Numbers

CHECKS = 60
NAME_LENGTH = {"month": len("YYYY-MM"), "year": len("YYYY")}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
FILTERS = ("start_date", "end_date", "sub_item", "sub_item_id")


@dataclass(frozen=True, slots=True)
class Sums:
    """A timeline of a ``granularity`` as the sums of one by day that covers its window.

    ``cut``: only where the window cuts its first or last bucket, which the service may then count as a whole.
    """

    granularity: str
    cut: bool = False
    layout: Layout = TIMELINE
    needed: int = CHECKS
    repeats: bool = False

    @property
    def name(self) -> str:
        return f"{self.granularity}-cut" if self.cut else self.granularity

    def sources(self, query: Query) -> tuple[Query, ...]:
        """The timeline by day with the same window and filters."""
        counter, item, id = query.counter, query.item, query.item_id
        if query.family is not Family.TIMELINE or query.granularity != self.granularity:
            return ()
        given = {name: each for name, each in parameters_of(query).items() if name in FILTERS}
        if query.last_day is None or counter is None or item is None or id is None:
            return ()
        if _is_cut(self.granularity, *window_of(query)) is not self.cut:
            return ()
        if not means(query, asked(query.institution, "timeline", self.granularity, counter, item, id, **given)):
            return ()
        return (asked(query.institution, "timeline", "day", counter, item, id, **given),)

    def derived(self, query: Query, sources: Sequence[Source]) -> Derived | None:
        numbers = self.counts(query, sources, {})
        if not all(map(_DAY.fullmatch, sources[0].days)) or not _covers(sources[0].query, query):
            return None
        listed = {name: number for name, number in numbers.items() if number}
        return Derived(listed, Kind.PLAIN if listed else Kind.EMPTY)

    def counts(self, query: Query, sources: Sequence[Source], numbers: Numbers) -> dict[str, int]:
        first, last = (day.isoformat() for day in window_of(query))
        sums = dict.fromkeys(numbers, 0)
        for day, number in sources[0].days.items():
            if first <= day <= last:
                name = day[: NAME_LENGTH.get(self.granularity, 0)] or "total"
                sums[name] = sums.get(name, 0) + number
        return sums


def window_of(query: Query) -> tuple[date, date]:
    """The first and the last day of a timeline with both dates."""
    given = parameters_of(query)
    return date.fromisoformat(given["start_date"]), date.fromisoformat(given["end_date"])


def _covers(source: Query, query: Query) -> bool:
    first, last = window_of(query)
    start, end = window_of(source)
    return start <= first and last <= end


def _is_cut(granularity: str, first: date, last: date) -> bool:
    """Whether a window has a part of a bucket at one of its ends."""
    if granularity == "total":
        return False
    after = None if last == date.max else last + timedelta(1)
    ends: Iterable[date] = (first,) if after is None else (first, after)
    return any(day.day != 1 or (granularity == "year" and day.month != 1) for day in ends)


FROM_DAYS = (
    Sums("total"),
    *(Sums(granularity, cut) for granularity in ("month", "year") for cut in (False, True)),
)
