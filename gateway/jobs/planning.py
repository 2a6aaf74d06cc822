"""Plans a report: the cheapest way to fill each counter's columns, and what that costs. It asks for nothing."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from gateway.derivation.ranking import FIRST_COUNT, MOST_GROWTHS
from gateway.jobs.asking import Stock
from gateway.jobs.checks import Trust, helpers_of, probes_of, samples_of
from gateway.jobs.columns import Method, ReportRequest, item_target, ranking_target

LOOKED_UP = 64
"""How many stored answers are looked for at once."""


class Choice(msgspec.Struct, frozen=True):
    """How a counter's columns are to be filled, and the calls that it takes at best and at worst.

    At worst is None where that rests on how many items there are, which only the rankings tell.
    """

    counter: str
    method: Method
    best: int
    worst: int | None


class Plan(msgspec.Struct, frozen=True):
    """What a report costs: calls at best and at worst, and the seconds that they take at the budget."""

    choices: tuple[Choice, ...]
    best: int
    worst: int | None
    best_seconds: float
    worst_seconds: float | None


class Checking(msgspec.Struct, frozen=True):
    """The calls that check a report's rankings: at best, where overviews agree with totals, and at worst."""

    best: int
    worst: int

    def share(self, place: int, many: int) -> Checking:
        """The part of one of so many counters."""
        return Checking(self.best // many + (place < self.best % many), self.worst // many + 1)

    def fair(self, many: int) -> int:
        """The part at best by which each of so many counters is judged alike."""
        return -(-self.best // many)


def checking(request: ReportRequest, trust: Trust, now: float) -> Checking:
    """What it costs to check the rankings of a report's counters."""
    counters, items = request.counters, None if request.ids is None else len(request.ids)
    many = samples_of(request, counters, trust, now, items)
    helpers = len(helpers_of(request, many, items))
    singly = many * len(counters) + helpers
    if request.is_dated or len(counters) == 1:
        sums = len(counters) if request.many_periods > 1 else 0
        return Checking(singly + sums, singly + sums)
    probes = probes_of(trust, now)
    return Checking(min(many + probes * len(counters) + helpers, singly), singly + 2 * probes)


def choose(request: ReportRequest, place: int, rankings: int, checking: Checking, items: int | None) -> Choice:
    """The cheapest way to fill the columns of the counter at a place. ``rankings`` and ``items`` are those that
    are not stored, of items None where it is unknown which there are."""
    counter, many = request.counters[place], len(request.counters)
    checks, cheap = checking.share(place, many), items is not None and items <= rankings + checking.fair(many)
    if request.method == "each" or (request.method == "auto" and cheap):
        return Choice(counter, "stored" if items == 0 else "each", items or 0, items)
    best, worst = rankings + checks.best, 2 * rankings + checks.worst + MOST_GROWTHS
    if request.method == "auto":
        return Choice(counter, "ranking", best, None if request.ids is None else worst + len(request.ids))
    return Choice(counter, "ranking", best, worst)


async def plan(request: ReportRequest, asker: Stock, trust: Trust, now: float) -> Plan:
    """The plan for a report, from what is stored. It spends nothing."""
    checks, many = checking(request, trust, now), len(request.counters)
    choices = [await _choice(request, place, asker, trust, checks) for place in range(many)]
    # Where rankings are asked for anyway, those that list the items are among them.
    listing = many if request.ids is None and request.method == "each" else 0
    best = listing + sum(choice.best for choice in choices)
    known = [choice.worst for choice in choices if choice.worst is not None]
    worst = listing + sum(known) if len(known) == many else None
    seconds = None if worst is None else worst * asker.interval
    return Plan(tuple(choices), best, worst, best * asker.interval, seconds)


async def _choice(request: ReportRequest, place: int, asker: Stock, trust: Trust, checks: Checking) -> Choice:
    counter, places = request.counters[place], trust.count or FIRST_COUNT
    columns = request.columns(counter)  # thousands at most; their targets are made a few at a time
    rankings = await _missing(asker, (ranking_target(request, each, places) for each in columns), len(columns))
    if request.ids is None:
        return choose(request, place, rankings, checks, None)
    most = len(request.ids) if request.method == "each" else rankings + checks.fair(len(request.counters))
    items = await _missing(asker, (item_target(request, counter, id) for id in request.ids), most)
    return choose(request, place, rankings, checks, items)


async def _missing(asker: Stock, targets: Iterable[str], most: int) -> int:
    """How many of the targets are not stored; stops to count where there are more than ``most``."""
    missing, left = 0, iter(targets)
    while missing <= most and (some := [*islice(left, LOOKED_UP)]):
        missing += (await asker.stored(some)).count(None)
    return missing
