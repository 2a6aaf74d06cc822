"""Byte for byte: every row of the contract, and random queries, through the gateway as from the service."""

from __future__ import annotations

import base64
import random
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.integration.stage import INSTITUTIONS, Process, Stage, get, staged
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

ROWS = tomllib.loads((Path(__file__).parents[1] / "data" / "contract.toml").read_text(encoding="utf-8"))["rows"]

WAYS: dict[str, Callable[[str], dict[str, str]]] = {
    "X-API-Key": lambda key: {"X-API-Key": key},
    "Bearer": lambda key: {"Authorization": f"Bearer {key}"},
    "Basic": lambda key: {"Authorization": f"Basic {base64.b64encode(f'someone:{key}'.encode()).decode()}"},
}


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    with staged(redis_url=shared_redis.url, redis_prefix="contract", budget="unlimited") as stage:
        stage.tenant("all", *INSTITUTIONS)
        stage.tenant("none")
        stage.serve()
        yield stage


@pytest.fixture(scope="module")
def gateway(stage: Stage) -> Process:
    return stage.gateways[0]


def key_for(row: dict[str, Any], stage: Stage) -> str:
    return stage.keys["all" if row.get("auth") else "none"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_documented_answer_comes_unchanged_on_the_miss_and_on_the_hit(
    row: dict[str, Any], stage: Stage, gateway: Process
) -> None:
    key = key_for(row, stage)
    answers = [get(gateway.url + row["target"], headers=way(key)) for way in WAYS.values()]
    answers += [get(gateway.url + row["target"], headers=WAYS["X-API-Key"](key))]
    for answer in answers:
        assert answer.status_code == row["status"]
        assert answer.headers["content-type"] == row["content_type"]
        assert answer.content == row["body"].encode()
    if row["status"] != 403:
        assert "; hit" in answers[-1].headers["cache-status"]


def drawn(chance: random.Random) -> str:
    """A random request: mostly well-formed, sometimes not."""
    institution = chance.choice(["", "", "/lboro", "/monash", "/melbourne", "/elsewhere"])
    counter = chance.choice(["views", "downloads", "shares", "hugs"])
    item = chance.choice(["article", "author", "collection", "group", "project", "planet"])
    number = chance.randint(1, 40)
    granularity = chance.choice(["day", "month", "year", "total", "week"])
    path = chance.choice(
        [
            f"/total/{counter}/{item}/{number}",
            f"/timeline/{granularity}/{counter}/{item}/{number}",
            f"/breakdown/{granularity}/{counter}/{item}/{number}",
            f"/top/{counter}/{item}",
        ]
    )
    parameters = {
        "start_date": chance.choice(["2014-01-01", "2015-02-30", "2016-02-29"]),
        "end_date": chance.choice(["2014-03-01", "2016-12-31", "2024-01-01"]),
        "sub_item": chance.choice(["category", "item_type", "referral"]),
        "sub_item_id": chance.choice(["1", "dataset"]),
        "count": chance.choice(["3", "10", "-1"]),
        "item_id": str(number),
        "n": "10",
    }
    chosen = chance.sample(sorted(parameters), chance.randint(0, 4))
    return institution + path + ("?" if chosen else "") + "&".join(f"{name}={parameters[name]}" for name in chosen)


def direct(stage: Stage, target: str, institution: str) -> httpx.Response:
    auth = (institution, f"sandbox-{institution}") if institution in INSTITUTIONS else None
    return get(stage.sandbox.url + target, auth=auth)


@pytest.mark.parametrize("seed", range(4))
def test_random_queries_are_answered_as_by_the_service(seed: int, stage: Stage, gateway: Process) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        target = drawn(chance)
        theirs = direct(stage, target, target.split("/")[1])
        for _ in range(2):
            ours = get(gateway.url + target, headers={"X-API-Key": stage.keys["all"]})
            assert ours.content == theirs.content, target
            assert ours.status_code == theirs.status_code, target
            assert ours.headers["content-type"] == theirs.headers["content-type"], target


def test_head_has_the_answers_headers_and_no_body(stage: Stage, gateway: Process) -> None:
    headers = {"X-API-Key": stage.keys["all"]}
    whole = get(f"{gateway.url}/total/views/article/23", headers=headers)
    head = httpx.head(f"{gateway.url}/total/views/article/23", headers=headers, **LOOPBACK)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-type", "content-length", "etag"):
        assert head.headers[name] == whole.headers[name]


def test_other_methods_are_refused(gateway: Process) -> None:
    answer = httpx.delete(f"{gateway.url}/total/views/article/23", **LOOPBACK)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json()["code"] == "GatewayMethodNotAllowed"
