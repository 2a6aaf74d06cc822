"""The overview: of two real gateways on a real Redis, of one whose Redis is gone, and of one that has none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx2 as httpx
import msgspec
import pytest

from gateway import __version__
from gateway.observe.overview import Overview
from tests.cli.command import command
from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer, redis_server

TOKEN = "hunter2-admin"
LBORO = "/lboro/timeline/day/views/article/77?start_date=2014-01-01&end_date=2014-03-01"


def asked(gateway: Process, operation: str, **query: str) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    answer = get(f"http://127.0.0.1:{gateway.admin_port}{operation}", headers=bearer, params=query)
    assert answer.status_code == 200, answer.text
    return answer


def told(gateway: Process) -> Any:
    """The overview as JSON, which has the shape that it is described with."""
    answer = asked(gateway, "/api/overview")
    msgspec.json.decode(answer.content, type=Overview, strict=True)
    return answer.json()


def ask(gateway: Process, target: str, key: str) -> int:
    return get(gateway.url + target, headers={"X-API-Key": key}).status_code


def counted(overview: Any) -> dict[str, int]:
    """Requests of the hour by outcome."""
    sums: dict[str, int] = {}
    for minute in overview["minutes"]:
        for outcome, count in minute["outcomes"].items():
            sums[outcome] = sums.get(outcome, 0) + count
    return sums


@pytest.fixture
def stage(shared_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    """Two gateways of one fleet, with a tenant."""
    settings = {"redis_url": shared_redis.url, "redis_prefix": prefix, "budget": "30/m", "budget_burst": 7}
    with staged(**settings, admin_token=TOKEN) as stage:
        stage.tenant("reports", "lboro")
        stage.serve_several(2)
        yield stage


def test_either_of_two_gateways_tells_what_both_did(stage: Stage) -> None:
    first, second = stage.gateways
    key = stage.keys["reports"]
    for gateway in (first, second):
        for _ in range(3):
            assert ask(gateway, LBORO, key) == 200
    assert ask(second, LBORO, "sgw_unknown") == 401
    expected = {"miss": 1, "hit": 5, "refused": 1}

    for gateway in (first, second):
        until(lambda gateway=gateway: counted(told(gateway)) == expected)
        until(lambda gateway=gateway: told(gateway)["processes"] == 2)
    here, there = told(first), told(second)
    for overview in (here, there):
        assert overview["version"] == __version__
        assert sum(minute["calls"] for minute in overview["minutes"]) == 1
        assert overview["budget"] == {"per_second": 0.5, "burst": 7}
        assert overview["queue"] == {
            "waiting": 0, "running": 0, "by_band": {"people": 0, "left": 0, "jobs": 0, "refresh": 0, "warm": 0}
        }  # fmt: skip
        assert overview["gate"] == {"state": "open", "closed_for": 0.0, "held_for": None, "why": ""}
        assert overview["redis"] == {"status": "ok", "embedded": False}
        assert overview["registry"] == {"tenants": 1}
        assert {outcome: each["count"] for outcome, each in overview["latency"].items()} == expected
        for each in overview["latency"].values():
            assert 0 < each["p50"] <= each["p95"] <= each["p99"] < 30
    until(lambda: told(second)["today"] == {"requests": 7, "hits": 5, "calls": 1, "saved": 5})


def test_the_minutes_are_sixty_the_oldest_first_and_end_now(stage: Stage) -> None:
    overview = told(stage.gateways[0])
    at = [datetime.fromisoformat(minute["at"]) for minute in overview["minutes"]]
    now = datetime.fromisoformat(overview["now"])
    assert overview["now"].endswith("Z")
    assert len(at) == 60
    assert {(later - sooner).total_seconds() for sooner, later in pairwise(at)} == {60.0}
    assert at[-1] == now.replace(second=0)
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60


def test_what_waits_is_told_and_a_held_gate_and_refused_credentials(stage: Stage) -> None:
    gateway = stage.gateways[0]
    admin = f"http://127.0.0.1:{gateway.admin_port}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    httpx.post(f"{admin}/api/gate/hold", headers=headers, **LOOPBACK)
    httpx.post(f"{admin}/api/breakers/{'a' * 64}/hold", headers=headers, **LOOPBACK)
    overview = told(gateway)
    assert overview["gate"]["state"] == "held"
    assert overview["gate"]["held_for"] >= 0
    assert overview["refused_credentials"] == 1


def test_without_redis_a_gateway_tells_what_it_knows(prefix: str) -> None:
    with redis_server() as server:
        settings = {"redis_url": server.url, "redis_prefix": prefix, "budget": "unlimited"}
        with staged(**settings, admin_token=TOKEN) as stage:
            key = stage.tenant("reports", "lboro")
            gateway = stage.serve()
            assert ask(gateway, LBORO, key) == 200
            until(lambda: told(gateway)["today"]["requests"] == 1)
            server.kill()
            assert ask(gateway, LBORO, key) == 200
            overview = told(gateway)
            assert overview["redis"] == {"status": "degraded", "embedded": False}
            assert counted(overview) == {"miss": 1, "hit": 1}
            assert overview["today"] == {"requests": 2, "hits": 1, "calls": 1, "saved": 1}
            assert (overview["queue"]["waiting"], overview["gate"]["state"]) == (0, "open")
            assert overview["processes"] == 1
            explained = asked(gateway, "/api/explain", path=LBORO, tenant="reports").json()
            assert explained["cache"].startswith("Redis does not answer")
            environment: Any = {"STATS_GATEWAY_ADMIN_TOKEN": TOKEN}
            url = f"http://127.0.0.1:{gateway.admin_port}"
            listed = command("key", "list", "reports", "--last-used", "--admin-url", url, **environment)
            assert listed.err == "Redis does not answer: when keys were last used is not known now.\n"
            server.start()
            until(lambda: told(gateway)["redis"]["status"] == "ok")
            until(lambda: counted(told(gateway))["hit"] == 1)


def test_an_embedded_cache_is_said_to_be_one_and_an_unlimited_budget_has_no_rate() -> None:
    with staged(redis_url="memory://", budget="unlimited", admin_token=TOKEN) as stage:
        overview = told(stage.serve())
    assert overview["redis"] == {"status": "ok", "embedded": True}
    assert overview["budget"]["per_second"] is None


def test_it_needs_a_token(stage: Stage) -> None:
    assert get(f"http://127.0.0.1:{stage.gateways[0].admin_port}/api/overview").status_code == 401
