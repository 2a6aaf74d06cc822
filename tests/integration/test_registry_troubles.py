"""A running gateway whose registry cannot be read, or has lost too much: its last good state serves, loudly."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from cryptography.fernet import Fernet

from tests.cli.command import command
from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

SECRET = Fernet.generate_key().decode()
TENANTS = ("reports", "dashboards", "library", "bench")
QUERY = "/total/views/article/23"
READY = "/-/health/ready"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    place = str(tmp_path / "tenants.toml")
    with staged(registry=place, encryption_keys=SECRET, budget="unlimited", log_format="json") as stage:
        for tenant in TENANTS:
            stage.tenant(tenant)
        yield stage


def path_of(stage: Stage) -> Path:
    return Path(stage.environment["STATS_GATEWAY_REGISTRY"])


def status(gateway: Process, key: str) -> int:
    return get(gateway.url + QUERY, headers={"X-API-Key": key}).status_code


def ready(gateway: Process) -> dict[str, Any]:
    answer = get(gateway.url + READY)
    assert answer.status_code == 200
    return dict(answer.json())


def reason(gateway: Process) -> str | None:
    return ready(gateway).get("registry", {}).get("reason")  # type: ignore[no-any-return]


def lines(gateway: Process, event: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.output.splitlines() if f'"{event}"' in line]


def doctor(stage: Stage, gateway: Process) -> dict[str, Any]:
    kept = {name: value for name, value in stage.environment.items() if name.startswith("STATS_GATEWAY_")}
    kept["STATS_GATEWAY_PORT"] = str(gateway.port)
    told = json.loads(command("doctor", "--json", given=b"", **kept).out)
    (found,) = [each for each in told["findings"] if each["check"] == "registry.followed"]
    return dict(found)


def test_a_key_revoked_while_nothing_could_be_opened_ends_when_it_can_be(stage: Stage) -> None:
    gateway = stage.serve()
    key, pid = stage.keys["reports"], gateway.running.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with httpx.Client(timeout=40, **LOOPBACK) as kept:
        assert kept.get(gateway.url + QUERY, headers={"X-API-Key": key}).status_code == 200
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
        try:
            stage.registry().revoke_key(key[4:14])
            until(lambda: lines(gateway, "registry_broken"))
            told = kept.get(gateway.url + READY)
            assert (told.status_code, told.json()["status"]) == (200, "degraded")
            assert told.json()["registry"]["reason"] == "unread"
            assert str(path_of(stage)) not in told.text  # a public page
            assert kept.get(gateway.url + QUERY, headers={"X-API-Key": key}).status_code == 200
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: status(gateway, key) == 401)
    until(lambda: ready(gateway) == {"status": "ok"})
    assert "Too many open files" in lines(gateway, "registry_broken")[0]["reason"]
    assert len(lines(gateway, "registry_broken")) == len(lines(gateway, "registry_well")) == 1


def test_an_emptied_registry_is_doubted_told_everywhere_and_comes_back(stage: Stage) -> None:
    gateway = stage.serve(registry_doubt=600)
    path = path_of(stage)
    assert doctor(stage, gateway)["state"] == "ok"
    whole = path.read_text()
    path.write_text("")
    until(lambda: reason(gateway) == "doubtful")
    assert [status(gateway, key) for key in stage.keys.values()] == [200] * 4
    assert gateway.metric("stats_gateway_registry_trouble") == 1
    until(lambda: gateway.metric("stats_gateway_registry_age_seconds") > 2)
    told = doctor(stage, gateway)
    assert told["state"] == "warning"
    assert "seconds old" in told["what"]
    (line,) = lines(gateway, "registry_doubtful")
    assert line["level"] == "warning"
    assert "4 of 4 tenants are gone" in line["reason"]
    path.write_text(whole)
    until(lambda: ready(gateway) == {"status": "ok"})
    assert gateway.metric("stats_gateway_registry_trouble") == 0


def test_what_stays_away_is_believed_loudly_and_what_a_command_removes_at_once(stage: Stage) -> None:
    gateway = stage.serve(registry_doubt=1.5)
    path = path_of(stage)
    whole = path.read_text()
    path.write_text("")
    until(lambda: status(gateway, stage.keys["reports"]) == 401)
    assert lines(gateway, "registry_doubtful")
    assert lines(gateway, "registry_reloaded")[-1]["level"] == "warning"
    path.write_text(whole)
    until(lambda: status(gateway, stage.keys["reports"]) == 200)
    patient = stage.serve(registry_doubt=86_400)
    for tenant in TENANTS:
        done = command("tenant", "remove", tenant, STATS_GATEWAY_REGISTRY=str(path))
        assert done.code == 0, done.said
    until(lambda: status(patient, stage.keys["bench"]) == 401)
    assert not lines(patient, "registry_doubtful")


def test_a_fifo_in_its_place_hangs_nobody_and_a_start_on_it_is_refused(stage: Stage) -> None:
    gateway = stage.serve()
    path = path_of(stage)
    path.rename(path.with_name("aside"))
    os.mkfifo(path)
    until(lambda: reason(gateway) == "unread")
    assert status(gateway, stage.keys["reports"]) == 200
    assert doctor(stage, gateway)["state"] == "problem"
    refused = stage.start_gateway()
    assert refused.running.wait(60) == 2
    assert "it is no regular file" in refused.output
    gateway.running.terminate()
    assert gateway.running.wait(60) == 0


def test_an_empty_registry_is_served_and_told_at_the_start(stage: Stage) -> None:
    path_of(stage).write_text("")
    gateway = stage.serve()
    assert any("has no tenants" in line["note"] for line in lines(gateway, "registry"))
    assert ready(gateway) == {"status": "ok"}


def test_a_flushed_redis_leaves_everybody_in(shared_redis: RedisServer, prefix: str) -> None:
    with staged(
        registry=shared_redis.url, redis_prefix=prefix, encryption_keys=SECRET, log_format="json"
    ) as stage:
        for tenant in TENANTS:
            stage.tenant(tenant)
        gateway = stage.serve(registry_doubt=600)
        for name in shared_redis.call("KEYS", f"{prefix}:{{registry}}:*"):
            shared_redis.call("DEL", name)
        until(lambda: reason(gateway) == "unread")
        assert [status(gateway, key) for key in stage.keys.values()] == [200] * 4
        stage.tenant("first")
        until(lambda: reason(gateway) == "doubtful")
        assert [status(gateway, stage.keys[tenant]) for tenant in TENANTS] == [200] * 4
