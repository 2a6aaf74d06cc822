"""Redis's clock steps under a running fleet: what is stored keeps its age, what was purged stays purged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.clock_shim import ClockShim
from tests.integration.stage import Process, Stage, get, staged, until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

TOKEN = "hunter2-admin"
YEARS_BACK = -6 * 365 * 86_400.0
STEPS = pytest.mark.parametrize("step", [-600.0, 600.0, YEARS_BACK])
LIFE = 4.0


@pytest.fixture
def stage(stepped_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    settings: dict[str, Any] = {
        "redis_url": stepped_redis.url,
        "redis_prefix": prefix,
        "budget": "unlimited",
        "lifetime_open": LIFE,
        "lifetime_closed": LIFE,
        "lifetime_empty": LIFE,
        "lifetime_jitter": 0.0,
        "admin_token": TOKEN,
        "log_level": "warning",
    }
    with staged(**settings) as stage:
        stage.tenant("reports", "lboro")
        stage.serve_several(2)
        yield stage


def ask(stage: Stage, gateway: Process, number: int = 1) -> httpx.Response:
    target = f"/lboro/timeline/day/views/article/{number}?start_date=2014-01-01&end_date=2014-03-01"
    answer = get(gateway.url + target, headers={"X-API-Key": stage.keys["reports"]})
    assert answer.status_code == 200
    assert int(answer.headers.get("age", 0)) >= 0
    return answer


def outcome(answer: httpx.Response) -> str:
    return str(answer.headers["cache-status"])


def purge(gateway: Process, *, hard: bool) -> None:
    where = f"http://127.0.0.1:{gateway.admin_port}/api/purge"
    answer = httpx.post(
        where, json={"all": True, "hard": hard}, headers={"Authorization": f"Bearer {TOKEN}"}, **LOOPBACK
    )
    assert answer.status_code == 200, answer.text


def noticed() -> None:
    """Until every process has given a sign of life since, which they do once a second."""
    time.sleep(2.5)


@STEPS
def test_what_is_stored_keeps_its_age_and_what_replaces_it_is_stored(
    stage: Stage, clock: ClockShim, step: float
) -> None:
    one, other = stage.gateways
    assert "stored" in outcome(ask(stage, one))
    began = time.monotonic()
    clock.step(step)
    noticed()
    answer = ask(stage, other)
    if time.monotonic() - began < LIFE - 0.5:
        assert "; hit; ttl=" in outcome(answer)
        assert int(answer.headers.get("age", 0)) <= LIFE
    time.sleep(max(0.0, LIFE + 0.2 - (time.monotonic() - began)))
    assert "refreshing" in outcome(ask(stage, other))
    until(lambda: "refreshing" not in outcome(ask(stage, other)))
    assert stage.calls()["total"] == 2


@STEPS
def test_what_was_purged_stays_so_and_what_comes_later_counts(stage: Stage, clock: ClockShim, step: float) -> None:
    one, other = stage.gateways
    ask(stage, one)
    clock.step(step)
    noticed()
    purge(one, hard=True)
    until(lambda: "stored" in outcome(ask(stage, one)) or stage.calls()["total"] == 2)
    assert stage.calls()["total"] == 2
    assert "; hit" in outcome(ask(stage, one))
    clock.step(-step)
    noticed()
    ask(stage, other, 2)
    assert "; hit" in outcome(ask(stage, one, 2))
