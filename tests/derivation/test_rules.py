"""What is derived is what the service says itself, byte for byte; and what is never derived."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalogue.endpoints import recognise
from gateway.catalogue.families import Family
from gateway.catalogue.target import parted
from gateway.derivation.plans import FAMILIES, plan_of
from gateway.derivation.ranking import Ranking
from gateway.derivation.rules import Kind, Source, derive
from tests.derivation.oracle import CUT, WINDOW, body_of, query, rule, sources_of, styles_of
from tests.sandbox.asking import service

IDS = range(1, 60)
TARGETS = {
    "listed": [f"/lboro/total/views/article/{id}" for id in IDS],
    "absent": [f"/lboro/total/shares/article/{id}" for id in [*IDS, 9_001]],
    "overview": [f"/lboro/total/article/{id}" for id in IDS],
    "overview-absent": [f"/lboro/total/article/{id}" for id in [*IDS, 9_001]],
    "prefix": [f"/lboro/top/views/group?count={count}" for count in range(1, 40)],
    "total": [f"/lboro/timeline/total/views/article/{id}?{WINDOW}" for id in IDS],
    "month": [f"/lboro/timeline/month/views/article/{id}?{WINDOW}" for id in IDS],
    "month-cut": [f"/lboro/timeline/month/views/article/{id}?{CUT}" for id in IDS],
    "year": [f"/lboro/timeline/year/views/article/{id}?start_date=2013-01-01&end_date=2014-12-31" for id in IDS],
    "year-cut": [f"/lboro/timeline/year/views/article/{id}?{CUT}" for id in IDS],
}


@pytest.mark.parametrize("habits", [{}, {"empty": "{}"}, {"empty": "null"}], ids=str)
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_derived_is_what_the_service_says(name: str, habits: dict[str, Any]) -> None:
    sandbox, by = service(**habits), rule(name)
    styles = styles_of(sandbox, by, TARGETS[name])
    derived = {}
    for target in TARGETS[name]:
        body = derive(by, query(target), sources_of(sandbox, by, target), styles)
        if body is not None:
            derived[target] = body
    assert derived, "nothing was derived"
    assert derived == {target: body_of(sandbox, query(target)) for target in derived}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_derived_before_the_services_style_was_seen(name: str) -> None:
    sandbox, by = service(), rule(name)
    assert {derive(by, query(target), sources_of(sandbox, by, target), None) for target in TARGETS[name]} == {None}


def test_a_sum_of_days_leaves_out_those_outside_its_window() -> None:
    by, target = rule("month"), f"/lboro/timeline/month/views/article/3?{WINDOW}"
    wide = query("/lboro/timeline/day/views/article/3?start_date=2013-01-01&end_date=2015-12-31")
    days = {"2013-12-31": 5, "2014-01-01": 1, "2014-12-31": 2, "2015-01-01": 7}
    derived = by.derived(query(target), [Source(wide, days=days)])
    assert derived is not None
    assert derived.numbers == {"2014-01": 1, "2014-12": 2}


def test_days_that_do_not_cover_the_window_add_up_to_nothing() -> None:
    narrow = query("/lboro/timeline/day/views/article/3?start_date=2014-02-01&end_date=2014-12-31")
    target = f"/lboro/timeline/month/views/article/3?{WINDOW}"
    assert rule("month").derived(query(target), [Source(narrow, days={"2014-02-01": 1})]) is None


@pytest.mark.parametrize(
    "places",
    [{"1": 9, "2": 7, "3": 7}, {"1": 9, "2": 9, "3": 7}, {"1": 7, "2": 9, "3": 5}, {"a": 9, "2": 7, "3": 5}],
    ids=["the last place is tied", "a place is tied", "not by rank", "no id"],
)
def test_a_top_that_leaves_its_order_open_has_no_prefix(places: dict[str, int]) -> None:
    ranking = query("/lboro/top/views/article?count=10000")
    shorter = query("/lboro/top/views/article?count=2")
    assert rule("prefix").derived(shorter, [Source(ranking, Ranking(places))]) is None


def test_a_full_ranking_says_nothing_of_what_it_does_not_list() -> None:
    target = "/lboro/total/views/article/99999"
    full = Ranking({str(id): 1 for id in range(10_000)})
    sources = [Source(query("/lboro/top/views/article?count=10000"), full)]
    assert rule("absent").derived(query(target), sources) is None
    complete = [Source(sources[0].query, Ranking({"1": 1}))]
    derived = rule("absent").derived(query(target), complete)
    assert derived is not None
    assert derived.numbers == {"totals": 0}


def test_the_last_tenth_of_a_ranking_and_what_comes_to_nothing_are_kinds_of_their_own() -> None:
    ranking = Source(
        query("/lboro/top/views/article?count=10000"), Ranking({str(id): 101 - id for id in range(1, 101)})
    )
    kinds = {
        id: derived.kind
        for id in (1, 90, 91, 100)
        if (derived := rule("listed").derived(query(f"/lboro/total/views/article/{id}"), [ranking]))
    }
    assert kinds == {1: Kind.PLAIN, 90: Kind.PLAIN, 91: Kind.TAIL, 100: Kind.TAIL}
    nothing = Source(query(f"/lboro/timeline/day/views/article/3?{WINDOW}"))
    derived = rule("month").derived(query(f"/lboro/timeline/month/views/article/3?{WINDOW}"), [nothing])
    assert (derived and derived.kind) is Kind.EMPTY


NEVER = {
    "breakdowns": f"/lboro/breakdown/total/views/article/3?{WINDOW}",
    "what is outside of institutions": "/total/views/article/3",
    "an overview outside": "/total/article/3",
    "a top outside": "/top/views/article?count=5",
    "totals with dates": f"/lboro/total/views/article/3?{WINDOW}",
    "an undocumented parameter of totals": "/lboro/total/views/article/3?format=x",
    "an undocumented parameter of tops": "/lboro/top/views/article?count=5&format=x",
    "an undocumented parameter of timelines": f"/lboro/timeline/month/views/article/3?{WINDOW}&format=x",
    "a repeated parameter": f"/lboro/timeline/month/views/article/3?{WINDOW}&start_date=2014-01-01",
    "an omitted start": "/lboro/timeline/month/views/article/3?end_date=2014-12-31",
    "an omitted end": "/lboro/timeline/month/views/article/3?start_date=2014-01-01",
    "omitted dates": "/lboro/timeline/month/views/article/3",
    "days": f"/lboro/timeline/day/views/article/3?{WINDOW}",
    "tops with dates": f"/lboro/top/views/article?count=5&{WINDOW}",
    "tops of sub-items": "/lboro/top/views/article?count=5&sub_item=category",
    "tops about an item": "/lboro/top/views/group?count=5&item_id=3",
    "a ranking": "/lboro/top/views/article?count=10000",
    "a longer top": "/lboro/top/views/article?count=40000",
    "a count beyond all numbers": "/lboro/top/views/article?count=1" + "0" * 4_400,
    "an id that is none": "/lboro/total/views/article/abc",
    "an id with leading zeros": "/lboro/total/views/article/007",
    "what is not known": "/lboro/whatever/views/article/3",
}


@pytest.mark.parametrize("what", NEVER)
def test_never_derived(what: str) -> None:
    assert plan_of(recognise(*parted(NEVER[what].encode()), max_bytes=10_000)) is None


def test_a_posted_question_is_never_derived() -> None:
    assert Family.COUNT not in FAMILIES


def test_a_group_is_derived_from_the_ranking_of_groups_in_its_own_institution() -> None:
    plan = plan_of(query("/lboro/total/views/group/3"))
    assert plan is not None
    assert [source.exact for source in plan.sources] == [b"/lboro/top/views/group?count=10000"]
    assert {source.institution for source in plan.sources} == {"lboro"}


def test_filters_go_along_to_the_source() -> None:
    target = f"/lboro/timeline/month/views/group/3?sub_item=category&sub_item_id=a%26b&{WINDOW}"
    plan = plan_of(query(target))
    assert plan is not None
    assert [source.canonical for source in plan.sources] == [query(target.replace("month", "day")).canonical]
    assert plan.rules[0][0] == "month:views:group:category"


def test_a_target_too_long_to_be_written_out_has_no_plan() -> None:
    assert plan_of(query("/" + "'" * 2_000 + "/total/views/article/3")) is None
