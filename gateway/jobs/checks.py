"""Checks of rankings: which items to ask for by themselves, and what their answers prove. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random

import msgspec

from gateway.jobs.columns import ReportRequest

FIRST_SAMPLES, LATER_SAMPLES = 20, 3
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


def samples_of(request: ReportRequest, counters: Sequence[str], trust: Trust, now: float) -> int:
    """How many items to check: few where all of these counters' rankings have earned that."""
    trusted = all(trust.has(request.subject(counter), now) for counter in counters)
    return LATER_SAMPLES if trusted else FIRST_SAMPLES


def probes_of(trust: Trust, now: float) -> int:
    """How many items to ask for both as an overview and as totals."""
    return LATER_PROBES if trust.has(OVERVIEWS, now) else FIRST_PROBES


def sample(rows: Sequence[Sequence[int]], suspects: Sequence[Sequence[int]], many: int, draw: Random) -> list[int]:
    """The places of so many items to check, or of all there are.

    ``rows`` has a row of counts for each counter, in one order of the items, ``suspects`` the places in each that
    are likely to be wrong. These, the smallest, the absent, the largest and the tied have a quota each for every
    counter: a ranking that is cut or estimated is wrong at its end first.
    """
    kinds = [[_shuffled(each, draw), *_kinds(rows, row, draw)] for row, each in zip(rows, suspects, strict=True)]
    turns = [(kind, (kind + shift) % len(rows)) for shift in range(len(rows)) for kind in range(KINDS)]
    wells = [iter(kinds[row][kind]) for kind, row in turns]
    found: dict[int, None] = {}
    while wells and len(found) < many:
        wells = [well for well in wells if _one_more(well, found, many)]
    return list(found)


KINDS = 6


def _one_more(well: Iterator[int], found: dict[int, None], many: int) -> bool:
    """Takes the next new place from a well; false where it has none left."""
    place = next((each for each in well if each not in found), None)
    if place is not None and len(found) < many:
        found[place] = None
    return place is not None


def _kinds(rows: Sequence[Sequence[int]], row: Sequence[int], draw: Random) -> list[list[int]]:
    """The places in a row by kind, each in the order in which they are to be taken: the smallest, the absent, the
    largest, the tied, and any."""
    places = sorted(range(len(row)), key=row.__getitem__)
    absent = [place for place in places if not row[place]]
    listed = places[len(absent) :]
    tenth = max(1, len(listed) // 10)
    elsewhere = max(absent, key=lambda place: max(each[place] for each in rows), default=None)
    tied = [b for a, b in pairwise(listed) if row[a] == row[b]]
    return [
        [*listed[:1], *_shuffled(listed[:tenth], draw)],
        [*([] if elsewhere is None else [elsewhere]), *_shuffled(absent, draw)],
        [*listed[-1:], *_shuffled(listed[-tenth:], draw)],
        _shuffled(tied, draw),
        _shuffled(places, draw),
    ]


def _shuffled(places: Sequence[int], draw: Random) -> list[int]:
    return draw.sample(places, len(places))


def is_between(first: int, told: int, second: int) -> bool:
    """Whether a number can be explained by a change between two rankings, the number told between them."""
    return min(first, second) <= told <= max(first, second)
