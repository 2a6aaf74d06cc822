"""The sandbox's switches: what the documentation leaves open, each way (docs/service.md, The sandbox)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from gateway.sandbox import Habits, create_sandbox
from gateway.sandbox.census import MOST_CITIES, MOST_COUNTRIES, breakdown
from gateway.sandbox.world import Event
from tests.sandbox.asking import TODAY, answer_of, client_of, json_of, service

ALL = "count=100000"
YEAR = "start_date=2015-01-01&end_date=2015-12-31"
PLAIN = service(seed=7)


def top(target: str = f"/top/views/article?{ALL}", **habits: Any) -> dict[str, int]:
    found: dict[str, int] = json_of(service(seed=7, **habits), target)["top"]
    return found


def test_dates_filter_tops_of_items() -> None:
    january, february = (f"start_date=2015-{month}-01&end_date=2015-{month}-28" for month in ("01", "02"))
    found = top(f"/top/views/article?{january}&{ALL}")
    assert found != top(f"/top/views/article?{february}&{ALL}")
    for item in map(str, range(1, 60)):
        timeline = json_of(PLAIN, f"/timeline/total/views/article/{item}?{january}")["timeline"] or {}
        assert found.get(item, 0) == timeline.get("total", 0)


def test_breakdowns_list_ten_cities_of_a_country_the_highest_unknown_ones_too() -> None:
    group = json_of(PLAIN, f"/breakdown/total/views/group/3?{YEAR}")["breakdown"]["total"]
    cities = group["United States"]
    assert len(cities) == MOST_CITIES + 1
    assert "Unknown" in cities
    assert "Tucson" not in cities
    assert cities["total"] > sum(number for city, number in cities.items() if city != "total")


def test_breakdowns_list_two_hundred_countries_the_highest() -> None:
    events = [Event(1, f"{n:03}", None, "") for n in range(MOST_COUNTRIES + 5) for _ in range(1 + (n >= 5))]
    [countries] = breakdown(events, str).values()
    assert list(countries) == [f"{n:03}" for n in range(5, MOST_COUNTRIES + 5)]


def test_order_is_by_rank_by_age_or_means_nothing() -> None:
    ranked, timed, arbitrary = (top(order=order) for order in ("rank", "time", "arbitrary"))
    assert ranked == timed == arbitrary
    assert list(ranked.values()) == sorted(ranked.values(), reverse=True)
    assert list(timed) == sorted(timed, key=int)
    assert list(arbitrary) not in (list(ranked), list(timed))
    for target in (f"/timeline/day/views/group/3?{YEAR}", f"/breakdown/month/views/group/3?{YEAR}"):
        plain, mixed = (answer_of(service(order=order), target).body for order in ("time", "arbitrary"))
        assert json.loads(plain) == json.loads(mixed)
        assert plain != mixed == answer_of(service(order="arbitrary"), target).body


def test_documented_examples_stay_whatever_the_order() -> None:
    target = "/monash/timeline/year/views/article/2000000?start_date=2013-01-01&end_date=2015-08-01"
    answer = answer_of(service(order="arbitrary", examples=True), target)
    assert answer.body == b'{"timeline": {"2013": 16, "2014": 23, "2015": 12}}'


def test_a_count_limit_cuts_every_top() -> None:
    assert list(top(count_limit=7)) == list(top())[:7]
    assert list(top("/top/views/article?count=3", count_limit=7)) == list(top())[:3]


def test_a_top_error_makes_the_lowest_places_too_low() -> None:
    right, wrong = top(), top(top_error=0.25)
    exact = len(right) - round(len(right) * 0.25)
    assert list(wrong.items())[:exact] == list(right.items())[:exact]
    assert all(wrong.get(item, 0) < right[item] for item in list(right)[exact:])
    assert all(number > 0 for number in wrong.values())


def test_a_lag_holds_back_all_but_totals_and_overviews() -> None:
    lagging, earlier = service(seed=7, lag=30), service(seed=7, today=TODAY - timedelta(30))
    for target in (f"/timeline/day/views/group/3?{YEAR[:21]}", f"/top/views/group?{ALL}",
                   "/breakdown/month/views/group/3?start_date=2016-02-01"):  # fmt: skip
        assert json_of(lagging, target) == json_of(earlier, target) != json_of(PLAIN, target)
    for target in ("/total/views/group/3", "/total/group/3"):
        assert json_of(lagging, target) == json_of(PLAIN, target) != json_of(earlier, target)


async def test_a_zone_says_when_a_day_begins() -> None:
    evening = datetime(2016, 3, 1, 20, tzinfo=UTC).timestamp()
    found = []
    for zone in ("UTC", "Pacific/Auckland"):
        async with client_of(create_sandbox(clock=lambda: evening, habits=Habits(zone=zone))) as client:
            found.append((await client.get("/top/views/group?start_date=2016-03-02")).json()["top"])
    assert found[0] == {} != found[1]


def test_a_revision_takes_other_past_events_back_every_day() -> None:
    target = f"/timeline/day/views/group/3?{YEAR}"
    days = [date(2016, 3, day) for day in (1, 2)]
    known = [json_of(service(seed=7, revise=0.1, today=day), target)["timeline"] for day in days]
    every = json_of(PLAIN, target)["timeline"]
    assert known[0] != known[1]
    assert all(set(some) <= set(every) and all(some[day] <= every[day] for day in some) for some in known)
    assert 0.85 < sum(known[0].values()) / sum(every.values()) < 0.95


def test_a_revised_world_still_adds_up() -> None:
    asked = service(seed=7, revise=0.1)
    for item in ("article/3", "group/3"):
        total = json_of(asked, f"/total/views/{item}")["totals"]
        ever = "start_date=2010-01-01"
        assert json_of(asked, f"/timeline/total/views/{item}?{ever}")["timeline"]["total"] == total
        ever_until = f"{ever}&end_date=2010-12-31"
        breakdown = json_of(asked, f"/breakdown/total/views/{item}?{ever_until}")["breakdown"].get("total", {})
        found = json_of(asked, f"/timeline/total/views/{item}?{ever_until}")["timeline"] or {"total": 0}
        assert sum(cities["total"] for cities in breakdown.values()) == found["total"]


@pytest.mark.parametrize(("empty", "expected"), [("null", [None] * 3), ("{}", [{}] * 3), (None, [None, {}, {}])])
def test_nothing_is_null_or_an_empty_object(empty: str | None, expected: list[Any]) -> None:
    asked = service(empty=empty)
    future = "start_date=2030-01-01"
    targets = ("/timeline/day/views/article/3", "/breakdown/day/views/article/3", "/top/views/article")
    assert [list(json_of(asked, f"{target}?{future}").values()) for target in targets] == [[e] for e in expected]


def test_a_bigger_world_has_more_articles_and_none_that_differ() -> None:
    bigger = top(items=1_000)
    assert len(bigger) > len(top())
    assert {item: number for item, number in bigger.items() if int(item) <= 400} == top()


@pytest.mark.parametrize(
    "habits",
    [{"items": 0}, {"order": "none"}, {"count_limit": 0}, {"top_error": 1.1}, {"lag": -1}, {"zone": "Mars"},
     {"zone": "../etc"}, {"revise": 0.6}, {"empty": "none"}],
)  # fmt: skip
def test_habits_outside_their_range_are_refused(habits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Habits(**habits)
