"""The doctor's look at the service: a real sandbox, asked as often as was agreed to and no more."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.doctor.finding import Finding
from gateway.admin.doctor.settings import look_around
from gateway.app import queue_of
from gateway.cli.doctor import consult
from gateway.provenance import Sources
from gateway.redis import connect
from gateway.settings import Settings, load_settings
from tests.integration.stage import Stage, staged
from tests.redis_server import RedisServer, free_port


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A sandbox, and three tenants: two with one pair, and one with a wrong password."""
    with staged(budget="unlimited") as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("cron", "lboro")
        stage.tenant("wrong", "monash", password="hunter2-wrong")
        yield stage


@pytest.fixture(autouse=True)
def _no_calls_yet(stage: Stage) -> None:
    stage.reset_calls()


def consulted(
    stage: Stage, *, wanted: bool | None = True, yes: bool = True, **more: Any
) -> dict[str, list[Finding]]:
    """What is found, by check, where there is no terminal."""
    place = stage.environment
    own = {"upstream": place["STATS_GATEWAY_UPSTREAM"], "registry": place["STATS_GATEWAY_REGISTRY"]}
    settings = load_settings(**{"budget": "unlimited"} | own | more)
    around = asyncio.run(look_around(settings, Sources.of(())))
    found: dict[str, list[Finding]] = {}
    for finding in consult(settings, around, wanted=wanted, yes=yes):
        found.setdefault(finding.check, []).append(finding)
    assert "hunter2" not in str(found)
    return found


def states(found: dict[str, list[Finding]], check: str) -> list[str]:
    return [finding.state.value for finding in found[check]]


@pytest.mark.parametrize(("wanted", "yes"), [(None, False), (None, True), (False, True)])
def test_where_nobody_said_so_the_service_is_not_looked_at(stage: Stage, wanted: bool | None, yes: bool) -> None:
    found = consulted(stage, wanted=wanted, yes=yes)
    assert (list(found), states(found, "upstream.reach")) == (["upstream.reach"], ["unknown"])
    assert stage.calls()["total"] == 0


def test_a_look_is_no_call(stage: Stage) -> None:
    found = consulted(stage, yes=False)
    assert states(found, "upstream.reach") == ["ok"]
    (untried,) = found["upstream.credentials"]
    assert (untried.state.value, untried.advice) == ("unknown", "add --yes")
    assert "2 calls (one for each credential), at once" in untried.what
    assert stage.calls()["total"] == 0


def test_each_credential_is_tried_once(stage: Stage) -> None:
    found = consulted(stage)
    accepted, refused = found["upstream.credentials"]
    assert (accepted.state.value, refused.state.value) == ("ok", "problem")
    assert "lboro at lboro (of reports, cron)" in accepted.what
    assert "monash at monash (of wrong): 403" in refused.what
    for check in ("upstream.reach", "upstream.caching", "upstream.clock"):
        assert states(found, check) == ["ok"]
    assert stage.calls()["total"] == 2


@pytest.mark.parametrize(("obeyed", "state"), [("obey", "warning"), ("ignore", "ok")])
def test_directives_that_prevent_caching(stage: Stage, obeyed: str, state: str) -> None:
    stage.plan(body='{"timeline": null}', headers={"cache-control": "no-store"}, times=2)
    assert states(consulted(stage, upstream_directives=obeyed), "upstream.caching") == [state]


def test_a_429_ends_the_calls_and_closes_the_gate_where_no_other_credential_is_in_use(
    stage: Stage, shared_redis: RedisServer, prefix: str
) -> None:
    redis: Any = {"redis_url": shared_redis.url, "redis_prefix": prefix}
    stage.plan(status=429, headers={"retry-after": "60"})
    blocked, rest = consulted(stage, **redis)["upstream.credentials"]
    assert (blocked.state.value, rest.state.value) == ("warning", "unknown")
    assert "wants no more calls" in rest.what
    assert states(consulted(stage, **redis), "upstream.credentials") == ["unknown", "unknown"]
    assert stage.calls()["total"] == 1


def test_a_credential_that_the_fleet_keeps_back_costs_no_call(
    stage: Stage, shared_redis: RedisServer, prefix: str
) -> None:
    redis: Any = {"redis_url": shared_redis.url, "redis_prefix": prefix}
    (lboro,) = stage.registry().load().tenants["reports"].credentials.values()
    asyncio.run(hold(load_settings(**redis), lboro.fingerprint))
    held, refused = consulted(stage, **redis)["upstream.credentials"]
    assert (held.state.value, refused.state.value) == ("warning", "problem")
    assert "keeps lboro at lboro (of reports, cron) back" in held.what
    assert stage.calls()["total"] == 1


async def hold(settings: Settings, fingerprint: str) -> None:
    """As an operator does by hand."""
    redis = connect(settings)
    await queue_of(settings, redis).hold_credential(fingerprint)
    await redis.aclose()


def test_where_the_budget_cannot_be_kept_nothing_is_asked(stage: Stage) -> None:
    found = consulted(stage, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert states(found, "upstream.credentials") == ["unknown"]
    gateway = stage.serve()
    try:
        beside = consulted(stage, port=gateway.port)
    finally:
        gateway.running.send_signal(signal.SIGTERM)
        gateway.running.wait()
    (untried,) = beside["upstream.credentials"]
    assert (untried.state.value, "memory://" in untried.what) == ("unknown", True)
    assert stage.calls()["total"] == 0


def test_where_there_is_no_service_nothing_is_tried(stage: Stage) -> None:
    found = consulted(stage, upstream=f"http://127.0.0.1:{free_port()}")
    assert (states(found, "upstream.reach"), states(found, "upstream.credentials")) == (["problem"], ["unknown"])


def test_without_credentials_a_public_query_is_asked(stage: Stage, tmp_path: Path) -> None:
    assert states(consulted(stage, registry=tmp_path / "none.toml"), "upstream.answer") == ["ok"]
    assert stage.calls()["by_path"] == {"/total/views/article/1": 1}


def test_a_generic_origin_is_looked_at_and_not_asked(stage: Stage) -> None:
    assert list(consulted(stage, profile="generic")) == ["upstream.reach"]
    assert stage.calls()["total"] == 0
