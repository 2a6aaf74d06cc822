"""Reports as a client meets them, at a real socket: what they cost, what they say, and who may read them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.stage import Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.sandbox.asking import pair_of

IDS = list(range(1, 131))
COUNTERS = ["views", "downloads", "shares"]
TOTALS = {"institution": "lboro", "ids": IDS, "counters": COUNTERS}
MONTHS = {
    "institution": "lboro",
    "ids": IDS,
    "counters": ["views"],
    "by": "month",
    "from": "2015-12",
    "to": "2016-02",
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One gateway on the embedded cache, in front of a sandbox with 120 articles an institution."""
    with staged("--no-examples", "--items", "120", budget="unlimited", jobs_per_tenant=5) as stage:
        for tenant, institution in (("lib", "lboro"), ("other", "monash"), ("leaving", "melbourne")):
            stage.tenant(tenant, institution)
        stage.serve()
        yield stage


@pytest.fixture(autouse=True)
def _calls(stage: Stage) -> None:
    stage.reset_calls()


def send(stage: Stage, method: str, path: str, tenant: str = "lib", **options: Any) -> httpx.Response:
    headers = {"X-API-Key": stage.keys[tenant]} | options.pop("headers", {})
    return httpx.request(method, stage.gateways[0].url + path, headers=headers, timeout=60, **LOOPBACK, **options)


def order(stage: Stage, wish: dict[str, Any], tenant: str = "lib", **more: Any) -> httpx.Response:
    return send(stage, "POST", "/-/reports", tenant, json=wish | more)


def ended(stream: httpx.Response) -> dict[str, Any]:
    """The end of a job's stream."""
    assert stream.status_code == 200, stream.text
    return dict(json.loads(stream.text.splitlines()[-1])["end"])


def report(stage: Stage, stream: httpx.Response, format: str, tenant: str = "lib") -> httpx.Response:
    assert ended(stream)["state"] == "done"
    return send(stage, "GET", f"{stream.headers['location']}/report?format={format}", tenant)


def by_itself(stage: Stage, counter: str, id: int) -> int:
    """What the service says of one article, asked without a gateway."""
    url = f"{stage.sandbox.url}/lboro/total/{counter}/article/{id}"
    return int(get(url, headers={"Authorization": pair_of("lboro")}).json()["totals"] or 0)


def test_a_report_of_rankings_has_what_each_item_has_by_itself(stage: Stage) -> None:
    stream = order(stage, TOTALS)
    plan = json.loads(stream.text.splitlines()[0])
    assert plan["plan"]["calls"] == ended(stream)["calls"] == stage.calls()["total"] == 29
    assert plan["plan"]["methods"] == dict.fromkeys(COUNTERS, "ranking")
    made = report(stage, stream, "json").json()
    assert [column["method"] for column in made["columns"]] == ["ranking"] * 3
    expected: list[dict[str, Any]] = [
        {"id": id, "values": [by_itself(stage, each, id) for each in COUNTERS]} for id in IDS
    ]
    assert made["rows"] == expected
    rows = list(csv.reader(io.StringIO(report(stage, stream, "csv").text, newline="")))
    assert rows[0] == ["id", *COUNTERS, "problem"]
    assert [[*map(int, row[:-1])] for row in rows[1:]] == [[each["id"], *each["values"]] for each in expected]


def test_what_a_report_rests_on_lies_beside_it(stage: Stage) -> None:
    stream = order(stage, MONTHS, ids=["007", 7, "1e1"])
    answer = report(stage, stream, "csv.json")
    assert answer.headers["content-disposition"].endswith("-by-month-2015-12-01-to-2016-02-29.csv.json")
    beside = answer.json()
    assert [column["name"] for column in beside["columns"]] == ["views 2015-12", "views 2016-01", "views 2016-02"]
    assert {column["method"] for column in beside["columns"]} == {"each"}
    assert len(beside["notes"]) == 3
    assert "rows" not in beside
    pytest.importorskip("xlsxwriter")
    book = zipfile.ZipFile(io.BytesIO(report(stage, stream, "xlsx").content))
    assert {"xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml"} <= set(book.namelist())
    path = stream.headers["location"] + "/report"
    assert send(stage, "GET", path, headers={"Accept": "text/csv"}).headers["content-type"].startswith("text/csv")
    assert send(stage, "GET", path).headers["content-type"] == "application/json"
    assert send(stage, "HEAD", path).content == b""


def test_a_plan_alone_spends_nothing_and_keeps_nothing(stage: Stage) -> None:
    before = send(stage, "GET", "/-/jobs").json()
    plan = order(
        stage, TOTALS, "lib", counters=["views"], by="year", **{"from": "2010", "to": "2012"}, dry_run=True
    )
    assert plan.json()["plan"] | {"calls": 0, "worst": 0} == {
        "cached": 0, "refused": 0, "calls": 0, "worst": 0, "seconds": 0.0, "worst_seconds": 0.0,
        "methods": {"views": "ranking"},
    }  # fmt: skip
    assert plan.json()["plan"]["calls"] < 30 < len(IDS) < plan.json()["plan"]["worst"]
    assert send(stage, "GET", "/-/jobs").json() == before
    assert stage.calls()["total"] == 0


