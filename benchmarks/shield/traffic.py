"""One day of dashboard traffic, from a seed. Pure: the same seed and the same *today* make the same day.

The day of a gateway with six institutions. People open a dashboard, which asks some eight questions at once; some
leave it open, in a tab or on a display in a hall, and it asks them anew every minute; now and then a lecture or a
mail sends many to the same page within seconds (a reload storm). Which page follows Zipf's law, over institutions
and over an institution's items; when, a curve with a morning and an afternoon. A page's viewer chooses its window:
the last week or month so far, which slide with the day and are open; the month before, which is closed; or none,
which leaves it to the service. Histories of whole months and years, which every page shows too, are closed.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

DAY = 86_400.0
INSTITUTIONS = ("aldford", "birkholm", "carrow", "dunmere", "eastvale", "fennick")
ITEMS = 40
"""Items of an institution that have a page."""
ZIPF = 1.1
OVERVIEW = 0.6
"""Share of visits that go to the institution's own page, not to an item's."""
LEFT_OPEN = 0.25
"""Share of visits that leave the page open."""
RELOAD_SECONDS = 60.0
OPEN_SECONDS = 4 * 3_600.0
"""How often an open page asks anew, and for how long it stays open on average."""
STORMS = 16
STORM_LOADS = (20, 50)
STORM_SECONDS = 20.0
LOAD_SECONDS = 1.0
"""Within how long a page asks all that it asks."""
PERMUTED = 0.1
"""Share of the requests with several parameters that have them in another order."""
COUNTED = 0.3
"""Share of the requests for tops that spell out the default count."""
WINDOWS = {"month": 0.55, "week": 0.15, "before": 0.15, "default": 0.15}
"""What a page's viewer chooses."""
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 16, 24, 26, 24, 18, 20, 25, 24, 20, 14, 9, 6, 5, 4, 3, 2)
"""What share of a day's visits begin in each hour."""


class Kind(StrEnum):
    """What bounds an answer's age: whether its window is closed or open, or whether it covers all time."""

    CLOSED = "closed"
    OPEN = "open"
    TOTALS = "totals"


BOUNDS = {Kind.CLOSED: 7 * DAY, Kind.OPEN: 900.0, Kind.TOTALS: 600.0}
"""How old an answer of each kind may be, in seconds of the day; the gateway's defaults, and the peers' too."""


class Tenant(NamedTuple):
    """Who asks: by institution, the username of the credential held."""

    name: str
    usernames: Mapping[str, str]


class Request(NamedTuple):
    """One request: seconds of the day, index of the tenant, the target, and what bounds its answer's age."""

    at: float
    tenant: int
    target: str
    kind: Kind


@dataclass(frozen=True)
class Day:
    """Which day. ``today`` is what windows are relative to: which are closed is a matter of the real date."""

    seed: int
    today: date
    requests: int = 60_000
    respelt: bool = True
    """Whether parameters are permuted and defaults spelled out; else all write one question alike."""
    closed: bool = True
    """Whether windows are closed; else each that is ends yesterday instead, and is open."""
    reload: float = RELOAD_SECONDS
    begin: float = 0.0
    end: float = DAY
    """The part of the day that is of interest, in seconds of the day."""


def tenants() -> list[Tenant]:
    """A library in each institution; a faculty in each, most with the library's credential, two with their own; a
    consortium of three; and a portal that holds no credential."""
    faculties = [(name, f"{name}-faculty" if number < 2 else name) for number, name in enumerate(INSTITUTIONS)]
    return [
        *(Tenant(f"{name}-library", {name: name}) for name in INSTITUTIONS),
        *(Tenant(f"{name}-faculty", {name: username}) for name, username in faculties),
        Tenant("consortium", {name: name for name in INSTITUTIONS[:3]}),
        Tenant("portal", {}),
    ]


def requests(day: Day) -> list[Request]:
    """A day's requests in the order of time; where a part of it is of interest, that part's, from its begin."""
    asked = (request for request in _Scenario(day).requests() if day.begin <= request.at < day.end)
    return sorted(request._replace(at=request.at - day.begin) for request in asked)


class Page(NamedTuple):
    """What somebody looks at: an institution's item, or the institution itself (item 0); in a window."""

    institution: str
    item: int
    window: str


