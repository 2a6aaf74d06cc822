"""Rankings that were checked: each is compared with what the service says of sampled items by themselves."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from heapq import nlargest
from random import Random
from typing import NamedTuple

import msgspec

from gateway.derivation.ranking import FIRST_COUNT, NotARanking, Ranking, Row, decode, more_than
from gateway.jobs.asking import Answered
from gateway.jobs.checks import (
    FIRST_SAMPLES,
    OVERVIEWS,
    SPARES,
    Difference,
    Trust,
    helpers_of,
    is_between,
    probes_of,
    sample,
    samples_of,
)
from gateway.jobs.columns import (
    Column,
    ReportRequest,
    Unreadable,
    item_numbers,
    item_target,
    overview_numbers,
    overview_target,
    ranking_target,
)
from gateway.jobs.desk import Desk, side_by_side

LOOKED_AT, LOOKED_UP = 1_000, 64
"""Items of a counter whose stored answers are compared with its ranking, and how many are looked up at once."""


class Ranked(NamedTuple):
    """A column out of a ranking: when the service said it, and how many places were asked for."""

    row: Row
    at: float
    places: int


class Told(NamedTuple):
    """What the service says of an item by itself, by the names of the periods, and when."""

    numbers: Mapping[str, int]
    at: float


class Outcome(msgspec.Struct):
    """A counter's columns out of rankings, or why none may be used; ``checked`` items by themselves agreed."""

    ranked: list[Ranked] = []
    checked: int = 0
    why: str = ""
    difference: Difference | None = None


async def fetch(
    desk: Desk, request: ReportRequest, column: Column, places: int, since: float | None = None
) -> tuple[Ranking, Answered, int]:
    """The complete ranking for a column, with its answer and the places that it took. Raises NotARanking."""
    while True:
        answered = await desk.ask(ranking_target(request, column, places), since)
        if answered.status != 200:
            raise NotARanking(f"the ranking of {column.counter} was answered {answered.status}")
        ranking = await desk.apart(partial(decode, answered.body))
        if ranking.is_complete(places):
            return ranking, answered, places
        more = more_than(places)
        if more is None:
            raise NotARanking(f"the ranking of {column.counter} has more than {places} places")
        places = more


