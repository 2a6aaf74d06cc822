"""One day of public clients of the service, from a seed. Pure: a seed and a *today* always make the same day.

Each institution has two thousand articles. The shapes of what is asked are those of public clients: badges on the
pages of items, which ask for two totals, and charts on some of them; dashboards of departments, which ask for the
totals of each of their newest articles at once; tops, maps and lists of authors that somebody clicks together; and
loops that ask for each article by night. How often each of them asks is assumed. Most ask for the totals of one
article, and seldom for those of the same one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from benchmarks.shield.traffic import DAY, HOURS, INSTITUTIONS, Kind, Request, Tenant, Zipf, settled

ARTICLES, GROUPS, LEAST_ARTICLES = 2_000, 15, 5
"""Of an institution; the sizes of groups follow 1/k, and none has fewer articles than that."""
ZIPF = 1.0
"""Over articles, and over groups."""
LOADS = 5_000
"""Pages of items that are loaded, of each institution; half of their badges ask without a credential."""
CHARTED, BY_DAY = 0.2, 10
"""Share of the loads that show charts; every so many-th article has them by day."""
VISITS, NEWEST, VISIT_SECONDS = 40, 60, 5.0
"""Visits of departments' dashboards; how many articles each shows, and within how long it asks for them."""
TOPS, UNDATED, TOP_DAYS, TOP_BEGINS = 20, 0.6, (30, 90, 365), (30, 1_500)
MAPS, MAPPED, MAP_DAYS, MAP_BEGINS = 3, 50, 366, (900, 1_400)
AUTHORS, WRITTEN = 5, 20
"""Sessions, and the articles of each."""
STEP = 0.2
"""Seconds between two questions of a session."""
NIGHT, NIGHTLY, MONTHLY = 2 * 3_600.0, 3, 2
"""When the loops begin, and for how many institutions each is run: totals of all, and months of some, an hour
later, one a second."""
MONTHLY_ARTICLES = 200
COUNTERS = ("views", "downloads", "shares")


@dataclass(frozen=True)
class ClientsDay:
    """Which day, and of how many institutions, the first of all."""

    seed: int
    today: date
    institutions: int = len(INSTITUTIONS)
    begin: float = 0.0
    end: float = DAY
    """The part of the day that is of interest, in seconds of the day."""


def tenants(day: ClientsDay) -> list[Tenant]:
    """Each institution's own clients, with its credential; and the public ones, which hold none."""
    return [
        *(Tenant(f"{name}-site", {name: name}) for name in INSTITUTIONS[: day.institutions]),
        Tenant("public", {}),
    ]


def requests(day: ClientsDay) -> list[Request]:
    """A day's requests in the order of time; where a part of it is of interest, that part's, from its begin."""
    places = (_Institution(day, number) for number in range(day.institutions))
    asked = (request for place in places for request in place.requests() if day.begin <= request.at < day.end)
    return sorted(request._replace(at=request.at - day.begin) for request in asked)


