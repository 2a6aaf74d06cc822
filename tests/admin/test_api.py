"""The admin API on a real gateway, over a real socket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.stage import Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

TOKEN, WATCHING = "hunter2-admin", "hunter2-watching"
DIGEST = "sha256:" + hashlib.sha256(WATCHING.encode()).hexdigest()
PAIR = {"username": "u", "password": "p"}
LBORO = "/lboro/timeline/day/views/article/77?start_date=2014-01-01&end_date=2014-03-01"


class House:
    """A stage with one gateway whose admin API has two tokens."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.gateway = stage.gateways[0]
        self.admin = f"http://127.0.0.1:{self.gateway.admin_port}"

    def ask(self, method: str, path: str, body: Any = None, token: str = TOKEN, **more: Any) -> httpx.Response:
        headers = ({"Authorization": f"Bearer {token}"} if token else {}) | more.pop("headers", {})
        with httpx.Client(**LOOPBACK, timeout=20) as client:
            return client.request(method, self.admin + path, json=body, headers=headers, **more)

    def told(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def house(shared_redis: RedisServer) -> Iterator[House]:
    tokens = json.dumps({"watcher": {"digest": DIGEST, "role": "read-only"}})
    settings = {"redis_url": shared_redis.url, "redis_prefix": "console", "budget": "unlimited"}
    with staged(**settings, admin_token=TOKEN, admin_tokens=tokens) as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield House(stage)


def test_a_tenant_lives_through_the_api(house: House) -> None:
    made = house.ask("POST", "/api/tenants", {"id": "dash", "name": "Dash", "limits": {"share": 2.0}})
    assert (made.status_code, made.json()["limits"]["share"]) == (201, 2.0)
    assert house.ask("POST", "/api/tenants", {"id": "dash"}).status_code == 409
    pair = {"username": "lboro", "password": "sandbox-lboro"}
    assert house.ask("PUT", "/api/tenants/dash/institutions/lboro", pair).status_code == 204
    key = house.ask("POST", "/api/tenants/dash/keys", {"label": "cron"}).json()
    target = house.gateway.url + LBORO
    until(lambda: get(target, headers={"X-API-Key": key["key"]}).status_code == 200)
    changed = house.ask("PATCH", "/api/tenants/dash", {"note": "by mail", "limits": {"burst": 9}})
    assert (changed.json()["note"], changed.json()["limits"]["burst"]) == ("by mail", 9)
    rotated = house.ask("POST", f"/api/keys/{key['id']}/rotate", {"overlap": 0}).json()
    until(lambda: get(target, headers={"X-API-Key": key["key"]}).status_code == 401)
    assert get(target, headers={"X-API-Key": rotated["key"]}).status_code == 200
    assert house.ask("DELETE", f"/api/keys/{rotated['id']}").status_code == 204
    assert {each["id"] for each in house.told("/api/tenants/dash/keys")["keys"]} == {key["id"], rotated["id"]}
    page = "/api/tenants?after=dasg&limit=1"
    until(lambda: house.told(page)["tenants"][0]["keys"] == 0)  # one has expired, one is revoked
    assert house.ask("DELETE", "/api/tenants/dash").status_code == 204
    assert house.ask("GET", "/api/tenants/dash").status_code == 404
    assert "sandbox-lboro" not in json.dumps(house.told("/api/tenants/reports"))


def test_tenants_are_listed_by_pages(house: House) -> None:
    until(lambda: house.told("/api/tenants?limit=1")["total"] >= 1)
    first = house.told("/api/tenants?limit=1")
    assert len(first["tenants"]) == 1
    rest = house.told(f"/api/tenants?after={first['tenants'][0]['id']}")
    assert len(rest["tenants"]) == first["total"] - 1


def audited(house: House, *words: str) -> str:
    """The line of the audit log that holds these words."""
    lines = [line for line in house.gateway.settled.splitlines() if '"event": "audit"' in line]
    return next(line for line in lines if all(word in line for word in words))


def test_a_change_is_in_the_audit_log_with_what_it_was_about(house: House) -> None:
    house.ask("POST", "/api/tenants", {"id": "audited"})
    assert '"status": 201' in audited(house, "POST /api/tenants", "audited")
    made = house.ask("POST", "/api/tenants/audited/keys", {}).json()
    line = audited(house, "/keys", made["id"])
    assert made["key"] not in house.gateway.output
    assert '"admin": "admin"' in line
    house.ask("POST", "/api/purge", {"item": "article/4711", "hard": True})
    assert "hard" in audited(house, "POST /api/purge", "article/4711")
    house.ask("DELETE", "/api/tenants/audited")


def test_a_key_pasted_in_the_wrong_place_is_logged_nowhere(house: House) -> None:
    key = house.stage.keys["reports"]
    before = house.told("/api/tenants/reports")
    for method, path, body in (
        ("GET", f"/api/tenants/{key}", None),
        ("GET", f"/api/tenants?search={key}", None),
        ("DELETE", f"/api/keys/{key}", None),
        ("POST", f"/api/keys/{key}/rotate", {}),
        ("DELETE", f"/api/tenants/{key}", None),
        ("PUT", f"/api/tenants/reports/institutions/{key}", PAIR),
        ("PUT", "/api/tenants/reports/institutions/x", PAIR | {"username": key}),
        ("POST", f"/api/breakers/{key}/hold", None),
        ("POST", "/api/tenants", {"id": key}),
        ("POST", "/api/tenants", {"id": "x", "name": f"of {key}"}),
        ("PATCH", "/api/tenants/reports", {"name": key[:-1]}),
        ("PATCH", "/api/tenants/reports", {"note": f"theirs is\n{key}"}),
        ("PATCH", "/api/tenants/reports", {"origins": [f"https://{key}"]}),
        ("PATCH", "/api/tenants/reports", {"networks": [key]}),
        ("POST", "/api/tenants/reports/keys", {"label": key}),
        ("POST", "/api/purge", {"item": f"article/{key}"}),
        ("POST", "/api/purge", {"institution": key}),
        ("POST", "/api/purge", {"query": f"/{key}/total/views/article/1"}),
        ("GET", f"/api/usage?tenant=reports,{key}", None),
        ("GET", f"/api/explain?path=/&tenant={key}", None),
        ("GET", f"/api/explore?path=/{key}", None),
        ("GET", f"/api/explore?path=/total/views/article/1?k={key.replace('_', '%255F')}", None),
        ("GET", f"/api/explore?path=/{key.replace('sgw_', '%2573gw%255f')}", None),
        ("GET", f"/api/explain?path=/{key.replace('_', '%255F')}", None),
        ("PUT", f"/api/tenants/reports/institutions/{key.replace('_', '%255F')}", PAIR),
        ("GET", f"/api/tenants?{key}=1", None),
        ("GET", f"/api/tenants?{key.replace('_', '%255F')}=1", None),
        ("GET", f"/api/tenants?limit=1&limit={key}", None),
        ("POST", f"/api/purge?{key}", {"all": True}),
    ):
        answer = house.ask(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "GatewayInvalidInput"), (method, path, body)
        assert "a gateway key was given" in answer.json()["message"]
        assert key.rpartition("_")[2] not in answer.text
        headers = {"X-Forwarded-For": "198.51.100.1"}
        assert house.ask(method, path, body, token="", headers=headers).status_code == 401
    assert house.told("/api/tenants/reports") == before
    assert key.rpartition("_")[2] not in house.gateway.output
    assert audited(house, "DELETE /api/keys/{key}", "***")


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "encoded"])
def test_a_key_where_the_name_of_a_field_belongs_is_not_repeated(house: House, encoded: bool) -> None:
    key = house.stage.keys["reports"]
    name = key.replace("_", "%5F") if encoded else key
    for method, path, body in (
        ("POST", "/api/tenants", {"id": "x", name: "x"}),
        ("PATCH", "/api/tenants/reports", {"limits": {name: 1}}),
        ("PATCH", "/api/tenants/reports", {"lifetimes": {name: 1}}),
        ("PUT", "/api/tenants/reports/institutions/x", PAIR | {name: "x"}),
        ("POST", "/api/tenants/reports/keys", {name: "x"}),
        ("POST", "/api/purge", {name: "x"}),
    ):
        answer = house.ask(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "GatewayInvalidInput"), (method, path, body)
        assert key.rpartition("_")[2] not in answer.text, (method, path, body)
    assert key.rpartition("_")[2] not in house.gateway.settled


