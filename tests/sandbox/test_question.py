"""Parameters: defaults, clamps, and what is refused (docs/service.md, Query semantics and Errors)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from gateway.sandbox import create_sandbox
from gateway.sandbox.question import Question, Window, read, route, window_of, years_after
from tests.sandbox.asking import TODAY, answer_of, client_of, json_of, service


def question(target: str) -> Question:
    path, _, query = target.partition("?")
    return read(route(path), path, query)


def window(target: str) -> Window:
    return window_of(question(target), TODAY)


@pytest.mark.parametrize(
    "path",
    [
        *[f"/{family}/{granularity}/views/article/3" for family in ("timeline", "breakdown")
          for granularity in ("day", "month", "year", "total")],
        "/top/views/article?sub_item=category",
        "/top/views/article?sub_item=referral&item_id=3",
    ],
)  # fmt: skip
def test_the_default_window_is_this_month_up_to_today(path: str) -> None:
    assert window(path) == Window(date(2016, 3, 1), TODAY)


@pytest.mark.parametrize("path", ["/total/views/article/3", "/top/views/article", "/top/views/article?item_id=3"])
def test_totals_and_tops_without_sub_item_cover_all_time(path: str) -> None:
    assert window(path) == Window(date.min, TODAY)


@pytest.mark.parametrize("path", ["/total/views/article/3", "/top/views/article"])
def test_totals_and_tops_without_sub_item_can_be_narrowed_by_dates(path: str) -> None:
    dates = "start_date=2014-01-01&end_date=2014-06-30"
    assert window(f"{path}?{dates}") == Window(date(2014, 1, 1), date(2014, 6, 30))
    assert window(f"{path}?end_date=2014-06-30") == Window(date.min, date(2014, 6, 30))


def test_one_date_alone_leaves_the_other_at_its_default() -> None:
    assert window("/timeline/day/views/article/3?start_date=2014-01-01") == Window(date(2014, 1, 1), TODAY)
    early = window("/timeline/day/views/article/3?end_date=2014-01-01")
    assert early == Window(date(2016, 3, 1), date(2014, 1, 1))
    assert json_of(service(), "/timeline/day/views/group/3?end_date=2014-01-01") == {"timeline": None}


def test_nothing_is_known_of_the_days_after_today() -> None:
    assert window("/timeline/day/views/article/3?end_date=2030-01-01").last == TODAY


async def test_today_is_the_clocks_day_in_utc() -> None:
    midnight = datetime(2016, 3, 1, tzinfo=UTC).timestamp()
    now = [midnight - 1]
    async with client_of(create_sandbox(clock=lambda: now[0])) as client:
        before = (await client.get("/timeline/month/views/group/3")).json()
        now[0] = midnight + 20 * 86_400
        after = (await client.get("/timeline/month/views/group/3")).json()
    assert list(before["timeline"]) == ["2016-02"]
    assert list(after["timeline"]) == ["2016-03"]


@pytest.mark.parametrize(
    ("granularity", "limit"),
    [("day", "2011-03-05"), ("month", "2012-03-05"), ("year", "2015-03-05"), ("total", "2011-03-05")],
)
def test_a_breakdown_ends_at_its_limit_however_late_its_end_date(granularity: str, limit: str) -> None:
    path = f"/breakdown/{granularity}/views/group/3?start_date=2010-03-05&end_date="
    for late in (limit, "2015-12-31", "2030-01-01", "9999-12-31"):
        assert window(path + late).last == date.fromisoformat(limit)
    earlier = date.fromisoformat(limit).replace(day=4)
    assert window(path + earlier.isoformat()).last == earlier


def test_a_breakdown_without_both_dates_is_not_clamped() -> None:
    assert window("/breakdown/day/views/group/3?start_date=2010-03-05").last == TODAY


def test_a_timeline_is_never_clamped() -> None:
    path = "/timeline/day/views/group/3?start_date=2010-03-05&end_date=2015-12-31"
    assert window(path).last == date(2015, 12, 31)


def test_years_are_counted_to_the_same_day_where_there_is_one() -> None:
    assert years_after(date(2016, 2, 29), 1) == date(2017, 2, 28)
    assert years_after(date(2016, 2, 29), 4) == date(2020, 2, 28)
    assert years_after(date(9999, 12, 31), 1) == date.max


def test_tops_give_ten_unless_asked_otherwise() -> None:
    asked = service()
    assert len(json_of(asked, "/top/views/article")["top"]) == 10
    assert json_of(asked, "/top/views/article?count=10") == json_of(asked, "/top/views/article")
    assert len(json_of(asked, "/top/views/article?count=3")["top"]) == 3
    assert len(json_of(asked, "/top/views/article?count=100000")["top"]) > 100


@pytest.mark.parametrize(
    "target",
    ["/total/views/article/3", "/timeline/month/views/group/3?start_date=2014-01-01",
     "/breakdown/day/views/group/3?start_date=2014-01-01", "/top/views/article?count=3"],
)  # fmt: skip
def test_undocumented_parameters_are_ignored(target: str) -> None:
    join = "&" if "?" in target else "?"
    assert answer_of(service(), f"{target}{join}n=10&_=17&page=x") == answer_of(service(), target)


def test_parameters_of_other_families_are_ignored() -> None:
    assert question("/total/views/article/3?count=x&sub_item=y") == question("/total/views/article/3")
    assert question("/top/views/article?sub_item_id=4") == question("/top/views/article")
    assert question("/timeline/day/views/group/3?sub_item_id=4&count=x") == question("/timeline/day/views/group/3")


def test_of_a_repeated_parameter_the_last_one_counts() -> None:
    assert question("/top/views/article?count=3&count=4").count == 4


@pytest.mark.parametrize(
    ("target", "parameter", "extra"),
    [
        ("/total/hugs/article/215", "counter", "Counter type not supported: hugs"),
        ("/lboro/total/hugs/article/215", "counter", "Counter type not supported: hugs"),
        ("/total/Views/article/215", "counter", "Counter type not supported: Views"),
        ("/total/views/planet/215", "item", "Item type not supported: planet"),
        ("/timeline/week/views/article/3", "granularity", "Granularity not supported: week"),
        ("/breakdown/week/views/article/3", "granularity", "Granularity not supported: week"),
        ("/top/hugs/article", "counter", "Counter type not supported: hugs"),
        ("/top/views/planet", "item", "Item type not supported: planet"),
        ("/timeline/day/views/article/3?start_date=2015-02-30", "start_date", "Date not supported: 2015-02-30"),
        ("/timeline/day/views/article/3?end_date=20150201", "end_date", "Date not supported: 20150201"),
        ("/breakdown/day/views/article/3?start_date=", "start_date", "Date not supported: "),
        ("/breakdown/day/views/article/3?start_date=0000-01-01", "start_date", "Date not supported: 0000-01-01"),
        ("/top/views/article?start_date=soon", "start_date", "Date not supported: soon"),
        ("/total/views/article/3?end_date=٢٠١٥-02-01", "end_date", "Date not supported: ٢٠١٥-02-01"),
        ("/timeline/day/views/article/3?sub_item=referral", "sub_item", "Sub item type not supported: referral"),
        ("/breakdown/day/views/article/3?sub_item=", "sub_item", "Sub item type not supported: "),
        ("/top/views/article?sub_item=colour", "sub_item", "Sub item type not supported: colour"),
        ("/top/views/article?count=0", "count", "Count not supported: 0"),
        ("/top/views/article?count=-1", "count", "Count not supported: -1"),
        ("/top/views/article?count=ten", "count", "Count not supported: ten"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_and_echoed(target: str, parameter: str, extra: str) -> None:
    answer = answer_of(service(), target)
    body = json.loads(answer.body)
    assert answer.status == 400
    assert body == {
        "data": {"extra": extra, "invalid_params": parameter},
        "code": "InvalidParams",
        "message": f"Invalid or unsupported params: {parameter}",
    }
    assert list(body) == ["data", "code", "message"]
    assert list(body["data"]) == ["extra", "invalid_params"]


@pytest.mark.parametrize("family", ["timeline", "breakdown"])
def test_a_missing_sub_item_id_is_refused_and_the_whole_request_echoed(family: str) -> None:
    path = f"/{family}/day/views/group/3"
    body = json.loads(answer_of(service(), f"{path}?sub_item=category&n=10&end_date=2014-01-01").body)
    assert body["code"] == "MissingParams"
    assert body["data"]["path"] == path
    parameters = {"end_date": "2014-01-01", "n": "10", "sub_item": "category"}
    assert list(body["data"]["parameters"].items()) == list(parameters.items())
