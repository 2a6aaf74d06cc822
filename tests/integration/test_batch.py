"""Batches and jobs as a client meets them, at a real socket: what they answer, to whom, and what they spend."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.stage import Process, Stage, staged, until
from tests.loopback import LOOPBACK
from tests.wire import ask

WINDOW = "start_date=2014-01-01&end_date=2014-03-01"
MONASH = f"/monash/timeline/day/views/article/7?{WINDOW}"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One gateway on the embedded cache; ``slow`` may ask four times a second."""
    with staged("--no-examples", budget="unlimited", jobs_per_tenant=3) as stage:
        for tenant, institution in (
            ("lib", "lboro"),
            ("other", "monash"),
            ("slow", "lboro"),
            ("leaving", "lboro"),
        ):
            stage.tenant(tenant, institution)
        stage.registry().change("slow", limits={"requests_per_second": 4.0, "burst": 1, "requests_per_day": 1_000})
        stage.serve()
        yield stage


@pytest.fixture
def gateway(stage: Stage) -> Process:
    stage.reset_calls()
    return stage.gateways[0]


def key(stage: Stage, tenant: str = "lib", **more: str) -> dict[str, str]:
    return {"X-API-Key": stage.keys[tenant], **{name.replace("_", "-"): value for name, value in more.items()}}


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def send(method: str, url: str, **options: Any) -> httpx.Response:
    return httpx.request(method, url, timeout=60, **LOOPBACK, **options)


def batch(stage: Stage, targets: list[str], tenant: str = "lib", **more: Any) -> httpx.Response:
    url = stage.gateways[0].url + "/-/batch"
    return send("POST", url, json={"targets": targets, **more}, headers=key(stage, tenant))


def totals(first: int, last: int) -> list[str]:
    return [f"/lboro/total/views/article/{number}" for number in range(first, last)]


def test_each_target_is_answered_as_by_itself_and_one_s_error_is_its_own(stage: Stage, gateway: Process) -> None:
    known = [target.replace("views", "shares") for target in totals(100, 103)]  # asked by this test alone
    alone = send("GET", gateway.url + known[0], headers=key(stage))
    plan, *answers, end = lines(batch(stage, [*known, MONASH, "/../x", "/-/jobs", "/lboro/total/views/article"]))
    assert plan["plan"] == {"cached": 1, "refused": 3, "calls": 3, "seconds": 0.0}
    by_target = {each["target"]: each for each in answers}
    assert [each["n"] for each in answers] == list(range(1, 8))
    assert by_target[known[0]]["body"] == alone.json()
    assert [by_target[each]["how"] for each in known] == ["cached", "call", "call"]
    assert {each: by_target[each]["status"] for each in (MONASH, "/../x", "/-/jobs")} == {
        MONASH: 403, "/../x": 400, "/-/jobs": 400,
    }  # fmt: skip
    counts = end["end"]
    assert (counts["state"], counts["answered"], counts["calls"], counts["errors"]) == ("done", 7, 3, 4)
    assert stage.calls()["total"] == 4


def test_what_is_stored_is_answered_first_and_spends_nothing(stage: Stage, gateway: Process) -> None:
    lines(batch(stage, totals(110, 112)))
    stage.reset_calls()
    _, *answers, _ = lines(batch(stage, totals(110, 113)[::-1]))
    assert [each["target"] for each in answers] == [*totals(110, 112)[::-1], *totals(112, 113)]
    assert stage.calls()["total"] == 1


def test_a_plan_alone_spends_nothing_and_keeps_nothing(stage: Stage, gateway: Process) -> None:
    before = send("GET", gateway.url + "/-/jobs", headers=key(stage)).json()
    answer = batch(stage, [*totals(120, 123), MONASH], dry_run=True)
    assert answer.json() == {"targets": 4, "plan": {"cached": 0, "refused": 1, "calls": 3, "seconds": 0.0}}
    assert send("GET", gateway.url + "/-/jobs", headers=key(stage)).json() == before
    assert stage.calls()["total"] == 0


def test_a_stream_goes_on_where_it_broke(stage: Stage, gateway: Process) -> None:
    first = batch(stage, totals(130, 135))
    url = gateway.url + first.headers["location"]
    plan, *answers, end = lines(send("GET", url + "?from=4", headers=key(stage)))
    assert answers == lines(first)[4:6]
    assert "plan" in plan
    assert end["end"]["answered"] == 5
    events = send("GET", url, headers=key(stage, accept="text/event-stream", last_event_id="4"))
    assert events.headers["content-type"] == "text/event-stream"
    blocks = [block.split("\n") for block in events.text.strip().split("\n\n")]
    assert [block[0] for block in blocks] == ["event: plan", "event: answer", "event: end"]
    assert blocks[1][1] == "id: 5"
    assert json.loads(blocks[1][2].removeprefix("data: "))["target"] == answers[1]["target"]
    view = send("GET", url, headers=key(stage, accept="application/json")).json()
    assert (view["state"], view["answered"]) == ("done", 5)
    assert send("GET", url + "?from=no", headers=key(stage)).status_code == 400
    assert send("HEAD", url, headers=key(stage)).content == b""