def test_a_change_is_in_the_audit_log_without_a_secret(house: House) -> None:
    house.ask("PUT", "/api/tenants/reports/institutions/monash", {"username": "m", "password": "hunter2-monash"})
    line = next(each for each in house.gateway.settled.splitlines() if "audit" in each and "monash" in each)
    assert "reports" in line
    assert "PUT /api/tenants/{tenant}/institutions/{institution}" in line
    for secret in ("hunter2", WATCHING, TOKEN):
        assert secret not in house.gateway.output


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/api/tenants", {"id": "Bad Id"}, 400, "GatewayInvalidInput"),
        ("POST", "/api/tenants", {"id": "x", "colour": 1}, 400, "GatewayInvalidInput"),
        ("POST", "/api/tenants", None, 400, "GatewayInvalidInput"),
        ("PATCH", "/api/tenants/reports", {"limits": {"burst": -1}}, 400, "GatewayInvalidInput"),
        ("PATCH", "/api/tenants/reports", {"origins": ["no origin"]}, 400, "GatewayInvalidInput"),
        ("PATCH", "/api/tenants/reports", {"networks": ["10.1.2.3/16"]}, 400, "GatewayInvalidInput"),
        ("PATCH", "/api/tenants/reports", {"networks": "10.1.0.0/16"}, 400, "GatewayInvalidInput"),
        ("PATCH", "/api/tenants/nobody", {"note": "x"}, 404, "GatewayNotFound"),
        ("DELETE", "/api/keys/AbCdEf1234", None, 404, "GatewayNotFound"),
        ("PUT", "/api/tenants/reports/institutions/top", PAIR, 400, "GatewayInvalidInput"),
        ("POST", "/api/purge", {}, 400, "GatewayInvalidInput"),
        ("POST", "/api/purge", {"all": True, "item": "article/1"}, 400, "GatewayInvalidInput"),
        ("POST", "/api/purge", {"item": "article"}, 400, "GatewayInvalidInput"),
        ("POST", "/api/purge", {"query": "no path"}, 400, "GatewayInvalidInput"),
        ("GET", "/api/usage?first=yesterday", None, 400, "GatewayInvalidInput"),
        ("GET", "/api/usage?colour=red", None, 400, "GatewayInvalidInput"),
        ("GET", "/api/usage?last=0001-01-01", None, 400, "GatewayInvalidInput"),
        ("GET", "/api/usage?first=0001-01-01&last=9999-12-31", None, 400, "GatewayInvalidInput"),
        ("POST", "/api/purge", {"institution": "no such / thing"}, 400, "GatewayInvalidInput"),
        ("POST", "/api/purge", {"item": "articel/23"}, 400, "GatewayInvalidInput"),
        ("POST", "/api/purge", {"item": "article/2\u00003"}, 400, "GatewayInvalidInput"),
        ("GET", "/api/explain", None, 400, "GatewayInvalidInput"),
        ("GET", "/api/explain?path=/&tenant=nobody", None, 404, "GatewayNotFound"),
        ("POST", "/api/breakers/abc/hold", None, 400, "GatewayInvalidInput"),
        ("GET", "/api/nothing", None, 404, "GatewayNotFound"),
        ("GET", "/api/tenants/", None, 404, "GatewayNotFound"),
        ("GET", "/api/tenants?limit=1&limit=2", None, 400, "GatewayInvalidInput"),
        ("POST", "/api/tenants/reports/keys", {"expires": "2020-01-01T00:00:00Z"}, 400, "GatewayInvalidInput"),
        ("PATCH", "/api/tenants/reports", {"note": "\x1b[2J"}, 400, "GatewayInvalidInput"),
        ("DELETE", "/api/usage", None, 405, "GatewayMethodNotAllowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_the_services_shape(
    house: House, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = house.ask(method, path, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"message", "code", "data"}
    assert "regex" not in answer.text
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"token": ""}, 401),
        ({"token": "wrong"}, 401),
        ({"token": WATCHING}, 403),
        ({"headers": {"Host": "evil.example"}}, 403),
    ],
    ids=["none", "wrong", "read-only", "rebinding"],
)
def test_who_may_not_change_anything_changes_nothing(house: House, more: Any, status: int) -> None:
    before = house.told("/api/tenants/reports")
    assert house.ask("PATCH", "/api/tenants/reports", {"note": "mine"}, **more).status_code == status
    assert house.told("/api/tenants/reports") == before


