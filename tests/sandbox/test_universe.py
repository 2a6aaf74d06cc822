"""The invented world adds up, whatever is asked of it."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sandbox.habits import Habits
from gateway.sandbox.question import COUNTERS, ITEMS, Window
from gateway.sandbox.world import Universe
from tests.sandbox.asking import TODAY, answer_of, json_of, service

WORLD = service(seed=7)
INSTITUTIONS = ("", "/lboro", "/monash")
PREFIXES = {"month": 7, "year": 4}

Place = tuple[str, str, str, str]
"""Institution, counter, item, item id."""

places = st.tuples(
    st.sampled_from(INSTITUTIONS),
    st.sampled_from(COUNTERS),
    st.sampled_from(ITEMS),
    st.integers(1, 30).map(str),
)
windows = st.builds(
    lambda first, more: f"start_date={first}&end_date={first + timedelta(more)}",
    st.dates(date(2010, 1, 1), date(2017, 1, 1)),
    st.integers(0, 364),
)
"""At most a year, so that no breakdown is clamped; some reach past today."""
filters = st.one_of(
    st.just(""),
    st.integers(1, 15).map(lambda number: f"&sub_item=category&sub_item_id={number}"),
    st.sampled_from(["dataset", "figure", "thesis"]).map(lambda name: f"&sub_item=item_type&sub_item_id={name}"),
)
granularities = st.sampled_from(["day", "month", "year", "total"])


def timeline(place: Place, granularity: str, parameters: str) -> dict[str, int]:
    institution, counter, item, item_id = place
    target = f"{institution}/timeline/{granularity}/{counter}/{item}/{item_id}?{parameters}"
    return json_of(WORLD, target)["timeline"] or {}


def breakdown(place: Place, granularity: str, parameters: str) -> dict[str, dict[str, dict[str, int]]]:
    institution, counter, item, item_id = place
    target = f"{institution}/breakdown/{granularity}/{counter}/{item}/{item_id}?{parameters}"
    found: dict[str, dict[str, dict[str, int]]] = json_of(WORLD, target)["breakdown"]
    return found


def total(place: Place, parameters: str = "") -> int:
    institution, counter, item, item_id = place
    return int(json_of(WORLD, f"{institution}/total/{counter}/{item}/{item_id}?{parameters}")["totals"])


def top(place: Place, parameters: str) -> dict[str, int]:
    institution, counter, item, _ = place
    found = json_of(WORLD, f"{institution}/top/{counter}/{item}?{parameters}&count=100000")
    numbers: dict[str, int] = found.get("top", found)
    return numbers


def regrouped(days: dict[str, int], granularity: str) -> dict[str, int]:
    groups: Counter[str] = Counter()
    for day, number in days.items():
        groups["total" if granularity == "total" else day[: PREFIXES.get(granularity, 10)]] += number
    return dict(groups)


@given(places, windows, filters, granularities)
def test_days_sum_to_months_years_and_the_total(place: Place, window: str, only: str, granularity: str) -> None:
    days = timeline(place, "day", window + only)
    coarse = timeline(place, granularity, window + only)
    assert list(coarse.items()) == list(regrouped(days, granularity).items())
    assert list(days) == sorted(days)
    assert all(number > 0 for number in days.values())


@given(places, windows, filters)
def test_both_ends_of_a_window_belong_to_it(place: Place, window: str, only: str) -> None:
    days = timeline(place, "day", window + only)
    for day in {*list(days)[:1], *list(days)[-1:]}:
        assert timeline(place, "day", f"start_date={day}&end_date={day}{only}") == {day: days[day]}


@given(places)
def test_all_days_sum_to_the_totals(place: Place) -> None:
    assert timeline(place, "total", "start_date=0001-01-01").get("total", 0) == total(place)


@given(places, windows)
def test_totals_of_a_window_are_those_of_its_timeline(place: Place, window: str) -> None:
    assert timeline(place, "total", window).get("total", 0) == total(place, window)


@given(places, windows, filters, granularities)
def test_breakdowns_sum_to_timelines(place: Place, window: str, only: str, granularity: str) -> None:
    countries = breakdown(place, granularity, window + only)
    sums = {bucket: sum(cities["total"] for cities in found.values()) for bucket, found in countries.items()}
    assert list(sums.items()) == list(timeline(place, granularity, window + only).items())


@given(places, windows)
def test_a_countrys_total_is_at_least_the_sum_of_its_cities(place: Place, window: str) -> None:
    for found in breakdown(place, "month", window).values():
        for cities in found.values():
            assert list(cities)[-1] == "total"
            assert cities["total"] >= sum(number for city, number in cities.items() if city != "total")


def test_some_events_are_known_by_their_country_alone() -> None:
    found = json_of(WORLD, "/breakdown/total/views/group/3?start_date=2015-01-01&end_date=2015-12-31")
    countries = found["breakdown"]["total"].values()
    assert any(cities["total"] > sum(cities.values()) - cities["total"] for cities in countries)


@given(st.sampled_from(INSTITUTIONS), st.sampled_from(COUNTERS), st.sampled_from(ITEMS))
@settings(max_examples=15)
def test_tops_rank_the_totals(institution: str, counter: str, item: str) -> None:
    ranked = top((institution, counter, item, ""), "")
    numbers = list(ranked.values())
    assert numbers == sorted(numbers, reverse=True)
    for item_id in [str(number) for number in range(1, 41)]:
        assert ranked.get(item_id, 0) == total((institution, counter, item, item_id))


@given(places, windows, st.sampled_from(["category", "item_type"]))
def test_tops_of_a_sub_item_rank_its_timelines(place: Place, window: str, kind: str) -> None:
    ranked = top(place, f"item_id={place[3]}&sub_item={kind}&{window}")
    numbers = list(ranked.values())
    assert numbers == sorted(numbers, reverse=True)
    assert sum(numbers) == total(place, window)
    for name, number in ranked.items():
        assert timeline(place, "total", f"{window}&sub_item={kind}&sub_item_id={name}") == {"total": number}


@given(places, windows)
def test_tops_of_referrals_sum_to_the_timeline(place: Place, window: str) -> None:
    ranked = top(place, f"item_id={place[3]}&sub_item=referral&{window}")
    assert sum(ranked.values()) == total(place, window)


@given(places, windows, filters)
def test_filters_select_subsets(place: Place, window: str, only: str) -> None:
    every, some = timeline(place, "day", window), timeline(place, "day", window + only)
    assert all(number <= every[day] for day, number in some.items())


@given(places, windows)
def test_every_item_is_the_sum_of_its_articles(place: Place, window: str) -> None:
    institution, counter, item, item_id = place
    articles = Universe(7, Habits()).articles(institution.removeprefix("/") or None)
    inside = [article.article for article in articles if getattr(article, item) == item_id]
    assert total(place, window) == sum(total((institution, counter, "article", one), window) for one in inside)


@given(places, windows)
def test_the_same_seed_gives_the_same_world(place: Place, window: str) -> None:
    institution, counter, item, item_id = place
    target = f"{institution}/breakdown/day/{counter}/{item}/{item_id}?{window}"
    assert answer_of(service(seed=7), target) == answer_of(WORLD, target)


def test_seeds_institutions_counters_and_items_have_numbers_of_their_own() -> None:
    targets = ["", "/lboro", "/monash", "/elsewhere"]
    asked = [f"{prefix}/total/{counter}/{item}/3" for prefix in targets for counter in COUNTERS for item in ITEMS]
    numbers = [tuple(json_of(world, target)["totals"] for target in asked) for world in (WORLD, service(seed=8))]
    assert numbers[0] != numbers[1]
    assert len(set(numbers[0])) > len(asked) // 2


def test_institutions_and_counters_have_histories_of_their_own() -> None:
    universe, always = Universe(7, Habits()), Window(date.min, date.max)
    outside, inside = universe.articles(None), universe.articles("lboro")
    assert [article.group for article in outside] != [article.group for article in inside]

    article = max(outside, key=lambda article: article.popularity)
    places = [(None, "views"), (None, "downloads"), ("lboro", "views")]
    histories = [{event.day for event in universe.events(*place, article, always, TODAY)} for place in places]
    assert not any(one <= other for one, other in permutations(histories, 2))


def test_tops_are_wrapped_or_bare_as_documented() -> None:
    window = "item_id=3&start_date=2015-01-01"
    for sub_item in ("", "&sub_item=category"):
        assert list(json_of(WORLD, f"/top/views/group?{window}{sub_item}")) == ["top"]
    for sub_item in ("referral", "item_type"):
        assert "top" not in json_of(WORLD, f"/top/views/group?{window}&sub_item={sub_item}")
