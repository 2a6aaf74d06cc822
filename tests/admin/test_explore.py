"""Explore: an administrator makes a request as a tenant, on a real gateway over a real socket."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from gateway.admin.explain import curl_line
from gateway.setting_values import AdminToken
from tests.cli.command import command
from tests.integration.house import housed
from tests.integration.stage import Process, Stage, get, spawned, staged, until

TOKEN = "hunter2-admin"
PUBLIC = "/total/views/article/23"
LBORO = "/lboro/timeline/total/views/collection/15?start_date=2014-01-02&end_date=2014-03-05"
FORBIDDEN = '{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(budget="unlimited", admin_token=TOKEN, lifetime_jitter="0") as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("dash", "monash")
        registry = stage.registry()
        registry.create("slow", limits={"requests_per_second": 0.01, "burst": 2})
        registry.create("asleep", enabled=False)
        stage.serve()
        yield stage


def asked(gateway: Process, path: str | None, tenant: str | None = None) -> httpx.Response:
    query = {name: value for name, value in (("path", path), ("tenant", tenant)) if value is not None}
    admin = f"http://127.0.0.1:{gateway.admin_port}/api/explore"
    return get(admin, params=query, headers={"Authorization": f"Bearer {TOKEN}"})


def explored(stage: Stage, path: str, tenant: str | None = None) -> Any:
    answer = asked(stage.gateways[0], path, tenant)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_miss_and_then_a_hit_that_the_tenant_shares(stage: Stage) -> None:
    path = LBORO.replace("2014-03-05", "2014-03-06")
    first = explored(stage, path, "reports")
    assert (first["status"], first["outcome"], list(first["json"])) == (200, "miss", ["timeline"])
    assert first["cache_status"] == first["headers"]["cache-status"] == "stats-gateway; fwd=uri-miss; stored"
    assert first["headers"]["content-type"].startswith("application/json")
    again = explored(stage, path, "reports")
    assert (again["outcome"], again["body"]) == ("hit", first["body"])
    assert again["headers"]["cache-control"].startswith("private, max-age=")
    assert 0 <= again["seconds"] < 30
    own = get(stage.gateways[0].url + path, headers={"X-API-Key": stage.keys["reports"]})
    assert "; hit" in own.headers["cache-status"]
    assert own.text == again["body"]


def test_what_a_tenant_would_be_refused_is_refused_although_it_is_stored(stage: Stage) -> None:
    assert explored(stage, LBORO, "reports")["status"] == 200
    other = explored(stage, LBORO, "dash")
    assert (other["status"], other["body"], other["outcome"]) == (403, FORBIDDEN, "refused")
    nobody = explored(stage, LBORO)
    assert (nobody["status"], nobody["json"]["code"]) == (401, "GatewayUnauthenticated")
    asleep = explored(stage, PUBLIC, "asleep")
    assert (asleep["status"], asleep["json"]["code"]) == (401, "GatewayUnauthenticated")


def test_an_error_of_the_services_comes_through_as_it_is(stage: Stage) -> None:
    told = explored(stage, "/total/hugs/article/215", "reports")
    own = get(stage.sandbox.url + "/total/hugs/article/215")
    assert (told["status"], told["body"]) == (own.status_code, own.text)
    assert told["json"] == own.json()


def test_it_counts_as_the_tenants_own_request(stage: Stage) -> None:
    statuses = [explored(stage, PUBLIC, "slow")["status"] for _ in range(6)]
    assert statuses.count(200) in (2, 3)
    assert explored(stage, PUBLIC, "slow")["json"]["code"] == "GatewayRateLimited"
    key = stage.registry().add_key("slow")
    until(lambda: get(stage.gateways[0].url + PUBLIC, headers={"X-API-Key": key}).status_code == 429)


def test_without_a_tenant_it_asks_as_a_caller_without_a_key(stage: Stage) -> None:
    gateway = stage.serve(allow_anonymous="true", anonymous_requests_per_second="0.01", anonymous_burst="1")
    answers = [asked(gateway, PUBLIC).json() for _ in range(4)]
    assert answers[0]["headers"]["cache-control"].startswith("public, max-age=")
    assert answers[0]["curl"] == f"curl {gateway.url}{PUBLIC}"
    assert answers[-1]["status"] == 429


@pytest.mark.parametrize(
    ("path", "tenant", "status", "code"),
    [
        (None, None, 400, "GatewayInvalidInput"),
        ("", None, 400, "GatewayInvalidInput"),
        ("total/views/article/23", None, 400, "GatewayInvalidInput"),
        ("/total/views/article/2 3", None, 400, "GatewayInvalidInput"),
        ("/total/views/article/2\r\nX-API-Key: a", None, 400, "GatewayInvalidInput"),
        ("/total/views/article/2\x7f", None, 400, "GatewayInvalidInput"),
        ("/total/views/article/é", None, 400, "GatewayInvalidInput"),
        ("http://[::1/total", None, 400, "GatewayInvalidInput"),
        ("/-/health/ready", None, 400, "GatewayInvalidInput"),
        ("http://anywhere/-/docs", None, 400, "GatewayInvalidInput"),
        (PUBLIC, "nobody", 404, "GatewayNotFound"),
        (PUBLIC, "", 404, "GatewayNotFound"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_not_made(
    stage: Stage, path: str | None, tenant: str | None, status: int, code: str
) -> None:
    stage.reset_calls()
    answer = asked(stage.gateways[0], path, tenant)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert stage.calls()["total"] == 0


@pytest.mark.parametrize("path", ["/lboro/../monash/top/views/article", "/a%2Fb", "/a//b", "/%zz"])
def test_a_malformed_target_gets_what_the_tenant_would_get(stage: Stage, path: str) -> None:
    stage.reset_calls()
    told = explored(stage, path, "reports")
    assert (told["status"], told["json"]["code"], told["outcome"]) == (400, "GatewayBadTarget", "refused")
    told = explored(stage, path + "a" * 5_000, "reports")
    assert (told["status"], told["json"]["code"], told["outcome"]) == (414, "GatewayTargetTooLong", "refused")
    assert stage.calls()["total"] == 0


@pytest.mark.parametrize("path", ["/nothing/known?", "/nothing/known"])
@pytest.mark.parametrize("before", ["", "http://elsewhere.example"])
def test_an_empty_query_is_asked_as_such(stage: Stage, path: str, before: str) -> None:
    assert explored(stage, before + path, "reports")["path"] == path


def test_a_whole_url_is_asked_of_the_service_and_of_nobody_else(stage: Stage) -> None:
    told = explored(stage, "http://elsewhere.example:1" + PUBLIC + "#part", "reports")
    assert (told["path"], told["json"]) == (PUBLIC, {"totals": 231})


def test_the_line_to_paste_holds_no_key_and_says_where_clients_ask(stage: Stage) -> None:
    gateway = stage.gateways[0]
    told = explored(stage, LBORO, "reports")
    assert told["curl"] == f"curl -H \"X-API-Key: $GATEWAY_KEY\" '{gateway.url}{LBORO}'"
    named = stage.serve(public_url="https://stats.example.org/")
    assert "'https://stats.example.org/lboro/" in asked(named, LBORO, "reports").json()["curl"]


def test_the_line_names_the_port_that_was_free(stage: Stage) -> None:
    words = ["serve", "--port", "0", "--admin-port", "0"]
    with spawned(words, stage.environment, stage.folder / "free.log") as process:
        until(lambda: "ready" in process.output)
        places = dict(re.findall(r"^ +(public|admin) +(\S+)$", process.output, re.MULTILINE))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        told = get(f"{places['admin']}/api/explore", params={"path": PUBLIC}, headers=headers).json()
    assert told["curl"] == f"curl {places['public']}{PUBLIC}"


def test_no_target_leaves_its_quotes() -> None:
    assert curl_line("http://a/x?y='$(id)'", keyed=False) == """curl 'http://a/x?y='"'"'$(id)'"'"''"""


async def test_it_waits_no_longer_than_a_caller(stage: Stage) -> None:
    async with housed(stage, caller_timeout=0.3) as house:
        stage.close_gate()
        try:
            told = (await house.explore("/total/views/article/4711", "reports")).json()
        finally:
            stage.open_gate()
    assert (told["status"], told["json"]["code"]) == (503, "GatewayDeadlineExceeded")
    assert (told["outcome"], told["detail"]) == ("failed", "GatewayDeadlineExceeded")


async def test_bodies_come_as_they_are_whatever_they_are(stage: Stage) -> None:
    many = {"timeline": {f"{n:06}": n for n in reversed(range(40_000))}}
    bodies = [
        json.dumps(many),
        '{"top": {"9": 1, "10": 18446744073709551617, "10": 3}}',
        "<p>no JSON",
        "[" * 3_000,
    ]
    async with housed(stage) as house:
        for number, body in enumerate(bodies):
            stage.plan(status=200, body=body, headers={"content-type": "application/json"})
            answer = await house.explore(f"/total/views/article/{9_000 + number}", "reports")
            assert answer.status_code == 200, answer.text
            assert answer.json()["body"] == body
            is_json = number < 2
            assert (f'"json":{body}' in answer.text) is is_json
            assert (answer.json()["json"] is not None) is is_json


async def test_a_body_beyond_the_cap_is_a_failure_of_the_service(stage: Stage) -> None:
    async with housed(stage, body_max_bytes=1_024) as house:
        stage.plan(status=200, body='"' + "a" * 2_000 + '"')
        told = (await house.explore("/total/views/article/9100", "reports")).json()
    assert (told["status"], told["json"]["code"]) == (502, "GatewayUpstreamTooLarge")


async def test_an_answer_can_be_looked_at_by_who_may_only_read_and_by_nobody_else(stage: Stage) -> None:
    watcher = AdminToken(digest="sha256:" + hashlib.sha256(b"hunter2-watching").hexdigest())
    async with housed(stage, admin_tokens={"watcher": watcher}) as house:
        for token, status in (("hunter2-watching", 200), ("wrong", 401), ("", 401)):
            bearer = {"Authorization": f"Bearer {token}"}
            answer = await house.admin.get("/api/explore", params={"path": PUBLIC}, headers=bearer)
            assert answer.status_code == status


def test_who_looked_at_whose_numbers_is_in_the_audit_log(stage: Stage) -> None:
    told = explored(stage, LBORO, "reports")
    request_id = told["headers"]["x-request-id"]
    lines = [line for line in stage.gateways[0].settled.splitlines() if '"event": "audit"' in line]
    line = json.loads(next(each for each in lines if request_id in each))
    assert (line["admin"], line["operation"], line["status"]) == ("admin", "GET /api/explore", 200)
    assert line["on"] == {"tenant": "reports", "request_id": request_id}


def test_from_the_command_line(stage: Stage) -> None:
    url = f"http://127.0.0.1:{stage.gateways[0].admin_port}"
    settings: Any = {"STATS_GATEWAY_ADMIN_URL": url, "STATS_GATEWAY_ADMIN_TOKEN": TOKEN}
    done = command("explore", LBORO, "--tenant", "reports", **settings)
    assert (done.code, done.out) == (0, '{"timeline": {"total": 10}}\n')
    assert done.err.startswith("200, stats-gateway; ")
    told = json.loads(command("explore", LBORO, "--tenant", "reports", "--json", **settings).out)
    assert told["json"] == {"timeline": {"total": 10}}
    refused = command("explore", LBORO, "--tenant", "dash", **settings)
    assert (refused.code, refused.out) == (1, FORBIDDEN + "\n")
    assert command("explore", LBORO, "--tenant", "nobody", **settings).code == 3
