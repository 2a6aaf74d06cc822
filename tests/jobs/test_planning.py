"""Plans of reports: what they cost at best and at worst, before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from random import Random
from typing import Any

import msgspec
import pytest

from gateway.jobs import planning
from gateway.jobs.asking import Answered
from gateway.jobs.checks import FIRST_SAMPLES, Trust, sample
from gateway.jobs.columns import ranking_target
from gateway.jobs.planning import Plan, plan
from gateway.jobs.request import Order
from tests.jobs.sandboxed import NOW, Sandboxed, reported, wish

MONTHS: dict[str, Any] = {"by": "month", "first": date(2015, 4, 1), "last": date(2016, 3, 31)}
TRUSTED = Trust(dict.fromkeys(["views", "downloads", "shares", "overviews"], NOW - 86_400), 10_000)


@pytest.mark.parametrize(
    ("fields", "trust"),
    [({}, Trust()), ({}, TRUSTED), (MONTHS, Trust()), ({"counters": ("views",)}, Trust()),
     ({"counters": ("views", "shares")}, Trust()), ({"counters": ("views",)} | MONTHS, Trust()),
     ({"many": 50}, Trust()),
     ({"method": "each"}, Trust()), ({"many": 4}, Trust()), ({"many": 4} | MONTHS, Trust()),
     ({"ids": None}, Trust()), ({"ids": None} | MONTHS, Trust())],
    ids=["totals", "trusted", "months", "one", "two", "one-months", "fifty", "each", "few", "few-months",
         "all", "all-months"],
)  # fmt: skip
async def test_the_best_case_is_what_a_service_without_surprises_takes(
    fields: dict[str, Any], trust: Trust
) -> None:
    asker, request = Sandboxed({"items": 200}, keeps=True), wish(**fields)
    found = await plan(request, asker, trust, NOW)
    assert asker.calls == []
    assert found.best_seconds == found.best * asker.interval
    await reported(asker, request, trust)
    assert len(asker.calls) == found.best


@pytest.mark.parametrize("fields", [{}, MONTHS, {"method": "ranking"}], ids=["totals", "months", "ranking"])
@pytest.mark.parametrize("habits", [{"top_error": 0.1}, {"count_limit": 20}, {"lag": 400}], ids=str)
async def test_the_worst_case_is_never_exceeded(fields: dict[str, Any], habits: dict[str, Any]) -> None:
    asker, request = Sandboxed({"items": 200} | habits), wish(**fields)
    found = await plan(request, asker, Trust(), NOW)
    await reported(asker, request)
    assert found.worst is not None
    assert found.best <= len(asker.calls) <= found.worst


async def test_the_worst_case_of_all_items_is_unknown() -> None:
    found = await plan(wish(ids=None), Sandboxed({}), Trust(), NOW)
    assert (found.worst, found.worst_seconds) == (None, None)


async def test_targets_are_made_as_they_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def making(*words: Any) -> str:
        made.append(ranking_target(*words))
        return made[-1]

    class Counting(Sandboxed):
        async def stored(self, targets: Sequence[str]) -> list[Answered | None]:
            behind.append(len(made) - len(targets) * len(behind))
            return await super().stored(targets)

    behind: list[int] = []
    monkeypatch.setattr(planning, "ranking_target", making)
    days = wish(ids=None, counters=("views",), by="day", first=date(2015, 1, 1), last=date(2016, 3, 31))
    await plan(days, Counting({}), Trust(), NOW)
    assert behind[:3] == [planning.LOOKED_UP] * 3


async def test_stored_rankings_and_items_cost_nothing() -> None:
    asker, request = Sandboxed({"items": 200}, keeps=True), wish(**MONTHS)
    first = await plan(request, asker, Trust(), NOW)
    report = await reported(asker, request)
    again = await plan(request, asker, report.trust, NOW)
    assert (first.best, again.best) == (3 * 12 + 3 + 3 * FIRST_SAMPLES, 3 + 3 * 3)
    for counter in request.counters:
        await reported(asker, wish(counters=(counter,), method="each", **MONTHS))
    stored = await plan(request, asker, Trust(), NOW)
    assert [(choice.method, choice.best) for choice in stored.choices] == [("stored", 0)] * 3


def test_trust_ends() -> None:
    assert TRUSTED.has("views", NOW)
    assert not TRUSTED.has("views", NOW + 30 * 86_400)
    assert not TRUSTED.has("views dated", NOW)


def test_what_a_job_keeps_of_a_report_is_read_back() -> None:
    kept: list[Any] = [Order(wish(3, **MONTHS), 50, notes=("a",)), TRUSTED, Plan((), 1, None, 1.0, None)]
    for each in kept:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(each), type=type(each)) == each


def test_samples_have_quotas_for_every_counter() -> None:
    draw = Random(3)
    rows = [[0] * 40 + [draw.randrange(1, 9) for _ in range(160)], [7] * 60 + [0] * 60 + list(range(5, 85))]
    found = sample(rows, [[50], []], [], 20, Random(1))
    assert len(set(found)) == 20
    assert 50 in found
    for row in rows:
        counts = [row[place] for place in found]
        assert counts.count(0) >= 2
        assert {min(filter(None, row)), max(row)} <= set(counts)
    assert any(rows[0][place] == 0 and rows[1][place] for place in found)


@pytest.mark.parametrize("many", [3, 20])
def test_what_only_another_ranking_lists_and_what_has_most_events_is_always_checked(many: int) -> None:
    listed = [0] * 900 + list(range(1, 101))
    helper = [place % 7 for place in range(1_000)]
    helper[123] = 9
    for seed in range(10):
        found = sample([listed], [[]], [helper], many, Random(seed))
        assert {123, 999} <= set(found)


@pytest.mark.parametrize("many", [1, 3, 19])
def test_samples_are_at_most_all_items(many: int) -> None:
    assert sorted(sample([list(range(many))], [[]], [], 20, Random(1))) == list(range(many))
    assert sample([[]], [[]], [], 20, Random(1)) == []