class _Institution:
    """What the clients of one institution ask. Articles and groups are numbered from 1."""

    def __init__(self, day: ClientsDay, number: int) -> None:
        self._dice = random.Random(f"{day.seed} {number}")
        self._today = day.today
        self._number = number
        self._name = INSTITUTIONS[number]
        self._public = day.institutions
        self._articles = self._dice.sample(range(1, ARTICLES + 1), ARTICLES)
        self._article, self._group = Zipf(ARTICLES, ZIPF), Zipf(GROUPS, ZIPF)
        self._groups = list(_groups(self._dice))

    def requests(self) -> Iterator[Request]:
        yield from self._pages()
        yield from self._departments()
        yield from self._tops()
        yield from self._maps()
        yield from self._authors()
        yield from self._loops()

    def _pages(self) -> Iterator[Request]:
        for _ in range(LOADS):
            at, article, public = self._moment(), self._popular(), self._dice.random() < 0.5
            yield from self._totals(at, article, public=public)
            if self._dice.random() < CHARTED:
                granularity, days = ("day", 30) if article % BY_DAY == 0 else ("month", 182)
                window = (self._today - timedelta(days), self._today)
                yield from self._timelines(at, granularity, f"article/{article}", window)

    def _departments(self) -> Iterator[Request]:
        first = self._months_ago(5)
        window = (first, self._today.replace(day=28))
        for _ in range(VISITS):
            at, group = self._moment(), self._group.draw(self._dice)
            item = f"group/{1 + group}"
            for granularity in ("month", "year"):
                yield from self._timelines(at, granularity, item, window)
            yield self._dated(at, f"breakdown/total/views/{item}", window)
            for article in self._groups[group][-NEWEST:]:
                moment = at + self._dice.uniform(0, VISIT_SECONDS)
                yield self._asked(moment, f"total/views/article/{article}", Kind.TOTALS, public=True)

    def _tops(self) -> Iterator[Request]:
        """With dates they count as totals: that dates filter tops is not documented."""
        for _ in range(TOPS):
            at, target = self._moment(), f"top/{self._dice.choice(COUNTERS[:2])}/article"
            if self._dice.random() < UNDATED:
                yield self._asked(at, target, Kind.TOTALS)
            else:
                start = self._today - timedelta(self._dice.randint(*TOP_BEGINS))
                end = min(self._today, start + timedelta(self._dice.choice(TOP_DAYS)))
                yield self._asked(at, f"{target}?start_date={start}&end_date={end}", Kind.TOTALS)

    def _maps(self) -> Iterator[Request]:
        for _ in range(MAPS):
            at, begins = self._moment(), self._dice.randint(*MAP_BEGINS)
            for article in self._dice.sample(self._articles, MAPPED):
                for days_ago in range(begins, -1, -MAP_DAYS):
                    start = self._today - timedelta(days_ago)
                    window = (start, min(self._today, start + timedelta(MAP_DAYS - 1)))
                    yield self._dated(at, f"breakdown/total/views/article/{article}", window)
                    at += STEP

    def _authors(self) -> Iterator[Request]:
        for _ in range(AUTHORS):
            at = self._moment()
            for article in self._dice.sample(self._articles, WRITTEN):
                yield from self._totals(at, article, step=STEP)
                at += 2 * STEP

    def _loops(self) -> Iterator[Request]:
        """One a second, article by article."""
        if self._number < NIGHTLY:
            counters = COUNTERS if self._number == 0 else COUNTERS[:2]
            asked = itertools.product(range(1, ARTICLES + 1), counters)
            for second, (article, counter) in enumerate(asked):
                yield self._asked(NIGHT + second, f"total/{counter}/article/{article}", Kind.TOTALS)
        if self._number < MONTHLY:
            window = (self._months_ago(1), self._today)
            for number, article in enumerate(self._articles[:MONTHLY_ARTICLES]):
                at = NIGHT + 3_600 + 2 * number
                yield from self._timelines(at, "month", f"article/{article}", window, step=1.0)

    def _totals(self, at: float, article: int, *, public: bool = False, step: float = 0.0) -> Iterator[Request]:
        for number, counter in enumerate(COUNTERS[:2]):
            yield self._asked(at + number * step, f"total/{counter}/article/{article}", Kind.TOTALS, public=public)

    def _timelines(
        self, at: float, granularity: str, item: str, window: tuple[date, date], step: float = 0.0
    ) -> Iterator[Request]:
        for number, counter in enumerate(COUNTERS[:2]):
            yield self._dated(at + number * step, f"timeline/{granularity}/{counter}/{item}", window)

    def _dated(self, at: float, path: str, window: tuple[date, date]) -> Request:
        """With a window, which is closed once its last day has settled."""
        start, end = window
        kind = Kind.CLOSED if end <= settled(self._today) else Kind.OPEN
        return self._asked(at, f"{path}?start_date={start}&end_date={end}", kind)

    def _asked(self, at: float, path: str, kind: Kind, *, public: bool = False) -> Request:
        tenant = self._public if public else self._number
        return Request(min(at, DAY - 1), tenant, f"/{self._name}/{path}", kind)

    def _moment(self) -> float:
        """A second of the day, by the curve."""
        hour = self._dice.choices(range(24), HOURS)[0]
        return (hour + self._dice.random()) * 3_600

    def _popular(self) -> int:
        return self._articles[self._article.draw(self._dice)]

    def _months_ago(self, count: int) -> date:
        """The first of that month."""
        month = self._today.year * 12 + self._today.month - 1 - count
        return date(month // 12, month % 12 + 1, 1)


def _groups(dice: random.Random) -> Iterator[list[int]]:
    """The articles of each group, the newest last."""
    weights = [1 / rank for rank in range(1, GROUPS + 1)]
    spare = ARTICLES - GROUPS * LEAST_ARTICLES
    sizes = [LEAST_ARTICLES + int(spare * weight / sum(weights)) for weight in weights]
    articles = iter(dice.sample(range(1, ARTICLES + 1), ARTICLES))
    for size in sizes:
        yield sorted(itertools.islice(articles, size))