def test_a_token_that_may_only_read_reads(house: House) -> None:
    assert house.ask("GET", "/api/queue", token=WATCHING).status_code == 200
    assert house.ask("POST", "/api/purge/preview", {"all": True}, token=WATCHING).status_code == 200
    assert house.ask("POST", "/api/purge", {"all": True}, token=WATCHING).status_code == 403


def test_a_purge_and_its_preview_and_explain_agree(house: House) -> None:
    key = {"X-API-Key": house.stage.keys["reports"]}
    target = house.gateway.url + LBORO
    assert get(target, headers=key).status_code == 200
    until(lambda: house.ask("POST", "/api/purge/preview", {"item": "article/77"}).json()["matching"] >= 1)
    assert house.ask("POST", "/api/purge/preview", {"item": "article/78"}).json()["matching"] == 0
    explain = {"path": LBORO, "tenant": "reports"}
    told = house.ask("GET", "/api/explain", params=explain).json()
    assert (told["query"]["family"], told["lifetime"]["rule"], told["decision"]) == ("timeline", "closed", "Serve")
    assert told["scope"]["institution"] == "lboro"
    assert told["entry"]["age"] >= 0
    assert house.ask("POST", "/api/purge", {"query": LBORO}).status_code == 200
    assert house.ask("GET", "/api/explain", params=explain).json()["decision"] == "ServeAndRefresh"
    assert house.ask("POST", "/api/purge", {"item": "article/77", "hard": True}).status_code == 200
    assert house.ask("GET", "/api/explain", params=explain).json()["decision"] == "Fetch"
    refused = house.ask("GET", "/api/explain", params={"path": LBORO}).json()
    assert refused["decision"] == "Refuse"
    nobody = house.ask("GET", "/api/explain", params={"path": "/total/views/article/1"}).json()
    assert (nobody["decision"], nobody["why"]) == ("Refuse", "nobody may ask without a key")