def test_a_job_is_its_tenant_s_and_nobody_else_s(stage: Stage, gateway: Process) -> None:
    url = gateway.url + batch(stage, totals(140, 141)).headers["location"]
    for method in ("GET", "DELETE"):
        assert send(method, url, headers=key(stage, "other")).status_code == 404
        assert send(method, url).status_code == 401
    assert send("GET", gateway.url + "/-/jobs").status_code == 401
    assert send("GET", gateway.url + "/-/jobs", headers=key(stage, "other")).json() == {"jobs": []}
    assert send("GET", f"{gateway.url}/-/jobs/{'0' * 32}", headers=key(stage)).status_code == 404
    assert lines(send("GET", url, headers=key(stage)))[-1]["end"]["state"] == "done"


def test_what_is_kept_is_withheld_when_the_institution_is_lost(stage: Stage, gateway: Process) -> None:
    protected = [f"/lboro/timeline/day/views/article/{number}?{WINDOW}" for number in (150, 151)]
    first = batch(stage, [*protected, "/total/views/article/150"], "leaving")
    url, own = gateway.url + first.headers["location"], key(stage, "leaving")
    assert {each["status"] for each in lines(first)[1:-1]} == {200}
    stage.registry().remove("leaving", "lboro")
    until(lambda: send("GET", gateway.url + protected[0], headers=own).status_code == 403)
    kept = {each["target"]: each for each in lines(send("GET", url, headers=own))[1:-1]}
    assert {kept[each]["status"] for each in protected} == {403}
    assert {kept[each]["body"]["code"] for each in protected} == {"Forbidden"}
    assert kept["/total/views/article/150"]["status"] == 200
    stage.registry().change("leaving", enabled=False)
    until(lambda: send("GET", url, headers=own).status_code == 401)


def left_of_the_day(stage: Stage, gateway: Process) -> int:
    """What the tenant ``slow`` has left, after this request."""
    answers: list[httpx.Response] = []

    def is_admitted() -> bool:
        answers.append(send("GET", gateway.url + "/total/views/article/1", headers=key(stage, "slow")))
        return answers[-1].status_code == 200

    until(is_admitted)
    found = re.search(r'"day";r=(\d+)', answers[-1].headers["ratelimit"])
    assert found is not None
    return int(found[1])


def test_a_batch_and_each_of_its_calls_count_as_a_request_and_wait_for_the_tenant_s_limit(
    stage: Stage, gateway: Process
) -> None:
    """Four a second, one at once: no call of the batch may be made at once."""
    before, answers = left_of_the_day(stage, gateway), list[httpx.Response]()

    def is_admitted() -> bool:
        answers.append(batch(stage, [*totals(100, 101), *totals(160, 163)], "slow"))
        return answers[-1].status_code == 200

    lines(batch(stage, totals(100, 101)))
    until(is_admitted)
    assert sorted(each["how"] for each in lines(answers[-1])[1:-1]) == ["cached", "call", "call", "call"]
    assert before - left_of_the_day(stage, gateway) == 1 + 3 + 1


def test_a_job_that_is_ended_asks_no_more(stage: Stage, gateway: Process) -> None:
    stage.close_gate()
    try:
        with httpx.stream(
            "POST", gateway.url + "/-/batch", json={"targets": totals(170, 190)}, headers=key(stage), **LOOPBACK
        ) as answer:
            url = gateway.url + answer.headers["location"]
            given = answer.iter_lines()
            assert json.loads(next(given))["plan"]["calls"] == 20
            assert send("DELETE", url, headers=key(stage)).status_code == 204
            stage.open_gate()
            ended = [json.loads(line) for line in given][-1]["end"]
        assert ended["state"] == "cancelled"
        assert stage.calls()["total"] < 20
        assert send("DELETE", url, headers=key(stage)).status_code == 204
        assert send("GET", url, headers=key(stage)).status_code == 404
    finally:
        stage.open_gate()


def test_warming_answers_at_once_and_leaves_what_loops_will_ask_for(stage: Stage, gateway: Process) -> None:
    answer = send("POST", gateway.url + "/-/warm", json={"targets": totals(200, 203)}, headers=key(stage))
    assert answer.status_code == 202
    stream = lines(send("GET", gateway.url + answer.headers["location"], headers=key(stage)))
    assert [*stream[-1]] == ["end"]
    assert len(stream) == 2
    one = send("GET", gateway.url + totals(200, 201)[0], headers=key(stage))
    assert "hit" in one.headers["cache-status"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "GatewayInvalidInput"),
        (b'"/a"\nnonsense', "application/x-ndjson", 400, "GatewayInvalidInput"),
        (b'{"template": "/{id}", "id": [1, null]}', "application/json", 400, "GatewayInvalidInput"),
        (json.dumps({"targets": ["/a"] * 20_001}).encode(), "application/json", 400, "GatewayInvalidInput"),
        (b" " * (4 * 1024 * 1024 + 1), "application/json", 413, "GatewayBodyTooLarge"),
    ],
)
def test_a_body_that_cannot_be_used_spends_nothing(
    stage: Stage, gateway: Process, content: bytes, kind: str, status: int, code: str
) -> None:
    answer = send("POST", gateway.url + "/-/batch", content=content, headers=key(stage, content_type=kind))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert stage.calls()["total"] == 0


def test_pages_may_order_batches_and_other_methods_are_refused(stage: Stage, gateway: Process) -> None:
    asked = "OPTIONS /-/batch HTTP/1.1\r\nHost: gateway\r\nOrigin: https://page.example\r\n"
    asked += "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-api-key\r\n\r\n"
    granted = ask(("127.0.0.1", gateway.port), asked.encode())
    assert granted.headers["access-control-allow-methods"] == "POST"
    assert send("GET", gateway.url + "/-/batch", headers=key(stage)).status_code == 405
