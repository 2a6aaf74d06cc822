"""Jobs and reports through the admin API, on a real fleet of two over real sockets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from gateway.cli.batch import JOB_ID
from tests.integration.stage import Stage, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

TOKEN, WATCHING = "hunter2-admin", "hunter2-watching"
DIGEST = "sha256:" + hashlib.sha256(WATCHING.encode()).hexdigest()
WISH: dict[str, Any] = {"tenant": "lib", "institution": "lboro", "ids": [1, 2, 3], "counters": ["views"]}


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    tokens = json.dumps({"watcher": {"digest": DIGEST, "role": "read-only"}})
    settings = {"redis_url": shared_redis.url, "redis_prefix": "adminjobs", "budget": "unlimited"}
    with staged("--no-examples", **settings, admin_token=TOKEN, admin_tokens=tokens) as stage:
        for tenant, institution in (
            ("lib", "lboro"),
            ("dash", "monash"),
            ("slow", "monash"),
            ("leaving", "melbourne"),
        ):
            stage.tenant(tenant, institution)
        registry = stage.registry()
        registry.create("asleep", enabled=False)
        registry.change("slow", limits={"requests_per_second": 0.001, "burst": 2})
        stage.serve()
        stage.serve()
        yield stage


def ask(stage: Stage, method: str, path: str, body: Any = None, token: str = TOKEN, at: int = 0) -> httpx.Response:
    url = f"http://127.0.0.1:{stage.gateways[at].admin_port}{path}"
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, url, json=body, headers=headers, timeout=20, **LOOPBACK)


def own(stage: Stage, method: str, path: str, tenant: str = "lib", body: Any = None) -> httpx.Response:
    """What the tenant's own client is answered."""
    headers = {"X-API-Key": stage.keys[tenant], "Accept": "application/json"}
    url = stage.gateways[0].url + path
    return httpx.request(method, url, headers=headers, json=body, timeout=20, **LOOPBACK)


def order(stage: Stage, **more: Any) -> str:
    answer = ask(stage, "POST", "/api/reports", WISH | more)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job"])


def ends(stage: Stage, job: str, state: str = "done", at: int = 1) -> dict[str, Any]:
    """The job as the other process sees it, once it is in this state."""
    until(lambda: ask(stage, "GET", f"/api/jobs/{job}", at=at).json()["state"] == state)
    return dict(ask(stage, "GET", f"/api/jobs/{job}", at=at).json())


def audit(stage: Stage, operation: str, at: int = 0) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stage.gateways[at].settled.splitlines() if '"event": "audit"' in line]
    return [line for line in lines if line["operation"] == operation]


def test_a_plan_spends_nothing_and_is_for_those_who_may_only_read_too(stage: Stage) -> None:
    before = ask(stage, "GET", "/api/jobs").json()
    stage.reset_calls()
    for _ in range(4):  # slow may send two requests
        wish = WISH | {"tenant": "slow", "institution": "monash"}
        answer = ask(stage, "POST", "/api/reports/preview", wish, token=WATCHING)
        assert (answer.status_code, answer.json()["plan"]["calls"]) == (200, 3)
    assert [each["job"] for each in ask(stage, "GET", "/api/jobs").json()["jobs"]] == [
        each["job"] for each in before["jobs"]
    ]
    assert stage.calls()["total"] == 0


def test_a_report_is_ordered_as_a_tenant_and_is_the_tenant_s_own(stage: Stage) -> None:
    job = order(stage, ids=[31, 32, 33], max_calls=50)
    assert JOB_ID.fullmatch(job)
    seen = ends(stage, job)
    assert (seen["tenant"], seen["kind"], seen["calls"], seen["max_calls"]) == ("lib", "report", 3, 50)
    report = ask(stage, "GET", f"/api/jobs/{job}/report", token=WATCHING, at=1).json()
    assert report == own(stage, "GET", f"/-/jobs/{job}/report").json()
    assert [row["id"] for row in report["rows"]] == [31, 32, 33]
    assert own(stage, "GET", f"/-/jobs/{job}", "dash").status_code == 404
    (line,) = [each for each in audit(stage, "POST /api/reports") if each["on"].get("job") == job]
    assert line["on"] == {"tenant": "lib", "institution": "lboro", "job": job, "max_calls": 50}
    (read,) = [each for each in audit(stage, "GET /api/jobs/{job}/report", at=1) if each["on"]["job"] == job]
    assert (read["admin"], read["on"]) == ("watcher", {"job": job, "tenant": "lib"})


def test_jobs_of_all_tenants_are_listed_the_newest_first(stage: Stage) -> None:
    first = order(stage)
    batch = own(stage, "POST", "/-/batch", "dash", {"targets": ["/monash/total/views/article/9"]}).json()
    listed = ask(stage, "GET", "/api/jobs?limit=2", at=1).json()["jobs"]
    assert [(each["job"], each["tenant"], each["kind"]) for each in listed] == [
        (batch["job"], "dash", "batch"),
        (first, "lib", "report"),
    ]
    only = ask(stage, "GET", "/api/jobs?tenant=dash").json()["jobs"]
    assert [each["job"] for each in only] == [batch["job"]]
    assert ask(stage, "GET", f"/api/jobs/{batch['job']}/report").status_code == 404


