"""Makes a report: fills its columns the way that its plan says, and says what each rests on."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random

from gateway.derivation.ranking import FIRST_COUNT, NotARanking, Row
from gateway.errors import Refusal
from gateway.jobs.asking import Answered, Asker
from gateway.jobs.checks import Difference, Trust
from gateway.jobs.columns import (
    MOST_CELLS,
    MOST_COLUMNS,
    MOST_ITEMS,
    Column,
    Method,
    Period,
    ReportRequest,
    item_target,
)
from gateway.jobs.desk import Desk, side_by_side
from gateway.jobs.planning import Plan, plan
from gateway.jobs.verify import Outcome, Verifier, fetch, numbers_in

UNKNOWN = -1
"""A cell that nothing could fill."""
LAST_ZONE = timedelta(hours=12)
"""A day is over everywhere so long after its end in UTC; the service's time zone is not known."""


class ReportImpossible(Refusal, status=409, code="GatewayReportImpossible"):
    """A report cannot be made as it was asked for; the message says why."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a column rests on.

    ``why`` says why it is not made of a ranking although that would be cheaper, and ``difference`` shows the
    numbers that did not agree. ``checked`` items by themselves agreed with the ranking. ``oldest`` and ``newest``
    are when the service gave the answers, in Unix seconds; None where it gave none. ``partial``: the period may
    not be over yet.
    """

    column: Column
    method: Method
    why: str
    difference: Difference | None
    checked: int
    oldest: float | None
    newest: float | None
    partial: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A report. ``rows`` has for each column the numbers of all items, UNKNOWN where there is none; ``failures``
    says why by item. ``trust`` is for the next report on the same items with the same credential."""

    request: ReportRequest
    made: float
    ids: Sequence[int]
    columns: list[Basis]
    rows: list[Row]
    failures: Mapping[int, str]
    trust: Trust


async def make(
    request: ReportRequest,
    asker: Asker,
    now: float,
    *,
    draw: Random,
    trust: Trust = Trust(),  # noqa: B008 (never changes)
    planned: Plan | None = None,
) -> Report:
    """The report that was asked for, ``now`` in Unix seconds.

    ``draw`` chooses what is checked, ``trust`` is what earlier reports found, ``planned`` the plan that was shown.
    With the same of each, and the same answers, the same is asked and reported again. Raises ReportImpossible, and
    what the asker raises.
    """
    chosen = planned or await plan(request, asker, trust, now)
    ranked = [choice for choice in chosen.choices if choice.method == "ranking"]
    desk = Desk(asker)
    desk.foresee(sum(choice.best for choice in ranked))
    ids = await _items(request, desk, trust) if request.ids is None else request.ids
    check_size(request, ids)
    verifier = Verifier(desk, request, ids, trust, now)
    outcomes = await verifier.verify([choice.counter for choice in ranked], draw)
    singly = Singly(desk, request, ids)
    missing = [each for each in request.counters if each not in outcomes or outcomes[each].why]
    if request.method != "ranking":
        await singly.fill(missing)
    elif missing:
        singly.leave_out(missing)
    columns, rows = await desk.apart(lambda: _columns(request, outcomes, singly, now))
    left = trust.after(now, verifier.passed, verifier.failed, verifier.places)
    return Report(request, now, ids, columns, rows, singly.failures, left)


async def _items(request: ReportRequest, desk: Desk, trust: Trust) -> tuple[int, ...]:
    """All items that the rankings of the report's window list, in the order of their ids."""
    found: set[int] = set()

    async def add(counter: str) -> None:
        column = Column(counter, request.window)
        ranking, _, _ = await fetch(desk, request, column, trust.count or FIRST_COUNT)
        found.update(ranking.ids)

    try:
        await side_by_side(request.counters, add)
    except NotARanking as error:
        raise ReportImpossible(f"the items cannot be listed: {error}") from None
    return await desk.apart(lambda: tuple(sorted(found)))