class _Scenario:
    def __init__(self, day: Day) -> None:
        self._day = day
        self._dice = random.Random(day.seed)
        self._tenants = tenants()
        self._institution = Zipf(len(INSTITUTIONS), ZIPF)
        self._item = Zipf(ITEMS, ZIPF)
        self._hours = list(itertools.accumulate(HOURS))

    def requests(self) -> list[Request]:
        storms = [request for _ in range(STORMS) for request in self._storm()]
        visits = itertools.chain.from_iterable(self._visit() for _ in itertools.count())
        rest = max(0, self._day.requests - len(storms))
        return storms[: self._day.requests] + list(itertools.islice(visits, rest))

    def _visit(self) -> Iterator[Request]:
        at, tenant = self._moment(), self._visitor()
        page = self._page(tenant)
        until = at + (self._dice.expovariate(1 / OPEN_SECONDS) if self._dice.random() < LEFT_OPEN else 0.0)
        while at <= min(until, DAY - LOAD_SECONDS):
            yield from self._load(at, tenant, page)
            at += self._day.reload

    def _storm(self) -> Iterator[Request]:
        at, tenant = min(self._moment(), DAY - STORM_SECONDS - LOAD_SECONDS), self._visitor()
        page = self._page(tenant)
        for _ in range(self._dice.randint(*STORM_LOADS)):
            yield from self._load(at + self._dice.uniform(0, STORM_SECONDS), tenant, page)

    def _load(self, at: float, tenant: int, page: Page) -> Iterator[Request]:
        for question in questions(page, self._day, member=bool(self._tenants[tenant].usernames)):
            named = [*question.parameters.items()]
            if self._dice.random() < COUNTED and question.family == "top" and self._day.respelt:
                named.append(("count", "10"))
            if self._dice.random() < PERMUTED and len(named) > 1 and self._day.respelt:
                named.reverse()
            query = "&".join(f"{name}={value}" for name, value in named)
            target = f"{question.path}?{query}" if query else question.path
            yield Request(at + self._dice.uniform(0, LOAD_SECONDS), tenant, target, question.kind)

    def _moment(self) -> float:
        """A second of the day, by the curve."""
        hour = bisect_left(self._hours, self._dice.uniform(0, self._hours[-1]))
        return (min(hour, 23) + self._dice.random()) * 3_600

    def _visitor(self) -> int:
        """Larger institutions have more visitors; the consortium and the portal a tenth of them each."""
        kind = self._dice.random()
        if kind < 0.2:
            return 2 * len(INSTITUTIONS) + (kind < 0.1)
        return self._institution.draw(self._dice) + len(INSTITUTIONS) * (kind < 0.5)

    def _page(self, tenant: int) -> Page:
        held = list(self._tenants[tenant].usernames) or INSTITUTIONS
        window = self._dice.choices(list(WINDOWS), list(WINDOWS.values()))[0]
        item = 0 if self._dice.random() < OVERVIEW else 1 + self._item.draw(self._dice)
        return Page(self._dice.choice(held), item, window)


class Question(NamedTuple):
    """A path with its parameters, in the order in which most write them."""

    path: str
    parameters: Mapping[str, str]
    kind: Kind

    @property
    def family(self) -> str:
        """As the path names it: total, timeline, breakdown, top."""
        first, second = self.path.split("/")[1:3]
        return second if first in INSTITUTIONS else first


def questions(page: Page, day: Day, *, member: bool) -> list[Question]:
    """What a page asks. Who is no member is shown what is public."""
    number = 1 + INSTITUTIONS.index(page.institution)
    always, inside = f"/{page.institution}", f"/{page.institution}" if member else ""
    window, months, year = _windows(page.window, day)
    if page.item:
        article = f"article/{1_000 * number + page.item}"
        return [
            Question(f"{always}/total/views/{article}", {}, Kind.TOTALS),
            Question(f"{always}/total/downloads/{article}", {}, Kind.TOTALS),
            Question(f"{inside}/timeline/day/views/{article}", *window),
            Question(f"{inside}/timeline/day/downloads/{article}", *window),
            Question(f"{inside}/breakdown/total/views/{article}", *window),
            Question(f"{inside}/timeline/month/views/{article}", *months),
            Question(f"{inside}/timeline/month/downloads/{article}", *months),
        ]
    group = f"group/{number}"
    return [
        Question(f"{always}/total/views/{group}", {}, Kind.TOTALS),
        Question(f"{always}/total/downloads/{group}", {}, Kind.TOTALS),
        Question(f"{inside}/top/views/article", {"item_id": str(number)}, Kind.TOTALS),
        Question(f"{inside}/top/downloads/article", {"item_id": str(number)}, Kind.TOTALS),
        Question(f"{inside}/timeline/day/views/{group}", *window),
        Question(f"{inside}/timeline/day/downloads/{group}", *window),
        Question(f"{inside}/timeline/month/views/{group}", *months),
        Question(f"{inside}/breakdown/year/views/{group}", *year),
    ]


_Window = tuple[Mapping[str, str], Kind]


def settled(today: date) -> date:
    """The last day that a window may end on and be closed, all of today."""
    return today - timedelta(days=3)


def _windows(chosen: str, day: Day) -> tuple[_Window, _Window, _Window]:
    """The chosen window; two years of whole months; the calendar year before those end."""
    yesterday = day.today - timedelta(days=1)
    last = (settled(day.today) + timedelta(days=1)).replace(day=1) - timedelta(days=1)
    """The end of the last whole month that has settled."""
    before, year = last.replace(day=1), last.year - 1
    choices = {
        "week": _window(day.today - timedelta(days=6), day.today, Kind.OPEN),
        "month": _window(yesterday - timedelta(days=29), yesterday, Kind.OPEN),
        "before": _closed(before, last, day),
        "default": ({}, Kind.OPEN),
    }
    months = _closed(before.replace(year=before.year - 2), last, day)
    return choices[chosen], months, _closed(date(year, 1, 1), date(year, 12, 31), day)


def _closed(start: date, end: date, day: Day) -> _Window:
    if day.closed:
        return _window(start, end, Kind.CLOSED)
    return _window(start, day.today - timedelta(days=1), Kind.OPEN)


def _window(start: date, end: date, kind: Kind) -> _Window:
    return {"start_date": start.isoformat(), "end_date": end.isoformat()}, kind


class Zipf:
    """Ranks from 0, by Zipf's law."""

    def __init__(self, count: int, exponent: float) -> None:
        self._sums = list(itertools.accumulate(rank**-exponent for rank in range(1, count + 1)))

    def draw(self, dice: random.Random) -> int:
        return min(bisect_left(self._sums, dice.uniform(0, self._sums[-1])), len(self._sums) - 1)
