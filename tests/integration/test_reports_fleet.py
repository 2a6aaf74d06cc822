"""Reports outlive the process that makes them: none of their calls is made twice, and every number is right."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer, redis_server
from tests.sandbox.asking import pair_of

IDS = list(range(1, 81))
WISH: dict[str, Any] = {"institution": "lboro", "ids": IDS, "counters": ["views", "shares"]}
MOST_TWICE = 3  # 20 a second × 0.1 s, and one


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def stage(redis: RedisServer) -> Iterator[Stage]:
    """Two gateways on one Redis, with a sandbox slow enough that a report lasts."""
    settings = {"redis_url": redis.url, "budget": "20/s", "fleet_size": 2}
    with staged("--no-examples", "--items", "70", "--latency", "0.1", **settings) as stage:
        stage.tenant("lib", "lboro")
        stage.serve_several(2)
        yield stage


def ask(stage: Stage, gateway: Process, path: str) -> httpx.Response:
    return httpx.get(gateway.url + path, headers={"X-API-Key": stage.keys["lib"]}, timeout=60, **LOOPBACK)


def ordered(stage: Stage, gateway: Process, calls: int, **more: int) -> str:
    """The path of a report's job, of which so many calls were made; its client has gone."""
    with ExitStack() as stack:
        headers = {"X-API-Key": stage.keys["lib"]}
        sent = httpx.stream("POST", gateway.url + "/-/reports", json=WISH | more, headers=headers, **LOOPBACK)
        answer = stack.enter_context(sent)
        next(answer.iter_lines())
        until(lambda: stage.calls()["total"] >= calls)
        return answer.headers["location"]


def check(stage: Stage, gateway: Process, path: str, twice: int) -> None:
    """The report is whole and right, and at most so many calls were made twice."""
    end = json.loads(ask(stage, gateway, path).text.splitlines()[-1])["end"]
    assert end["state"] == "done"
    targets = Counter(stage.calls()["targets"])
    assert sum(targets.values()) - len(targets) <= twice
    assert len(targets) == end["plan"]["calls"]  # every leader chose the same samples
    assert end["answered"] == len(targets) + 1  # and asked nothing that was answered; one more is the report
    made = ask(stage, gateway, path + "/report").json()
    assert [column["method"] for column in made["columns"]] == ["ranking"] * 2
    assert [row["id"] for row in made["rows"]] == IDS
    for row in made["rows"][::9]:
        said = f"{stage.sandbox.url}/lboro/total/article/{row['id']}"
        alone = get(said, headers={"Authorization": pair_of("lboro")}).json()
        assert row["values"] == [alone["views"], alone["shares"]]


@pytest.mark.parametrize("calls", [1, 14])
def test_a_leader_that_is_killed_loses_no_answer_and_repeats_what_was_outstanding(
    stage: Stage, calls: int
) -> None:
    leader, other = stage.gateways
    path = ordered(stage, leader, calls)
    leader.kill()
    check(stage, other, path, MOST_TWICE)


def test_a_report_that_pauses_at_one_process_goes_on_at_another(stage: Stage) -> None:
    leader, other = stage.gateways
    path = ordered(stage, leader, 6, max_calls=10)
    until(lambda: json.loads(ask(stage, other, path).text.splitlines()[-1])["end"]["state"] == "paused")
    assert stage.calls()["total"] <= 10
    headers = {"X-API-Key": stage.keys["lib"]}
    more = httpx.post(f"{other.url}{path}/continue?max_calls=40", headers=headers, timeout=60, **LOOPBACK)
    assert json.loads(more.text.splitlines()[-1])["end"]["state"] == "done"
    assert "job_resumed" in other.settled
    check(stage, leader, path, 0)


def test_a_leader_that_drains_hands_its_report_on_and_repeats_nothing(stage: Stage) -> None:
    leader, other = stage.gateways
    path = ordered(stage, leader, 8)
    leader.running.send_signal(signal.SIGTERM)
    check(stage, other, path, 0)
    leader.running.wait(15)


def test_a_redis_that_forgets_everything_costs_no_call(stage: Stage, redis: RedisServer) -> None:
    leader, other = stage.gateways
    path = ordered(stage, leader, 8)
    redis.kill()
    redis.start()
    until(lambda: ask(stage, other, path).status_code == 200)
    check(stage, other, path, 0)