def check_size(request: ReportRequest, ids: Sequence[int]) -> None:
    """Raises ReportImpossible for more than a report may hold."""
    columns = len(request.counters) * request.many_periods
    if columns > MOST_COLUMNS:
        raise ReportImpossible(f"the report would have {columns} columns, and at most {MOST_COLUMNS} are possible")
    if len(ids) > MOST_ITEMS:
        raise ReportImpossible(f"there are {len(ids)} items, and a report has at most {MOST_ITEMS}")
    cells = len(ids) * columns
    if cells > MOST_CELLS:
        raise ReportImpossible(f"the report would have {cells} numbers, and at most {MOST_CELLS} are possible")


@dataclass
class Filled:
    """A counter's columns out of answers about each item by itself; ``called``: some were not stored."""

    rows: list[Row]
    oldest: float | None = None
    newest: float | None = None
    called: bool = False

    def note(self, answered: Answered) -> None:
        """Counts an answer's age."""
        self.oldest = answered.at if self.oldest is None else min(self.oldest, answered.at)
        self.newest = answered.at if self.newest is None else max(self.newest, answered.at)
        self.called = self.called or answered.how != "cached"


@dataclass
class Singly:
    """Fills columns by asking for each item by itself."""

    desk: Desk
    request: ReportRequest
    ids: Sequence[int]
    filled: dict[str, Filled] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    async def fill(self, counters: Sequence[str]) -> None:
        """Fills the columns of these counters; an item without an answer is among the failures."""
        self.desk.foresee(len(counters) * len(self.ids))
        for counter in counters:
            await self._fill(counter)

    def leave_out(self, counters: Sequence[str]) -> None:
        """Notes that the columns of these counters have no numbers, as their rankings are not used."""
        reason = "; ".join(f"{each}: its ranking is not used" for each in counters)
        self.failures.update(dict.fromkeys(self.ids, reason))

    async def _fill(self, counter: str) -> None:
        periods = self.request.periods()
        filled = self.filled[counter] = Filled([array("q", [UNKNOWN]) * len(self.ids) for _ in periods])

        def take(place: int, answered: Answered) -> None:
            numbers = numbers_in(self.request, answered)
            if isinstance(numbers, str):
                self._fail(self.ids[place], f"{counter}: {numbers}")
                return
            filled.note(answered)
            for row, period in zip(filled.rows, periods, strict=True):
                row[place] = numbers.get(period.name, 0)

        await self.desk.ask_all((item_target(self.request, counter, id) for id in self.ids), take)

    def _fail(self, id: int, reason: str) -> None:
        before = self.failures.get(id)
        self.failures[id] = reason if before is None else f"{before}; {reason}"


def _columns(
    request: ReportRequest, outcomes: Mapping[str, Outcome], singly: Singly, now: float
) -> tuple[list[Basis], list[Row]]:
    """What each column rests on, and its numbers, in the order of the report."""
    bases, rows = [], []
    for counter in request.counters:
        outcome = outcomes.get(counter, Outcome())
        for place, column in enumerate(request.columns(counter)):
            basis, row = _column(column, place, outcome, singly, now)
            bases.append(basis)
            rows.append(row)
    return bases, rows


def _column(column: Column, place: int, outcome: Outcome, singly: Singly, now: float) -> tuple[Basis, Row]:
    partial = is_partial(column.period, now)
    if outcome.ranked and not outcome.why:
        ranked = outcome.ranked[place]
        at = ranked.at
        return Basis(column, "ranking", "", None, outcome.checked, at, at, partial), ranked.row
    filled = singly.filled.get(column.counter)
    if filled is None:
        row = array("q", [UNKNOWN]) * len(singly.ids)
        return Basis(column, "ranking", outcome.why, outcome.difference, 0, None, None, partial), row
    method: Method = "each" if filled.called else "stored"
    ages = filled.oldest, filled.newest
    return Basis(column, method, outcome.why, outcome.difference, 0, *ages, partial), filled.rows[place]


def is_partial(period: Period, now: float) -> bool:
    """Whether a period may not be over yet, in whatever time zone the service counts days."""
    if period.last is None:
        return False
    if period.last == date.max:
        return True
    end = datetime.combine(period.last + timedelta(1), datetime.min.time(), UTC)
    return now < (end + LAST_ZONE).timestamp()
