"""An asker whose service is a sandbox in this process, and what that service says of every item by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from random import Random
from typing import Any, TypeVar

from gateway.jobs.asking import Answered, Asker
from gateway.jobs.checks import Trust
from gateway.jobs.columns import ReportRequest, item_target
from gateway.jobs.report import UNKNOWN, Report, make
from gateway.sandbox import Habits
from gateway.sandbox.service import Service
from tests.sandbox.asking import TODAY, answer_of

T = TypeVar("T")
NOW = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC).timestamp()
COUNTERS = ("views", "downloads", "shares")


@dataclass
class Sandboxed(Asker):
    """Asks the sandbox; every call takes a second. Keeps answers only where it ``keeps`` them.

    ``days`` says from which call on it is which day; ``answers`` has those that stand in for the sandbox's.
    """

    habits: dict[str, Any]
    keeps: bool = False
    days: dict[int, date] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    steps: list[tuple[int, int, int]] = field(default_factory=list)
    interval = 1.0

    def __post_init__(self) -> None:
        self.today = TODAY
        self._kept: dict[str, Answered] = {}
        habits = Habits(**{"examples": False} | self.habits)
        self.service = Service(7, habits=habits, today=lambda: self.today)

    async def ask(self, target: str, *, since: float | None = None) -> Answered:
        kept = self._kept.get(target)
        if kept is not None and kept.at >= (since or 0):
            return Answered(target, kept.status, kept.at, "cached", kept.body)
        self.today = self.days.get(len(self.calls), self.today)
        self.calls.append(target)
        status, body = self.answers.get(target) or self._said(target)
        answered = Answered(target, status, NOW + len(self.calls), "call", body)
        if self.keeps:
            self._kept[target] = answered
        return answered

    async def stored(self, targets: Sequence[str]) -> list[Answered | None]:
        return [self._kept.get(target) for target in targets]

    async def apart(self, function: Callable[[], T]) -> T:
        return function()

    def progress(self, done: int, total: int, calls_left: int) -> None:
        self.steps.append((done, total, calls_left))

    def _said(self, target: str) -> tuple[int, bytes]:
        answer = answer_of(self.service, target)
        return answer.status, answer.body


def wish(many: int = 230, **fields: Any) -> ReportRequest:
    """A report on so many articles; the sandbox has fewer, and some of its are not published yet."""
    ids = tuple(range(1, many + 1))
    return ReportRequest(**{"institution": "lboro", "item": "article", "ids": ids, "counters": COUNTERS} | fields)


async def reported(asker: Sandboxed, request: ReportRequest, trust: Trust = Trust(), seed: int = 1) -> Report:  # noqa: B008
    """The report that the asker's service gives."""
    return await make(request, asker, NOW, draw=Random(seed), trust=trust)


def each_by_itself(service: Service, request: ReportRequest, ids: Sequence[int]) -> list[list[int]]:
    """The rows of the same report from what the service says of each item by itself; read without our code."""
    rows = []
    for counter in request.counters:
        said = [json.loads(answer_of(service, item_target(request, counter, id)).body) for id in ids]
        numbers = [each.get("timeline", {"total": each.get("totals", 0)}) or {} for each in said]
        rows += [[each.get(period.name, 0) for each in numbers] for period in request.periods()]
    return rows


def numbers(report: Report) -> list[list[int]]:
    """The rows of a report, all of which must be known."""
    assert all(UNKNOWN not in row for row in report.rows)
    return [list(row) for row in report.rows]
