"""Why a request is none that the catalogue knows, in words that name what is wrong with it."""

from __future__ import annotations

import pytest

from gateway.catalogue.endpoints import recognise, why_unknown
from gateway.catalogue.families import Family
from gateway.catalogue.target import parted

TIMELINE = "/lboro/timeline/day/views/article/5"
CASES = {
    "/": "no endpoint with this path",
    "/total": "no endpoint with this path",
    "/lboro/foo/bar": "no endpoint with this path",
    "/total/hugs/article/215": "counter is none of views, downloads, shares",
    "/total/views/book/5": "item is none of article, author",
    "/timeline/week/views/article/5": "granularity is none of day, month, year, total",
    "/total/views/article/": "no item id",
    f"{TIMELINE}?start_date=2030-02-01&end_date=2030-01-01": "start_date is after its end_date",
    "/top/views/article?start_date=2030-02-01&end_date=2030-01-01": "start_date is after its end_date",
    f"{TIMELINE}?start_date=2030-02-30": "start_date is no day",
    f"{TIMELINE}?end_date=soon": "end_date is no day",
    f"{TIMELINE}?end_date=": "end_date is empty",
    f"{TIMELINE}?end_date=2030-01-01&end_date=2030-01-02": "end_date is repeated",
    f"{TIMELINE}?end_date=2030-01-01;start_date=2029-01-01": "semicolon",
    f"{TIMELINE}?sub_item=category": "sub_item and sub_item_id come only together",
    f"{TIMELINE}?sub_item_id=7": "sub_item and sub_item_id come only together",
    f"{TIMELINE}?sub_item=referral&sub_item_id=7": "sub_item is none of category, item_type",
    "/top/views/article?sub_item=planet": "sub_item is none of category, item_type, referral",
    "/top/views/article?count=0": "count is no number above 0",
}


@pytest.mark.parametrize(("target", "why"), CASES.items())
def test_an_unknown_request_is_unknown_for_the_reason_that_is_named(target: str, why: str) -> None:
    query = recognise(*parted(target.encode()))
    assert query.family is Family.UNKNOWN
    assert why in why_unknown(query)


def test_a_known_request_has_no_such_reason() -> None:
    assert why_unknown(recognise(TIMELINE.encode(), b"")) == ""
