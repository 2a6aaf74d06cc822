"""Probes: what is asked to find out how the service behaves where its documentation is silent, and the answers,
read. Pure: which items are asked about follows from the first answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

FIRST_COUNTS, LAST_COUNT = (10, 1_000, 10_000), 100_000
"""Places that tops of articles are asked for at the beginning, and at the end."""
PLACES, LAST_PLACES = 1_000, 10_000
"""The same of tops of groups; and at the beginning, of one day."""
MOST_ABSENT, MOST_TAIL, MOST_ON_DAY = 5, 3, 5
GRANULARITIES = ("day", "month", "year", "total")
SETTLED_DAYS = 3
"""So many days ago is a day that is over in every time zone, and that has settled."""
LONG_AGO, BEFORE_ALL = date(2000, 1, 1), date(1990, 1, 1)
SHOWN = 60
"""Characters of an answer that are shown as evidence."""


class Window(NamedTuple):
    """Two days, both inclusive."""

    start: date
    end: date

    @property
    def query(self) -> str:
        return f"start_date={self.start}&end_date={self.end}"

    def covers(self, day: str) -> bool:
        """Whether a day, as ``YYYY-MM-DD``, is within."""
        return str(self.start) <= day <= str(self.end)


class Probe(NamedTuple):
    """A question; ``public``: asked without the credential."""

    target: str
    public: bool = False


class Reply(NamedTuple):
    """An answer: its status, 0 where there is none, and when it came, in seconds since the epoch by the service's
    clock, or ours if it does not say."""

    status: int
    body: bytes = b""
    at: float = 0.0


class Service(NamedTuple):
    """An institution's endpoints (docs/service.md, Endpoints). An item is written like ``article/23``."""

    institution: str

    def totals(self, counter: str, item: str, window: Window | None = None, *, public: bool = False) -> Probe:
        return self._probe(f"total/{counter}/{item}", window, public=public)

    def overview(self, item: str) -> Probe:
        return self._probe(f"total/{item}")

    def timeline(
        self, granularity: str, counter: str, item: str, window: Window | None = None, *, public: bool = False
    ) -> Probe:
        return self._probe(f"timeline/{granularity}/{counter}/{item}", window, public=public)

    def breakdown(self, item: str, window: Window) -> Probe:
        return self._probe(f"breakdown/total/views/{item}", window)

    def top(self, kind: str, count: int, window: Window | None = None, *, public: bool = False) -> Probe:
        return self._probe(f"top/views/{kind}", window, f"count={count}", public=public)

    def _probe(self, path: str, window: Window | None = None, *more: str, public: bool = False) -> Probe:
        query = "&".join([*([] if window is None else [window.query]), *more])
        return Probe(f"/{self.institution}/{path}{'?' if query else ''}{query}", public)


class Replies:
    """The answers, by what was asked."""

    def __init__(self, replies: Mapping[Probe, Reply]) -> None:
        self._replies = replies

    def of(self, probe: Probe) -> Reply:
        return self._replies.get(probe, Reply(0))

    def shown(self, probe: Probe) -> str:
        """An answer's beginning as text, or its status where it is no 200."""
        reply = self.of(probe)
        if reply.status != 200:
            return f"status {reply.status}" if reply.status else "no answer"
        text = reply.body.decode("ascii", "backslashreplace").strip()
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

    def value(self, probe: Probe, key: str = "") -> object:
        """What a 200 answers under a key, or in all; None for any other answer, and for another shape."""
        reply = self.of(probe)
        try:
            value = msgspec.json.decode(reply.body) if reply.status == 200 else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return value.get(key) if key and isinstance(value, dict) else value

    def number(self, probe: Probe) -> int | None:
        """A number of totals."""
        value = self.value(probe, "totals")
        return value if isinstance(value, int) else None

    def counts(self, probe: Probe, key: str = "") -> dict[str, int]:
        """Numbers by name in the order of the answer: of a timeline, a top, or an overview, which has no key."""
        value = self.value(probe, key)
        pairs = value.items() if isinstance(value, dict) else ()
        return {name: number for name, number in pairs if isinstance(number, int)}

    def timeline(self, probe: Probe) -> dict[str, int]:
        return self.counts(probe, "timeline")

    def top(self, probe: Probe) -> dict[str, int]:
        return self.counts(probe, "top")

    def countries(self, probe: Probe) -> dict[str, dict[str, int]]:
        """The countries of a breakdown without granularity, each with its cities and their ``total``."""
        value = self.value(probe, "breakdown")
        found = value.get("total") if isinstance(value, dict) else None
        return (
            {name: each for name, each in found.items() if isinstance(each, dict)}
            if isinstance(found, dict)
            else {}
        )


