"""A scheduled warming in a fleet: one process begins it, another carries on, and clients find its answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest
import redis

from gateway.jobs.schedule import scheduled
from gateway.settings import Settings
from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

IDS = list(range(300, 360))
RUNS, ENDED = "stats_gateway_warming_runs_total", "stats_gateway_jobs_ended_total"


def warming(due: float) -> dict[str, Any]:
    """A warming that was due at a given time of today, and is not again before tomorrow."""
    template = {"template": "/lboro/total/views/article/{id}", "values": {"id": IDS}}
    return {
        "nightly": {"tenant": "lib", "schedule": f"{datetime.fromtimestamp(due, UTC):%M %H} * * *", **template}
    }


@pytest.fixture
def stage(shared_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    """Two gateways, whose fleet was down when a warming was due, two minutes ago."""
    warm = warming(time.time() - 120)
    settings: dict[str, Any] = {"redis_url": shared_redis.url, "redis_prefix": prefix, "warm": json.dumps(warm)}
    with redis.Redis.from_url(shared_redis.url) as client:
        (entry,) = scheduled(Settings.model_validate({"warm": warm}))
        client.hset(f"{prefix}:warming:nightly", entry.mark, int(time.time() - 86_400))
    settings |= {"budget": "20/s", "budget_burst": 1, "warm_share": 1, "fleet_size": 2}
    with staged("--no-examples", "--latency", "0.1", **settings) as stage:
        stage.tenant("lib", "lboro")
        stage.serve_several(2)
        yield stage


def jobs(stage: Stage, gateway: Process) -> list[dict[str, Any]]:
    answer = httpx.get(f"{gateway.url}/-/jobs", headers={"X-API-Key": stage.keys["lib"]}, timeout=60, **LOOPBACK)
    found: list[dict[str, Any]] = answer.json()["jobs"]
    return found


def counted(gateway: Process, metric: str, **labels: str) -> float:
    """A metric's sample with these labels among its own."""
    text = get(f"http://127.0.0.1:{gateway.admin_port}/metrics").text
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    lines = [line for line in text.splitlines() if line.startswith(metric + "{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(each in line for each in wanted))


def test_a_run_is_begun_once_outlives_its_process_and_leaves_its_answers(stage: Stage) -> None:
    until(lambda: stage.calls()["total"] >= 5)
    until(lambda: any("warming_begun" in each.output for each in stage.gateways))
    leader, other = sorted(stage.gateways, key=lambda each: "warming_begun" not in each.output)
    assert counted(leader, "stats_gateway_jobs_running", kind="warm") == 1
    leader.kill()
    until(lambda: counted(other, RUNS, warming="nightly", result="done") == 1)
    assert [each.output.count("warming_begun") for each in (leader, other)] == [1, 0]
    newcomer = stage.serve(leader)
    assert "warming_" not in newcomer.settled
    (job,) = jobs(stage, newcomer)
    assert (job["kind"], job["state"], job["answered"], job["errors"]) == ("warm", "done", len(IDS), 0)
    assert job["about"].startswith("warming nightly, due ")
    assert stage.calls()["total"] <= len(IDS) + 3  # 20 a second × 0.1 s, and one
    assert counted(other, "stats_gateway_jobs_carried_on_total", kind="warm") == 1
    assert counted(other, ENDED, kind="warm", state="done") == 1
    calls, answers = (
        counted(other, f"stats_gateway_job_{name}_total", kind="warm") for name in ("calls", "answers")
    )
    assert 0 < calls <= answers < len(IDS)
    before = stage.calls()["total"]
    headers = {"X-API-Key": stage.keys["lib"]}
    answer = get(f"{newcomer.url}/lboro/total/views/article/{IDS[-1]}", headers=headers)
    assert "hit" in answer.headers["cache-status"]
    assert stage.calls()["total"] == before
