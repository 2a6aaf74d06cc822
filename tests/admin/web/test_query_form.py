"""Asking: fields to a target and back, and the words for a question."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.web.explore import (
    FAMILIES,
    STEPS,
    SUB_ITEMS,
    WINDOWS,
    Fields,
    fields_for,
    fields_of,
    question_of,
    target_of,
    window_of,
)
from gateway.catalogue.endpoints import COUNTERS, GRANULARITIES, ITEMS, recognise
from gateway.catalogue.query import Query
from gateway.errors import GatewayError, InvalidInput

TODAY = date(2030, 3, 31)
ASKED = Fields(institution="lboro", item="group", item_id="10", window="none")


def recognised(target: str) -> Query:
    path, _, query = target.partition("?")
    return recognise(path.encode(), query.encode())


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        (replace(ASKED, family="totals"), "/lboro/total/views/group/10"),
        (replace(ASKED, family="totals", window="this-month"), "/lboro/total/views/group/10"),
        (ASKED, "/lboro/timeline/month/views/group/10"),
        (replace(ASKED, institution="", family="breakdown", granularity="year"), "/breakdown/year/views/group/10"),
        (
            replace(ASKED, sub_item="category", sub_item_id="2"),
            "/lboro/timeline/month/views/group/10?sub_item=category&sub_item_id=2",
        ),
        (replace(ASKED, sub_item_id="2"), "/lboro/timeline/month/views/group/10"),
        (replace(ASKED, family="tops", item_id=""), "/lboro/top/views/group"),
        (
            replace(ASKED, family="tops", sub_item="referral", count="3"),
            "/lboro/top/views/group?item_id=10&sub_item=referral&count=3",
        ),
        (replace(ASKED, item_id="a b/é"), "/lboro/timeline/month/views/group/a%20b%2F%C3%A9"),
    ],
)
def test_fields_make_a_target(fields: Fields, target: str) -> None:
    assert target_of(fields, TODAY) == target


@pytest.mark.parametrize(
    ("window", "dates"),
    [
        ("this-month", "start_date=2030-03-01&end_date=2030-03-31"),
        ("last-month", "start_date=2030-02-01&end_date=2030-02-28"),
        ("last-12-months", "start_date=2029-04-01&end_date=2030-03-31"),
        ("last-year", "start_date=2029-01-01&end_date=2029-12-31"),
    ],
)
def test_a_chosen_window_has_its_dates(window: str, dates: str) -> None:
    assert target_of(replace(ASKED, window=window), TODAY).endswith("?" + dates)


def test_dates_go_as_they_were_typed_for_the_service_judges_them() -> None:
    typed = replace(ASKED, window="dates", start="soon", end="2030-01-01")
    assert target_of(typed, TODAY).endswith("?start_date=soon&end_date=2030-01-01")
    assert target_of(replace(typed, start=""), TODAY).endswith("?end_date=2030-01-01")


def test_an_item_without_an_id_asks_nothing() -> None:
    with pytest.raises(InvalidInput, match="Which group"):
        target_of(replace(ASKED, item_id=""), TODAY)


def test_what_no_form_sends_counts_as_not_sent() -> None:
    odd = {"family": "hugs", "counter": "", "item": "article ", "granularity": "week", "window": "x", "extra": "1"}
    assert fields_of(odd) == Fields()
    assert fields_of({"item_id": " 23 "}).item_id == "23"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12).map(str.strip)
FIELDS = st.builds(
    Fields,
    institution=st.sampled_from(["", "lboro", "total", "-"]) | TEXTS,
    family=st.sampled_from(list(FAMILIES)),
    counter=st.sampled_from(COUNTERS),
    item=st.sampled_from(ITEMS),
    item_id=st.sampled_from(["1", "23"]) | TEXTS,
    granularity=st.sampled_from(GRANULARITIES),
    window=st.sampled_from(list(WINDOWS)),
    start=st.sampled_from(["", "2014-01-01", "soon"]),
    end=st.sampled_from(["", "2015-01-01", "9999-99-99"]),
    sub_item=st.sampled_from(list(SUB_ITEMS)),
    sub_item_id=TEXTS,
    count=st.sampled_from(["", "3", "-1", "x"]),
)


@given(FIELDS)
def test_whatever_the_fields_only_our_errors_are_raised_and_words_are_found(fields: Fields) -> None:
    try:
        target = target_of(fields, TODAY)
        query = recognised(target)
    except GatewayError:
        return
    assert target.isascii()
    assert question_of(query, target)
    window_of(query, target, TODAY)
    again = fields_for(query, target)
    if query.family != "unknown":
        assert target_of(again, TODAY) == target


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/total/views/article/23", "Views of article 23"),
        ("/lboro/timeline/month/downloads/group/1", "Downloads of group 1 in lboro, by month"),
        ("/breakdown/total/shares/author/7", "Shares of author 7 by place, in all"),
        ("/timeline/day/views/group/1?sub_item=item_type&sub_item_id=b", "Views of group 1, by day, item type b"),
        ("/top/views/article", "Top articles by views"),
        ("/top/views/group?item_id=2&sub_item=category", "Top categories by views, of group 2"),
        ("/total/hugs/article/1", "A request that the gateway does not recognise: its counter is none of"),
    ],
)  # fmt: skip
def test_a_question_in_words(target: str, words: str) -> None:
    assert question_of(recognised(target), target).startswith(words)


def test_a_timelines_window_ends_today_at_the_latest() -> None:
    path = "/timeline/day/views/article/1"
    assert window_of(recognised(path), path, TODAY) == (date(2030, 3, 1), TODAY)
    far = f"{path}?start_date=2030-01-05&end_date=2031-01-01"
    assert window_of(recognised(far), far, TODAY) == (date(2030, 1, 5), TODAY)
    assert window_of(recognised("/total/views/article/1"), "/total/views/article/1", TODAY) is None


def test_every_granularity_has_words() -> None:
    assert set(STEPS) == set(GRANULARITIES)
