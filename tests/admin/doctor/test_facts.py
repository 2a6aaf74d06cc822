"""Facts found out from answers: each habit of the sandbox changes those that are about it, and no other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from gateway.admin.doctor.facts import INQUIRIES, Fact, facts_of, price, probes_of
from gateway.admin.doctor.memory import Memory, memory_of
from gateway.admin.doctor.probes import Aims, Probe, Replies, Reply, Service, absent_ids, aims_of, first_probes
from gateway.sandbox.service import Service as Sandbox
from tests.sandbox.asking import answer_of, service

pytestmark = pytest.mark.quick

TODAY = date(2026, 3, 15)
ITEMS = 500
START = Aims(Service("lboro"), TODAY)


def asked(sandbox: Sandbox, probes: Iterable[Probe], today: date = TODAY) -> dict[Probe, Reply]:
    noon = datetime(today.year, today.month, today.day, 12, tzinfo=UTC).timestamp()
    return {probe: Reply(*_answer(sandbox, probe), noon) for probe in probes}


def _answer(sandbox: Sandbox, probe: Probe) -> tuple[int, bytes]:
    path, _, query = probe.target.partition("?")
    answer = sandbox.answer("GET", path, query, None) if probe.public else answer_of(sandbox, probe.target)
    return answer.status, answer.body


def survey(ahead: int = 0, today: date = TODAY, **habits: Any) -> tuple[Aims, dict[Probe, Reply]]:
    """All answers of a sandbox whose day is so many ahead of UTC's."""
    sandbox = service(today=today + timedelta(ahead), **{"items": ITEMS} | habits)
    start = Aims(START.service, today)
    first = asked(sandbox, first_probes(start), today)
    aims = aims_of(start, Replies(first))
    return aims, first | asked(sandbox, (each for each in probes_of(aims) if each not in first), today)


def by_name(facts: Iterable[Fact]) -> dict[str, Fact]:
    return {fact.name: fact for fact in facts}


@pytest.fixture(scope="module")
def usual() -> tuple[Aims, dict[Probe, Reply]]:
    """The sandbox as it is without switches."""
    return survey()


def found(surveyed: tuple[Aims, dict[Probe, Reply]], earlier: Memory | None = None) -> dict[str, Fact]:
    aims, replies = surveyed
    return by_name(facts_of(aims, Replies(replies), earlier))


def test_every_fact_of_the_sandbox_is_found_and_is_as_documented(usual: tuple[Aims, dict[Probe, Reply]]) -> None:
    facts = found(usual)
    assert [name for name, fact in facts.items() if not fact.found] == ["day.past"]
    assert [name for name, fact in facts.items() if fact.holds is False] == []
    assert {name: facts[name].found for name in ("order.tops", "sums.cut", "pair.protected", "tops.count")} == {
        "order.tops": "the highest first",
        "sums.cut": "the days of the window only",
        "pair.protected": "refused without it",
        "tops.count": "all are listed",
    }
    assert facts["default.day"].found == "the month so far"
    assert facts["day.newest"].found == "between UTC-12.0 and UTC+12.0 hours"


@pytest.mark.parametrize(
    ("habits", "changed"),
    [
        ({"order": "time"}, {"order.tops": "by id"}),
        (
            {"order": "arbitrary"},
            dict.fromkeys(("order.timelines", "order.tops", "order.breakdowns"), "in no one order"),
        ),
        (
            {"count_limit": 50},
            {"tops.count": "at most 50 are listed, and there are more", "tops.absent": "5 of 5 have counts"},
        ),
        ({"top_error": 0.2}, dict.fromkeys(("tops.listed", "tops.groups"), "different")),
        (
            {"lag": 2},
            {
                **dict.fromkeys(("sums.totals", "tops.listed", "tops.groups"), "different"),
                "day.newest": "days are counted late",
            },
        ),
        ({"ahead": 1}, {"day.newest": "between UTC+12.0 and UTC+14.0 hours"}),
        ({"revise": 0.1}, {}),
        ({"empty": "null"}, {"empty.breakdowns": '{"breakdown": null}', "empty.tops": '{"top": null}'}),
        ({"empty": "{}"}, {"empty.timelines": '{"timeline": {}}'}),
        ({"items": ITEMS + 100}, {}),
    ],
    ids=str,
)
def test_a_habit_changes_the_facts_that_are_about_it(
    usual: tuple[Aims, dict[Probe, Reply]], habits: dict[str, Any], changed: dict[str, str]
) -> None:
    before, after = found(usual), found(survey(**habits))
    assert {name: fact.found for name, fact in after.items() if fact.found != before[name].found} == changed


@pytest.mark.parametrize(("revise", "says"), [(0.0, "they do not"), (0.1, "they do")])
def test_a_second_run_sees_whether_past_days_change(revise: float, says: str) -> None:
    aims, replies = survey(revise=revise)
    earlier = memory_of(aims, Replies(replies))
    past = found(survey(today=TODAY + timedelta(7), revise=revise), earlier)["day.past"]
    assert (past.found, past.holds) == (says, revise == 0)


def test_the_price_is_what_is_asked(usual: tuple[Aims, dict[Probe, Reply]]) -> None:
    aims, replies = usual
    assert price(START.service, TODAY) == len(replies) == len(probes_of(aims)) <= 70
    assert probes_of(aims)[-1].target.endswith("count=100000")


def test_where_nothing_was_answered_nothing_is_claimed(usual: tuple[Aims, dict[Probe, Reply]]) -> None:
    """Without any answer, with errors only, and with an answer missing: the facts about it are unknown."""
    aims, replies = usual
    for nothing in (found((START, {})), found((aims, {})), found((START, dict.fromkeys(replies, Reply(500))))):
        assert {fact.found for fact in nothing.values()} == {""}
    for inquiry in INQUIRIES:
        for probe in inquiry.asks(aims):
            one_less = {each: replies[each] for each in inquiry.asks(aims) if each != probe}
            assert found((aims, one_less))[inquiry.name].found == "", (inquiry.name, probe)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"nul", b'{"top": 3}', b'{"timeline": {"2026": "x"}}', b"\xff", b"[" * 9_999]
)
def test_answers_in_any_other_shape_are_read_as_nothing(
    usual: tuple[Aims, dict[Probe, Reply]], body: bytes
) -> None:
    aims, replies = usual
    odd = dict.fromkeys(replies, Reply(200, body, 0.0))
    assert aims_of(START, Replies(odd)) == START
    assert found((aims, odd)).keys() == found(usual).keys()


def test_refusals_are_findings_where_a_refusal_means_something(usual: tuple[Aims, dict[Probe, Reply]]) -> None:
    aims, replies = usual
    lists, last = aims.service.overview(aims.items[0]), aims.service.top("article", 100_000)
    both = found((aims, {**replies, lists: Reply(404), last: Reply(400)}))
    assert both["overviews"].found == "there are none"
    assert both["tops.count"].found == "100,000 is refused"
    opened = {probe: Reply(200, b"{}") if probe.public else reply for probe, reply in replies.items()}
    assert found((aims, opened))["pair.protected"].holds is False


def test_absent_ids_are_beside_those_that_are_listed_and_beyond_them() -> None:
    assert absent_ids([1, 2, 3]) == [4, 5, 6, 7, 8]
    assert absent_ids([10, 20, 30]) == [11, 21, 31, 32, 33]
    assert absent_ids(range(10, 1_000, 10)) == [11, 251, 501, 751, 991]