@dataclass(frozen=True, slots=True)
class Aims:
    """What to ask about.

    ``items`` are articles: the highest in the ranking, the middle one and the lowest. ``tail`` are the next
    lowest, ``absent`` are not in it, ``on_day`` some of those in the top of ``day``. ``groups`` are the largest
    and smallest; the ``subject`` is the largest, or an article where there is none. ``today`` is UTC's.
    """

    service: Service
    today: date
    items: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    on_day: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return next(iter((*self.groups, *self.items)), "")

    @property
    def day(self) -> Window:
        """A day that has settled."""
        day = self.today - timedelta(SETTLED_DAYS)
        return Window(day, day)

    @property
    def always(self) -> Window:
        """All time, to tomorrow: the service's day may be ahead of ours."""
        return Window(LONG_AGO, self.today + timedelta(1))


def first_probes(aims: Aims) -> list[Probe]:
    """What decides what else to ask: the rankings of articles and groups, and the top of one day."""
    service = aims.service
    rankings = [service.top("article", count) for count in FIRST_COUNTS]
    return [*rankings, service.top("group", PLACES), service.top("article", PLACES, aims.day)]


def aims_of(aims: Aims, replies: Replies) -> Aims:
    """What to ask about, by the answers to the first probes."""
    service = aims.service
    ranking = _ids(replies.top(service.top("article", FIRST_COUNTS[-1])))
    groups = _ids(replies.top(service.top("group", PLACES)))
    on_day = _ids(replies.top(service.top("article", PLACES, aims.day)))
    if not ranking:
        return aims
    spread = [ranking[0], ranking[len(ranking) // 2], ranking[-1]]
    return Aims(
        service,
        aims.today,
        items=tuple(dict.fromkeys(map(article, spread))),
        tail=tuple(article(id) for id in ranking[-1 - MOST_TAIL : -1]),
        absent=tuple(map(article, absent_ids(ranking))),
        on_day=tuple(article(id) for id in _spread(on_day, MOST_ON_DAY)),
        groups=tuple(f"group/{id}" for id in dict.fromkeys([*groups[:1], *groups[-1:]])),
    )


def article(id: int) -> str:
    return f"article/{id}"


def absent_ids(listed: Iterable[int]) -> list[int]:
    """Ids that a ranking does not list: beside those it lists, which may well exist, and beyond all of them."""
    known = set(listed)
    beside = [id + 1 for id in sorted(known) if id + 1 not in known]
    beyond = range(max(known) + 2, max(known) + 2 + MOST_ABSENT)
    return [*_spread(beside, MOST_ABSENT), *beyond][:MOST_ABSENT]


def _ids(counts: Mapping[str, int]) -> list[int]:
    """The ids of a top, the highest count first, whatever its order."""
    pairs = [(count, int(name)) for name, count in counts.items() if name.isdecimal()]
    return [id for _, id in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))]


def _spread(ids: Sequence[int], most: int) -> list[int]:
    """So many of them at most, the first and the last among them."""
    step = max(1.0, (len(ids) - 1) / (most - 1))
    return [ids[round(place * step)] for place in range(min(most, len(ids)))]


def summed(days: Mapping[str, int], granularity: str, window: Window | None = None) -> dict[str, int]:
    """The numbers of days, as a timeline of that granularity has them; of the days of a window alone."""
    found: dict[str, int] = {}
    for day, count in days.items():
        if window is None or window.covers(day):
            bucket = bucket_of(day, granularity)
            found[bucket] = found.get(bucket, 0) + count
    return found


def bucket_of(day: str, granularity: str) -> str:
    """The key of a day's bucket."""
    return {"day": day, "month": day[:7], "year": day[:4]}.get(granularity, "total")


def each_timeline(aims: Aims, counter: str, item: str) -> Iterator[Probe]:
    """The whole history of an item in every granularity, by day first."""
    for granularity in GRANULARITIES:
        yield aims.service.timeline(granularity, counter, item, aims.always)


def year_before(aims: Aims) -> Window:
    """The year up to the settled day: as long as a breakdown in total may be."""
    return Window(aims.day.end - timedelta(364), aims.day.end)
