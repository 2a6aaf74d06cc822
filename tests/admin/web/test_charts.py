"""Figures and buckets: what an answer looks like as rows; whatever the answer, nothing is raised."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.admin.web.charts import (
    EVERY,
    LARGEST,
    MOST,
    MOST_CITIES,
    MOST_ROWS,
    Breakdown,
    Ranking,
    Row,
    Series,
    Total,
    Window,
    all_between,
    chart_of,
    granularity_of,
    number_of,
)

YEAR = Window(date(2014, 1, 1), date(2014, 12, 31))
PLACES = {
    "2013": {
        "Spain": {"Seville": 5, "Madrid": 3, "total": 9},
        "China": {"Fuzhou": 2, "Chengdu": 3, "total": 5},
    },
    "2014": {"Spain": {"Madrid": 4, "total": 4}, "Chad": {"total": 1}},
}


def rows(figure: Any) -> list[tuple[str, float]]:
    return [(row.name, row.value) for row in figure.rows]


def test_totals_are_one_number() -> None:
    assert chart_of({"totals": 231}, bare=False) == Total(231)
    assert chart_of({"timeline": {"total": 10}}, bare=False) == Total(10)


def test_a_timeline_has_zeros_where_nothing_happened() -> None:
    window = Window(date(2014, 1, 3), date(2014, 5, 12))
    figure = chart_of({"timeline": {"2014-02": 5, "2014-04": 10}}, bare=False, window=window)
    assert isinstance(figure, Series)
    assert rows(figure) == [("2014-01", 0), ("2014-02", 5), ("2014-03", 0), ("2014-04", 10), ("2014-05", 0)]
    assert (figure.total, figure.rows[1].share, figure.left_out) == (15, 0.5, 0)


def test_a_timeline_is_put_in_order_and_keeps_what_is_outside_the_window() -> None:
    figure = chart_of({"timeline": {"2016": 2, "2013": 1}}, bare=False, window=YEAR)
    assert rows(figure) == [("2013", 1), ("2014", 0), ("2015", 0), ("2016", 2)]


def test_a_timeline_without_a_window_goes_from_its_first_to_its_last() -> None:
    figure = chart_of({"timeline": {"2015-02-27": 1, "2015-03-01": 1}}, bare=False)
    assert [name for name, _ in rows(figure)] == ["2015-02-27", "2015-02-28", "2015-03-01"]


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_events_are_no_rows(nothing: Any) -> None:
    assert chart_of({"timeline": nothing}, bare=False, window=YEAR) == Series((), 0)
    assert chart_of({"breakdown": nothing}, bare=False) == Breakdown((), EVERY, (), 0, 0)
    assert chart_of({"top": nothing}, bare=True) == Ranking(())


def test_names_that_are_no_dates_stay_as_they_came() -> None:
    for names in (["week 2", "week 1"], ["2014-01", "2013"], ["2014-13"], ["2014-02-30"]):
        figure = chart_of({"timeline": dict.fromkeys(names, 1)}, bare=False, window=YEAR)
        assert [name for name, _ in rows(figure)] == names


def test_an_endless_timeline_is_bounded() -> None:
    far = chart_of({"timeline": {"0001-01-01": 1, "9999-12-31": 2}}, bare=False)
    assert rows(far) == [("0001-01-01", 1), ("9999-12-31", 2)]
    many = chart_of({"timeline": {f"x{n}": n for n in range(MOST + 5)}}, bare=False)
    assert isinstance(many, Series)
    assert (len(many.rows), many.left_out, many.rows[-1].name) == (MOST, 5, f"x{MOST + 4}")


def test_a_ranking_keeps_the_order_of_the_answer() -> None:
    body = '{"top": {"9": 2111, "200341": 2341, "10": 7}}'
    figure = chart_of(msgspec.json.decode(body), bare=True)
    assert rows(figure) == [("9", 2111), ("200341", 2341), ("10", 7)]
    assert isinstance(figure, Ranking)
    assert figure.rows[1].share == 1


def test_a_bare_ranking_is_one_only_where_tops_were_asked_for() -> None:
    bare = {"www.google.com": 212, "www.figshare.com": 175}
    assert rows(chart_of(bare, bare=True)) == [*bare.items()]
    assert chart_of(bare, bare=False) is None
    assert chart_of({"message": "no", "code": 1}, bare=True) is None


def test_countries_are_ranked_and_buckets_summed() -> None:
    figure = chart_of({"breakdown": PLACES}, bare=False)
    assert isinstance(figure, Breakdown)
    assert (figure.buckets, figure.chosen, figure.total) == (("2013", "2014"), EVERY, 19)
    assert [(each.row.name, each.row.value) for each in figure.countries] == [
        ("Spain", 13),
        ("China", 5),
        ("Chad", 1),
    ]
    spain, china, chad = figure.countries
    assert [(row.name, row.value) for row in spain.cities] == [("Madrid", 7), ("Seville", 5)]
    assert spain.elsewhere == Row("", 1, 1 / 13)
    assert (china.elsewhere, chad.cities) == (None, ())


def test_one_bucket_can_be_chosen_and_an_unknown_one_is_all() -> None:
    chosen = chart_of({"breakdown": PLACES}, bare=False, chosen="2014")
    assert isinstance(chosen, Breakdown)
    assert (chosen.chosen, chosen.total, len(chosen.countries)) == ("2014", 5, 2)
    unknown = chart_of({"breakdown": PLACES}, bare=False, chosen="1999")
    assert unknown == chart_of({"breakdown": PLACES}, bare=False)


def test_a_country_without_a_total_has_the_sum_of_its_cities() -> None:
    figure = chart_of({"breakdown": {"2013": {"Spain": {"Seville": 5, "Madrid": 3}}}}, bare=False)
    assert isinstance(figure, Breakdown)
    assert (figure.countries[0].row.value, figure.countries[0].elsewhere) == (8, None)


def test_a_world_of_cities_is_bounded() -> None:
    cities = {f"c{n}": n for n in range(MOST_ROWS + 7)}
    world = {f"k{n}": {**cities, "total": 10**6 - n} for n in range(MOST_ROWS + 3)}
    figure = chart_of({"breakdown": {"2013": world}}, bare=False)
    assert isinstance(figure, Breakdown)
    assert (len(figure.countries), figure.left_out) == (MOST_ROWS, 3)
    assert sum(len(each.cities) for each in figure.countries) == MOST_CITIES
    assert figure.countries[0].left_out == 7
    assert figure.countries[-1].left_out == len(cities)


@pytest.mark.parametrize("value", [True, "1", None, [], {}, float("nan"), float("inf"), LARGEST * 10, -(10**400)])
def test_what_is_no_count_is_left_out(value: Any) -> None:
    assert number_of(value) is None
    assert rows(chart_of({"top": {"a": value, "b": 2}}, bare=True)) == [("b", 2)]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([0, -5, 10**400, 1e308, LARGEST])
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["totals", "timeline", "breakdown", "top", "total", "2014", "2014-02", "2014-02-29", "x"]
            )
            | st.text(max_size=6),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
ANSWERS = JSON | st.sampled_from(["totals", "timeline", "breakdown", "top"]).flatmap(
    lambda key: JSON.map(lambda inner: {key: inner})
)
DAYS = st.dates(min_value=date(1, 1, 1), max_value=date(9999, 12, 31))


@given(ANSWERS, st.booleans(), st.none() | st.builds(Window, DAYS, DAYS), st.sampled_from(["", "2014", "x"]))
@example({"breakdown": {"x": {"Spain": {"Seville": -5, "total": 0}}}}, False, None, "")
@example({"breakdown": {"x": {"Spain": {"Seville": 5, "total": -1}}}}, False, None, "")
def test_whatever_the_answer_nothing_is_raised(
    answer: Any, bare: bool, window: Window | None, chosen: str
) -> None:
    figure = chart_of(answer, bare=bare, window=window, chosen=chosen)
    shown: list[Row] = []
    if isinstance(figure, Series | Ranking):
        shown += figure.rows
    if isinstance(figure, Breakdown):
        for country in figure.countries:
            shown += [country.row, *country.cities, *([country.elsewhere] if country.elsewhere else [])]
    assert all(0 <= row.share <= 1 for row in shown)
    json.dumps([row.value for row in shown])


@given(DAYS, st.integers(0, 400), st.sampled_from(["day", "month", "year"]))
def test_buckets_are_all_there_once_and_in_order(first: date, days: int, kind: str) -> None:
    last = date.fromordinal(min(date.max.toordinal(), first.toordinal() + days))
    length = {"day": 10, "month": 7, "year": 4}[kind]
    names = [first.isoformat()[:length], last.isoformat()[:length]]
    found = all_between(names, Window(first, last))
    assert found is not None
    assert found == sorted(set(found))
    expected = {date.fromordinal(n).isoformat()[:length] for n in range(first.toordinal(), last.toordinal() + 1)}
    assert set(found) == expected
    assert granularity_of(found) == kind