def test_a_job_that_pauses_goes_on_and_one_that_runs_is_ended_but_never_a_report_that_is_made(
    stage: Stage,
) -> None:
    job = order(stage, ids=list(range(100, 120)), method="each", max_calls=5)
    assert ends(stage, job, "paused")["calls"] <= 5
    assert ask(stage, "GET", f"/api/jobs/{job}/report").status_code == 409
    few = ask(stage, "POST", f"/api/jobs/{job}/continue", {"max_calls": 1})
    assert (few.status_code, "more than the" in few.json()["message"]) == (400, True)
    assert ask(stage, "POST", f"/api/jobs/{job}/continue", {}, at=1).json()["state"] == "running"
    assert ends(stage, job)["calls"] == 20
    assert ask(stage, "POST", f"/api/jobs/{job}/continue", {}).json()["code"] == "GatewayNotPaused"
    late = ask(stage, "POST", f"/api/jobs/{job}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "GatewayJobEnded")
    assert ask(stage, "GET", f"/api/jobs/{job}/report").status_code == 200
    other = order(stage, ids=list(range(200, 220)), method="each", max_calls=5)
    ends(stage, other, "paused")
    assert ask(stage, "POST", f"/api/jobs/{other}/cancel").json()["state"] == "cancelled"
    ends(stage, other, "cancelled")


def test_what_a_job_keeps_is_authorised_at_each_read(stage: Stage) -> None:
    wish = {"tenant": "leaving", "institution": "melbourne", "by": "month", "from": "2015-01", "to": "2015-02"}
    job = order(stage, **wish)
    ends(stage, job)
    path = f"/api/jobs/{job}/report"
    for enabled, status in ((True, 200), (False, 403), (True, 200)):
        stage.registry().change("leaving", enabled=enabled)
        until(lambda status=status: ask(stage, "GET", path).status_code == status)
    stage.registry().remove("leaving", "melbourne")
    until(lambda: ask(stage, "GET", path).status_code == 403)
    assert ask(stage, "GET", path).json()["code"] == own(stage, "GET", f"/-{path[4:]}", "leaving").json()["code"]


@pytest.mark.parametrize("path", ["/api/reports", "/api/jobs/{job}/cancel", "/api/jobs/{job}/continue"])
def test_who_may_only_read_changes_nothing(stage: Stage, path: str) -> None:
    job = "0" * 32
    body = WISH if path == "/api/reports" else {} if path.endswith("continue") else None
    answer = ask(stage, "POST", path.format(job=job), body, token=WATCHING)
    assert (answer.status_code, answer.json()["code"]) == (403, "GatewayAdminForbidden")
    assert audit(stage, f"POST {path}")[-1]["status"] == 403


def test_an_order_counts_within_the_tenant_s_limit(stage: Stage) -> None:
    wish = WISH | {"tenant": "slow", "institution": "monash"}
    statuses = [ask(stage, "POST", "/api/reports", wish | {"dry_run": True}).status_code for _ in range(6)]
    assert statuses[-1] == 429
    assert statuses.count(202) == 2


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"tenant": "nobody"}, 404, "no such tenant"),
    ({"tenant": "asleep"}, 400, "disabled"),
    ({"institution": "monash", "by": "month", "from": "2015", "to": "2015"}, 403, "Unauthorized request"),
    ({"institution": "sgw_aaaaaaaaaa_" + "b" * 43}, 400, "gateway key"),
    ({"ids": [1, "x"]}, 400, "ids[1]: 'x' is no id"),
    ({"by": "day", "from": "0001", "to": "9999"}, 409, "columns"),
    ({"colour": "red"}, 400, "colour"),
    ({"max_calls": 0}, 400, "max_calls"),
]


@pytest.mark.parametrize("path", ["/api/reports", "/api/reports/preview"])
@pytest.mark.parametrize(("more", "status", "says"), WRONG, ids=[says[:20] for *_, says in WRONG])
def test_an_order_that_cannot_be_used_is_refused_by_name(
    stage: Stage, path: str, more: dict[str, Any], status: int, says: str
) -> None:
    answer = ask(stage, "POST", path, WISH | more)
    assert (answer.status_code, says in answer.json()["message"]) == (status, True), answer.text


@pytest.mark.parametrize("job", ["0" * 32, "x", "%00", "sgw_aaaaaaaaaa_" + "b" * 43])
def test_a_job_that_is_not_there_is_a_404_and_no_secret_is_logged(stage: Stage, job: str) -> None:
    for method, path in (("GET", ""), ("GET", "/report"), ("POST", "/cancel")):
        assert ask(stage, method, f"/api/jobs/{job}{path}").status_code in (400, 404)
    assert "b" * 43 not in stage.gateways[0].settled


def test_a_list_of_items_may_be_long_where_a_report_is_ordered_and_nowhere_else(stage: Stage) -> None:
    many = WISH | {"ids": list(range(10**9, 10**9 + 20_000))}
    answer = ask(stage, "POST", "/api/reports/preview", many)
    assert (answer.status_code, answer.json()["targets"]) == (200, 20_000)
    assert ask(stage, "POST", "/api/purge", {"query": "/" + "x" * 70_000}).status_code == 413


@pytest.mark.parametrize("limit", ["0", "501", "x", "-1", "9" * 30])
def test_a_limit_is_within_bounds(stage: Stage, limit: str) -> None:
    assert ask(stage, "GET", f"/api/jobs?limit={limit}").status_code == 400