class Verifier:
    """Fills the columns of a report's counters from rankings, where these pass their checks.

    ``passed`` and ``failed`` are the subjects of the checks so far; ``places`` is how many the rankings needed.
    """

    def __init__(self, desk: Desk, request: ReportRequest, ids: Sequence[int], trust: Trust, now: float) -> None:
        self._desk = desk
        self._request = request
        self._ids = ids
        self._trust = trust
        self._now = now
        self._many = 0
        self.places = trust.count or FIRST_COUNT
        self.passed: list[str] = []
        self.failed: list[str] = []

    async def verify(self, counters: Sequence[str], draw: Random) -> dict[str, Outcome]:
        """The outcome for each counter; ``draw`` chooses the samples."""
        outcomes = {counter: await self._ranked(counter) for counter in counters}
        usable = [counter for counter in counters if not outcomes[counter].why]
        if usable:
            told = await self._samples(usable, outcomes, draw)
            for counter in usable:
                outcomes[counter] = await self._judge(counter, outcomes[counter].ranked, told[counter])
        _doubt(outcomes)
        for counter, outcome in outcomes.items():
            (self.failed if outcome.why else self.passed).append(self._request.subject(counter))
        return outcomes

    async def _ranked(self, counter: str) -> Outcome:
        """A counter's rankings; the first one tells how many places the others need."""
        columns = self._request.columns(counter)
        found: dict[int, Ranked] = {}

        async def one(numbered: tuple[int, Column]) -> None:
            found[numbered[0]] = await self._rank(numbered[1])

        try:
            await one((0, columns[0]))
            self.places = found[0].places
            await side_by_side([*enumerate(columns)][1:], one)
        except NotARanking as error:
            return Outcome(why=str(error))
        return Outcome([found[place] for place in range(len(columns))])

    async def _rank(self, column: Column, since: float | None = None) -> Ranked:
        ranking, answered, places = await fetch(self._desk, self._request, column, self.places, since)
        row = await self._desk.apart(lambda: ranking.row(self._ids))
        return Ranked(row, answered.at, places)

    async def _samples(
        self, counters: Sequence[str], outcomes: Mapping[str, Outcome], draw: Random
    ) -> dict[str, dict[int, Told]]:
        """What the service says of sampled items by themselves, by counter and place; never older than the
        rankings. Spare samples stand in for those without an answer."""
        rankings = [outcomes[counter].ranked for counter in counters]
        since = max(each.at for ranked in rankings for each in ranked)
        rows = [await self._desk.apart(partial(_summed, ranked)) for ranked in rankings]
        suspects = [await self._suspects(counter, row) for counter, row in zip(counters, rows, strict=True)]
        many = self._many = samples_of(self._request, counters, self._trust, self._now, len(self._ids))
        helpers = [await self._helping(each) for each in helpers_of(self._request, many, len(self._ids))]
        drawn = await self._desk.apart(lambda: sample(rows, suspects, helpers, many + SPARES, draw))
        places, spares = drawn[:many], drawn[many:]
        told = await self._tell(counters, places, rows, since)
        lacking = max(len(places) - len(told[counter]) for counter in counters)
        if lacking:
            for counter, more in (await self._tell_each(counters, spares[:lacking], since)).items():
                told[counter] |= more
        return told

    async def _suspects(self, counter: str, row: Row) -> list[int]:
        """The places that are likely to be wrong: those whose stored answers have another number, and those whose
        columns do not add up to the ranking of the whole window. What moved meanwhile is among them."""
        found = await self._unlike_stored(counter, row)
        if self._request.many_periods > 1:
            whole = await self._helping(counter)
            found += await self._desk.apart(partial(_unlike, whole, row))
        return found

    async def _unlike_stored(self, counter: str, row: Row) -> list[int]:
        """The places, of those with the most events, whose stored answers have another number. They may be older
        than the ranking, and prove nothing by themselves."""
        most = await self._desk.apart(lambda: nlargest(LOOKED_AT, range(len(row)), key=row.__getitem__))
        found: list[int] = []
        for first in range(0, len(most), LOOKED_UP):
            places = most[first : first + LOOKED_UP]
            targets = [item_target(self._request, counter, self._ids[place]) for place in places]
            for place, answered in zip(places, await self._desk.stored(targets), strict=True):
                numbers = "not stored" if answered is None else numbers_in(self._request, answered)
                if isinstance(numbers, dict) and sum(numbers.values()) != row[place]:
                    found.append(place)
        return found

    async def _helping(self, counter: str) -> Row:
        """The ranking of the whole window, which is no column and only helps to choose; nothing where it cannot be
        used."""
        try:
            return (await self._rank(Column(counter, self._request.window))).row
        except NotARanking:
            return array("q", bytes(8 * len(self._ids)))

    async def _tell(
        self, counters: Sequence[str], places: Sequence[int], rows: Sequence[Row], since: float
    ) -> dict[str, dict[int, Told]]:
        """By overviews where these have all counters and agree with the totals of the first few; else singly."""
        if self._request.is_dated or len(counters) == 1:
            return await self._tell_each(counters, places, since)
        many = probes_of(self._trust, self._now)
        ordered = sorted(places, key=lambda place: min(row[place] for row in rows), reverse=True)
        probes, rest = ordered[:many], ordered[many:]
        first = await self._tell_by_overview(counters, probes, since)
        told = await self._tell_each(counters, probes, since)
        agree = await self._overviews_agree(counters, probes, first, told)
        (self.passed if agree else self.failed).append(OVERVIEWS)
        tell = self._tell_by_overview if agree else self._tell_each
        more = await tell(counters, rest, since)
        return {counter: told[counter] | more[counter] for counter in counters}

    async def _overviews_agree(
        self,
        counters: Sequence[str],
        probes: Sequence[int],
        first: Mapping[str, Mapping[int, Told]],
        told: Mapping[str, Mapping[int, Told]],
    ) -> bool:
        """Whether the totals are those of the overviews; what moved meanwhile is between two of these."""
        if not all(probe in first[counter] and probe in told[counter] for probe in probes for counter in counters):
            return False
        for probe in probes:
            pairs = {counter: (first[counter][probe], told[counter][probe]) for counter in counters}
            if all(overview.numbers == single.numbers for overview, single in pairs.values()):
                continue
            since = max(single.at for _, single in pairs.values())
            second = await self._tell_by_overview(counters, [probe], since)
            for counter, (overview, single) in pairs.items():
                after = second[counter].get(probe)
                if after is None or not is_between(_total(overview), _total(single), _total(after)):
                    return False
        return True

    async def _tell_each(
        self, counters: Sequence[str], places: Sequence[int], since: float
    ) -> dict[str, dict[int, Told]]:
        asked = [(counter, place) for place in places for counter in counters]
        told: dict[str, dict[int, Told]] = {counter: {} for counter in counters}

        def take(number: int, answered: Answered) -> None:
            counter, place = asked[number]
            numbers = numbers_in(self._request, answered)
            if isinstance(numbers, dict):
                told[counter][place] = Told(numbers, answered.at)

        targets = [item_target(self._request, counter, self._ids[place]) for counter, place in asked]
        await self._desk.ask_all(targets, take, since)
        return told

    async def _tell_by_overview(
        self, counters: Sequence[str], places: Sequence[int], since: float
    ) -> dict[str, dict[int, Told]]:
        told: dict[str, dict[int, Told]] = {counter: {} for counter in counters}

        def take(number: int, answered: Answered) -> None:
            if answered.status != 200:
                return
            try:
                numbers = overview_numbers(answered.body, counters)
            except Unreadable:
                return
            for counter, total in numbers.items():
                told[counter][places[number]] = Told({"total": total}, answered.at)

        targets = [overview_target(self._request, self._ids[place]) for place in places]
        await self._desk.ask_all(targets, take, since)
        return told

    async def _judge(self, counter: str, ranked: list[Ranked], told: Mapping[int, Told]) -> Outcome:
        """Compares every column with every sample. Where one differs, a second ranking shows whether the number
        moved meanwhile; that ranking is then the column."""
        items = len(self._ids)
        if len(told) < min(self._many, items, max(FIRST_SAMPLES, items - SPARES)):
            return Outcome(why=f"only {len(told)} of the items to check were answered")
        columns = self._request.columns(counter)
        for number in await self._desk.apart(partial(_differing, columns, ranked, told)):
            column, row = columns[number], ranked[number].row
            name = column.period.name
            try:
                later = await self._rank(column, since=max(each.at for each in told.values()))
            except NotARanking as error:
                return Outcome(why=str(error))
            for place, each in told.items():
                single = each.numbers.get(name, 0)
                if not is_between(row[place], single, later.row[place]):
                    difference = Difference(self._ids[place], name, later.row[place], single)
                    return Outcome(why="an item by itself has another number", difference=difference)
            ranked[number] = later
        return Outcome(ranked, checked=len(told))


