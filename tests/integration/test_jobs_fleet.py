"""Jobs outlive their process, their client and a Redis that forgets, and no call is made twice."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.stage import Process, Stage, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer, redis_server

TARGETS = [f"/lboro/total/views/article/{number}" for number in range(300, 330)]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def stage(redis: RedisServer) -> Iterator[Stage]:
    """Two gateways on one Redis, with a sandbox slow enough that a job lasts."""
    with staged("--no-examples", "--latency", "0.1", redis_url=redis.url, budget="20/s", fleet_size=2) as stage:
        stage.tenant("lib", "lboro")
        stage.serve_several(2)
        yield stage


def key(stage: Stage) -> dict[str, str]:
    return {"X-API-Key": stage.keys["lib"]}


def ordered(stage: Stage, gateway: Process, stack: ExitStack) -> tuple[str, Iterator[str]]:
    """A batch under way: its path, and its stream after five answers."""
    answer = stack.enter_context(
        httpx.stream(
            "POST", gateway.url + "/-/batch", json={"targets": TARGETS}, headers=key(stage), timeout=60, **LOOPBACK
        )
    )
    given = answer.iter_lines()
    for _ in range(6):
        next(given)
    return answer.headers["location"], given


def followed(stage: Stage, gateway: Process, path: str) -> list[dict[str, Any]]:
    """The job's whole stream, once it has ended."""
    answer = httpx.get(gateway.url + path, headers=key(stage), timeout=60, **LOOPBACK)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def check(stage: Stage, lines: list[dict[str, Any]], *, twice: int = 0) -> None:
    """Each target was answered, and at most so many were asked twice."""
    _, *answers, end = [line for line in lines if "progress" not in line]
    assert end["end"]["state"] == "done"
    assert sorted(each["target"] for each in answers) == TARGETS
    assert {each["status"] for each in answers} == {200}
    assert [each["n"] for each in answers] == list(range(1, len(TARGETS) + 1))
    assert stage.calls()["total"] <= len(TARGETS) + twice


def test_a_process_that_is_killed_loses_no_answer_and_repeats_what_was_outstanding(stage: Stage) -> None:
    leader, other = stage.gateways
    with ExitStack() as stack:
        path, _ = ordered(stage, leader, stack)
        leader.kill()
    check(stage, followed(stage, other, path), twice=3)  # 20 a second × 0.1 s, and one


def test_a_process_that_drains_hands_its_jobs_on_and_tells_its_clients_where_to_go_on(stage: Stage) -> None:
    leader, other = stage.gateways
    with ExitStack() as stack:
        path, given = ordered(stage, leader, stack)
        leader.running.send_signal(signal.SIGTERM)
        *_, last = [json.loads(line) for line in given]
    assert last["resume"]["job"] == path.rpartition("/")[2]
    check(stage, followed(stage, other, path))
    later = followed(stage, other, f"{path}?from={last['resume']['from']}")
    assert later[1].get("n", last["resume"]["from"]) == last["resume"]["from"]
    leader.running.wait(15)


def test_a_job_outlasts_a_redis_that_forgets_everything_and_a_client_that_leaves(
    stage: Stage, redis: RedisServer
) -> None:
    leader, other = stage.gateways
    with ExitStack() as stack:
        path, _ = ordered(stage, leader, stack)
    redis.kill()
    redis.start()
    until(lambda: httpx.get(other.url + path, headers=key(stage), timeout=60, **LOOPBACK).status_code == 200)
    check(stage, followed(stage, other, path))


def test_each_job_is_led_by_one_process(stage: Stage) -> None:
    with ExitStack() as stack:
        paths = [ordered(stage, gateway, stack)[0] for gateway in stage.gateways]
        streams = [
            followed(stage, gateway, path) for gateway, path in zip(stage.gateways, paths[::-1], strict=True)
        ]
    for lines in streams:
        check(stage, lines)
    hows = Counter(each["how"] for lines in streams for each in lines if "n" in each)
    assert hows["call"] == len(TARGETS)