def test_a_held_gate_asks_nothing_and_a_resumed_one_asks_again(house: House) -> None:
    key = {"X-API-Key": house.stage.keys["reports"]}
    try:
        assert house.ask("POST", "/api/gate/hold").json()["state"] == "held"
        assert house.told("/api/queue")["gate"]["state"] == "held"
        answer = get(house.gateway.url + "/total/views/article/1234", headers=key)
        assert (answer.status_code, answer.json()["code"]) == (503, "GatewayGateClosed")
    finally:
        assert house.ask("POST", "/api/gate/resume").json()["state"] == "open"
    assert get(house.gateway.url + "/total/views/article/1234", headers=key).status_code == 200


def test_a_held_credential_is_not_used_until_it_is_resumed(house: House) -> None:
    told = house.ask("GET", "/api/explain", params={"path": LBORO, "tenant": "reports"}).json()
    fingerprint = told["scope"]["fingerprint"]
    key = {"X-API-Key": house.stage.keys["reports"]}
    try:
        held = house.ask("POST", f"/api/breakers/{fingerprint}/hold").json()
        assert fingerprint in [each["fingerprint"] for each in held["refused"]]
        assert get(house.gateway.url + LBORO, headers=key).status_code == 403
    finally:
        house.ask("POST", f"/api/breakers/{fingerprint}/resume")
    assert get(house.gateway.url + LBORO, headers=key).status_code == 200


def test_the_settings_are_told_without_secrets(house: House) -> None:
    told = house.ask("GET", "/api/settings")
    assert told.json()["admin_token"] == "***"
    assert told.json()["budget"] == "unlimited"
    assert "hunter2" not in told.text
    assert DIGEST not in told.text


def test_the_description_names_every_operation_and_the_page_runs_no_script(house: House) -> None:
    described = house.ask("GET", "/openapi.json", token="").json()
    assert described["openapi"] == "3.1.0"
    assert {"/api/tenants", "/api/purge", "/api/explain"} <= set(described["paths"])
    page = house.ask("GET", "/docs", token="")
    assert "/api/purge/preview" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert house.ask("GET", "/docs", headers={"Host": "evil.example"}).status_code == 403


def test_the_public_listener_has_none_of_it(house: House) -> None:
    for path in ("/-/api/tenants", "/-/metrics", "/-/", "/-/docs/", "/-/health"):
        answer = get(house.gateway.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()["code"]) == (404, "GatewayNotFound")
        assert "see /-/docs" in answer.json()["message"]
    with httpx.Client(**LOOPBACK, timeout=20) as client:
        assert "<nav" not in client.get(f"{house.gateway.url}/-/docs").text
        answer = client.delete(f"{house.gateway.url}/-/docs")
        assert (answer.status_code, answer.json()["code"]) == (405, "GatewayMethodNotAllowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_quiet_log_still_tells_of_changes_and_explain_of_a_disabled_tenant(house: House) -> None:
    quiet = house.stage.serve(log_level="error")
    admin = f"http://127.0.0.1:{quiet.admin_port}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=admin, headers=headers, **LOOPBACK) as client:
        assert client.post("/api/tenants", json={"id": "asleep", "enabled": False}).status_code == 201
        explain = {"path": "/total/views/article/1", "tenant": "asleep"}
        until(lambda: client.get("/api/explain", params=explain).status_code == 200)
        told = client.get("/api/explain", params=explain).json()
        assert (told["decision"], told["why"]) == ("Refuse", "the tenant is disabled")
        client.delete("/api/tenants/asleep")
    assert quiet.settled.count('"event": "audit"') == 2


def test_without_a_token_the_api_is_closed_and_metrics_are_open(house: House) -> None:
    gateway = house.stage.serve(admin_token="", admin_tokens="{}")
    admin = f"http://127.0.0.1:{gateway.admin_port}"
    closed = get(f"{admin}/api/tenants")
    assert (closed.status_code, closed.json()["code"]) == (503, "GatewayAdminDisabled")
    assert "STATS_GATEWAY_ADMIN_TOKEN" in closed.json()["message"]
    assert get(f"{admin}/metrics").status_code == 200
