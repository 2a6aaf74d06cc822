"""Checks of rankings: which items to ask for by themselves, and what their answers prove. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import pairwise
from random import Random

import msgspec

from gateway.catalogue.endpoints import COUNTERS
from gateway.jobs.columns import ReportRequest

FIRST_SAMPLES, LATER_SAMPLES, LATER_OVERVIEWS = 20, 3, 6
"""How many items are checked at first, later, and later where one call checks all counters of an item."""
ALL_CHECKED = 60
"""So few items are all checked at first."""
FIRST_PROBES, LATER_PROBES = 2, 1
"""How many of the samples are asked for both as an overview and as totals, to see that these agree."""
SPARES = 4
"""Samples that stand in where the service has no answer about one."""
TRUSTED_SECONDS = 30 * 86_400.0
"""How long a check that found no difference lets the next ones be smaller."""


class Difference(msgspec.Struct, frozen=True):
    """A ranking's number for an item, and the one that the service gives for the item by itself."""

    id: int
    period: str
    ranking: int
    item: int


class Trust(msgspec.Struct, frozen=True):
    """What earlier reports on the same items, with the same credential, found.

    ``checked`` says when each subject last passed its checks, in Unix seconds; ``count`` how many places their
    rankings needed, 0 where that is unknown.
    """

    checked: dict[str, float] = {}
    count: int = 0

    def has(self, subject: str, now: float) -> bool:
        """Whether a subject passed its checks not long ago."""
        return now - self.checked.get(subject, 0.0) < TRUSTED_SECONDS

    def after(self, now: float, passed: Sequence[str], failed: Sequence[str], places: int) -> Trust:
        """The trust that a report leaves."""
        kept = {subject: at for subject, at in self.checked.items() if subject not in failed}
        return Trust(kept | dict.fromkeys(passed, now), max(places, self.count))


OVERVIEWS = "overviews"
"""The subject of the overviews' agreement with totals."""


def samples_of(
    request: ReportRequest, counters: Sequence[str], trust: Trust, now: float, items: int | None
) -> int:
    """How many of the items to check, None where it is unknown which there are: few where all of these counters'
    rankings have earned that."""
    trusted = all(trust.has(request.subject(counter), now) for counter in counters)
    if not trusted:
        return FIRST_SAMPLES if items is None or items > ALL_CHECKED else items
    at_once = not request.is_dated and len(counters) > 1 and trust.has(OVERVIEWS, now)
    return LATER_OVERVIEWS if at_once else LATER_SAMPLES


def helpers_of(request: ReportRequest, many: int, items: int | None) -> list[str]:
    """The counters that are not asked for, whose rankings help to choose so many items to check: what they
    list may be missing in the others. None where few or all are checked, or where the columns of a counter have a
    sum to be compared with."""
    if many <= LATER_OVERVIEWS or many == items or request.many_periods > 1:
        return []
    return [counter for counter in COUNTERS if counter not in request.counters]


def probes_of(trust: Trust, now: float) -> int:
    """How many items to ask for both as an overview and as totals."""
    return LATER_PROBES if trust.has(OVERVIEWS, now) else FIRST_PROBES


def sample(
    rows: Sequence[Sequence[int]],
    suspects: Sequence[Sequence[int]],
    helpers: Sequence[Sequence[int]],
    many: int,
    draw: Random,
) -> list[int]:
    """The places of so many items to check, or of all there are.

    ``rows`` has a row of counts for each counter, in one order of the items, ``suspects`` the places in each that
    are likely to be wrong, ``helpers`` rows of further counters. Each counter has a quota for each kind of items.
    """
    if not rows or not rows[0]:
        return []
    most = [max(counts) for counts in zip(*rows, *helpers, strict=True)]
    kinds = [
        _kinds(row, most, _drawn(each, many, draw), many, draw) for row, each in zip(rows, suspects, strict=True)
    ]
    turns = [(kind, (kind + shift) % len(rows)) for shift in range(len(rows)) for kind in range(len(kinds[0]))]
    wells = [kinds[row][kind] for kind, row in turns]
    found: dict[int, None] = {}
    while wells and len(found) < many:
        wells = [well for well in wells if _one_more(well, found, many)]
    return list(found)


def _one_more(well: Iterator[int], found: dict[int, None], many: int) -> bool:
    """Takes the next new place from a well; false where it has none left."""
    place = next((each for each in well if each not in found), None)
    if place is not None and len(found) < many:
        found[place] = None
    return place is not None


def _kinds(
    row: Sequence[int], most: Sequence[int], suspects: Sequence[int], many: int, draw: Random
) -> list[Iterator[int]]:
    """The places in a row by kind, so many of each at most, in the order in which they are to be taken.

    A ranking that is cut, or too low at its end, is wrong first about items that it does not list and that other
    rankings list high (``most`` is an item's highest count), and about those that it lists last. One that lags
    behind is wrong first about the items with the most events.
    """
    places = _drawn(range(len(row)), len(row), draw)
    places.sort(key=row.__getitem__)
    absent = row.count(0)
    listed = places[absent:]
    elsewhere = iter(nlargest(many, places[:absent], key=most.__getitem__))
    tied = [b for a, b in pairwise(listed) if row[a] == row[b]]
    return [
        iter(suspects),
        elsewhere,
        elsewhere,  # twice as many: here most mistakes are
        reversed(listed),
        iter([*listed[:1], *_drawn(listed[: max(1, len(listed) // 10)], many, draw)]),
        iter(_drawn(tied, many, draw)),
        iter(_drawn(places, many, draw)),
    ]


def _drawn(places: Sequence[int], many: int, draw: Random) -> list[int]:
    """So many of the places at most, shuffled."""
    return draw.sample(places, min(many, len(places)))


def is_between(first: int, told: int, second: int) -> bool:
    """Whether a number can be explained by a change between two rankings, the number told between them."""
    return min(first, second) <= told <= max(first, second)