def test_what_was_checked_is_checked_less_the_next_time_with_the_same_credential(stage: Stage) -> None:
    wish = TOTALS | {"item": "collection"}
    first = order(stage, wish, dry_run=True).json()["plan"]["calls"]
    assert ended(order(stage, wish))["calls"] == first
    assert order(stage, wish | {"institution": "monash"}, "other", dry_run=True).json()["plan"]["calls"] == first
    later = order(stage, wish, ids="all", dry_run=True).json()["plan"]["calls"]
    assert later <= 12 < first
    stage.tenant("alike", "lboro")
    until(lambda: order(stage, wish, "alike", ids="all", dry_run=True).status_code == 200)
    assert order(stage, wish, "alike", ids="all", dry_run=True).json()["plan"]["calls"] == later


def test_a_report_pauses_before_it_makes_more_calls_than_it_may_and_goes_on_where_it_was(stage: Stage) -> None:
    wish = TOTALS | {"item": "author", "method": "each", "counters": ["views"]}
    stream = order(stage, wish, max_calls=50)
    paused, path = ended(stream), stream.headers["location"]
    assert paused["state"] == "paused"
    assert stage.calls()["total"] <= 50
    assert send(stage, "GET", path + "/report").status_code == 409
    assert send(stage, "POST", path + "/continue?max_calls=3").status_code == 400
    assert send(stage, "POST", path + "/continue", "other").status_code == 404
    asked = send(stage, "POST", path + "/continue?max_calls=70", headers={"Accept": "application/json"})
    assert (asked.status_code, asked.json()["state"]) == (202, "running")
    assert ended(send(stage, "GET", path))["state"] == "paused"
    assert stage.calls()["total"] <= 70
    more = send(stage, "POST", path + "/continue?max_calls=200")
    assert ended(more)["state"] == "done"
    assert max(Counter(stage.calls()["by_path"]).values()) == 1
    assert stage.calls()["total"] == len(IDS)
    assert send(stage, "POST", path + "/continue").status_code == 409


def test_a_report_is_its_tenant_s_and_is_made_once_only(stage: Stage) -> None:
    stage.close_gate()
    try:
        wish = {"institution": "lboro", "ids": [201, 202], "counters": ["views"]}
        taken = send(stage, "POST", "/-/reports", json=wish, headers={"Accept": "application/json"})
        path = taken.headers["location"]
        assert (taken.status_code, taken.json()["about"]) == (202, "lboro, article: views by total")
        early = send(stage, "GET", path + "/report")
        assert (early.status_code, early.json()["code"]) == (409, "GatewayReportNotReady")
    finally:
        stage.open_gate()
    stream = send(stage, "GET", path)
    assert [*map(json.loads, stream.text.splitlines())][-1]["end"]["state"] == "done"
    assert send(stage, "GET", path + "/report").status_code == 200
    assert send(stage, "GET", path + "/report", "other").status_code == 404
    assert get(stage.gateways[0].url + path + "/report").status_code == 401
    batch = send(stage, "POST", "/-/batch", json={"targets": ["/lboro/total/views/article/201"]})
    assert send(stage, "GET", batch.headers["location"] + "/report").status_code == 404


def test_a_report_is_withheld_when_the_institution_is_lost(stage: Stage) -> None:
    stream = order(stage, MONTHS | {"institution": "melbourne"}, "leaving")
    path = stream.headers["location"] + "/report"
    assert ended(stream)["state"] == "done"
    assert send(stage, "GET", path, "leaving").status_code == 200
    stage.registry().remove("leaving", "melbourne")
    until(lambda: send(stage, "GET", path, "leaving").status_code == 403)
    assert send(stage, "GET", path, "leaving").json()["code"] == "Forbidden"


def test_a_report_that_cannot_be_made_says_why(stage: Stage) -> None:
    stage.plan(status=500)
    failed = ended(order(stage, TOTALS, ids="all", item="group", method="each"))
    assert (failed["state"], failed["calls"] > 0) == ("failed", True)
    assert "cannot be listed" in failed["why"]


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"ids": [1, "x", "", 2]}, 400, "ids[1]: 'x' is no id; ids[2]: there is no id"),
    ({"ids": list(range(20_001))}, 400, "20001 ids are more than 20000"),
    ({"institution": "monash", "by": "month", "from": "2015", "to": "2015"}, 403, "Unauthorized request"),
    ({"by": "day", "from": "0001", "to": "9999"}, 409, "columns"),
    ({"by": "month", "from": "2015-13", "to": "2016"}, 400, "from: '2015-13' is no date"),
    ({"counters": ["likes"]}, 400, "counters: 'likes' is none of"),
    ({"colour": "red"}, 400, "colour"),
    ({"max_calls": 0}, 400, "max_calls: it must be from 1"),
    ({"max_calls": 10**10}, 400, "max_calls: it must be from 1"),
]


@pytest.mark.parametrize(("more", "status", "says"), WRONG, ids=[says[:20] for *_, says in WRONG])
def test_an_order_that_cannot_be_used_spends_nothing(
    stage: Stage, more: dict[str, Any], status: int, says: str
) -> None:
    answer = order(stage, TOTALS | more)
    assert answer.status_code == status
    assert says in answer.json()["message"]
    assert stage.calls()["total"] == 0


def test_a_body_that_is_not_utf_8_is_one_clear_error(stage: Stage) -> None:
    answer = send(
        stage, "POST", "/-/reports", content=b'{"institution": "\xff", "ids": [1], "counters": ["views"]}'
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "GatewayInvalidInput")


def test_a_key_in_the_body_is_not_kept(stage: Stage) -> None:
    answer = order(stage, TOTALS | {"institution": stage.keys["lib"]})
    assert answer.status_code == 400
    assert stage.keys["lib"] not in answer.text
    assert send(stage, "GET", "/-/jobs/x/report?format=pdf").json()["message"].startswith("format: 'pdf'")