def _doubt(outcomes: dict[str, Outcome]) -> None:
    """Where one counter's ranking was wrong about an item, none is used: whatever cuts a ranking or lets it lag
    behind does so to the others, where it may concern fewer items than a sample finds."""
    wrong = next((counter for counter, outcome in outcomes.items() if outcome.difference), None)
    if wrong is None:
        return
    for counter, outcome in outcomes.items():
        if not outcome.why:
            outcomes[counter] = Outcome(why=f"the ranking of {wrong} has another number than an item by itself")


def numbers_in(request: ReportRequest, answered: Answered) -> dict[str, int] | str:
    """The numbers in an answer about an item by itself, or why there are none."""
    if answered.status != 200:
        return f"answered {answered.status}"
    try:
        return item_numbers(request, answered.body)
    except Unreadable as error:
        return str(error)


def _differing(columns: Sequence[Column], ranked: Sequence[Ranked], told: Mapping[int, Told]) -> list[int]:
    """The places of the columns in which some item by itself has another number."""
    return [
        number
        for number, (column, (row, *_)) in enumerate(zip(columns, ranked, strict=True))
        if any(each.numbers.get(column.period.name, 0) != row[place] for place, each in told.items())
    ]


def _summed(ranked: Sequence[Ranked]) -> Row:
    # Never in one call of many milliseconds, during which no other thread, and no event loop, goes on.
    return array("q", [sum(counts) for counts in zip(*[each.row for each in ranked], strict=True)])


def _unlike(one: Row, other: Row) -> list[int]:
    return [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def _total(told: Told) -> int:
    return told.numbers.get("total", 0)
