"""A caller's deadline counts from its request's first byte, whatever it is that keeps it waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.stage import Process, Stage, get, staged, until
from tests.redis_server import RedisServer, redis_server
from tests.wire import Wire, WireAnswer

pytestmark = pytest.mark.serial

DEADLINE = 2.0
GRACE = 0.25
LATER = 0.25
"""What a busy machine may add."""


@pytest.fixture(scope="module")
def server(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """Depends on the shared Redis only to be skipped where there is none."""
    with redis_server() as server:
        yield server
        server.resume()


@pytest.fixture(scope="module")
def served(server: RedisServer) -> Iterator[Stage]:
    settings = {"redis_url": server.url, "caller_timeout": DEADLINE, "budget": "unlimited", "refresh_floor": 0}
    with staged(log_level="warning", pass_methods="POST", **settings) as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield stage


@pytest.fixture
def stage(served: Stage, server: RedisServer) -> Iterator[Stage]:
    """All is well and one answer is stored, but the service is silent."""
    gateway = served.gateways[0]
    assert get(gateway.url + target(0), headers={"X-API-Key": served.keys["reports"]}).status_code == 200
    served.reset_calls()
    served.close_gate()
    yield served
    server.resume()
    served.open_gate()
    until(lambda: get(f"{gateway.url}/-/health/ready").json() == {"status": "ok"})
    until(lambda: served.calls()["in_flight"] == 0)


def target(number: int) -> str:
    return f"/lboro/timeline/day/views/article/{number}?start_date=2026-01-01"


def request(stage: Stage, number: int, method: str = "GET", more: str = "") -> bytes:
    lines = (f"{method} {target(number)} HTTP/1.1", "host: localhost", f"x-api-key: {stage.keys['reports']}{more}")
    return "\r\n".join((*lines, "", "")).encode()


def timed(stage: Stage, *pieces: bytes, pause: float = 0.0) -> tuple[WireAnswer, float]:
    """The answer to a request that is sent in pieces, and the seconds from the first one's arrival."""
    gateway: Process = stage.gateways[0]
    with Wire(("127.0.0.1", gateway.port), timeout=20) as wire:
        began = time.monotonic()
        for piece in pieces[:-1]:
            wire.send(piece)
            time.sleep(pause)
        wire.send(pieces[-1])
        return wire.answer(), time.monotonic() - began


def in_time(seconds: float) -> bool:
    return DEADLINE - 0.05 <= seconds <= DEADLINE + GRACE + LATER


def test_with_redis_frozen_and_the_service_silent(stage: Stage, server: RedisServer) -> None:
    server.pause()
    answer, seconds = timed(stage, request(stage, 1))
    assert answer.code == "GatewayDeadlineExceeded"
    assert in_time(seconds), seconds


def test_with_redis_frozen_while_the_service_is_silent(stage: Stage, server: RedisServer) -> None:
    pausing = threading.Timer(DEADLINE - 0.3, server.pause)
    pausing.start()
    answer, seconds = timed(stage, request(stage, 2))
    pausing.join()
    assert answer.code == "GatewayDeadlineExceeded"
    assert in_time(seconds), seconds


def test_with_something_stale_to_fall_back_on(stage: Stage, server: RedisServer) -> None:
    server.pause()
    answer, seconds = timed(stage, request(stage, 0, more="\r\ncache-control: no-cache"))
    assert (answer.status, answer.headers["cache-status"].split("; ")[-1]) == (200, "detail=DeadlineExceeded")
    assert in_time(seconds), seconds


def test_a_head_that_comes_slowly_counts(stage: Stage) -> None:
    whole = request(stage, 3)
    answer, seconds = timed(stage, whole[:20], whole[20:60], whole[60:], pause=0.6)
    assert answer.code == "GatewayDeadlineExceeded"
    assert in_time(seconds), seconds


def test_a_body_that_comes_slowly_counts(stage: Stage, server: RedisServer) -> None:
    server.pause()
    head = request(stage, 4, "POST", "\r\ncontent-length: 4\r\ncontent-type: application/json")
    answer, seconds = timed(stage, head, b"nu", b"ll", pause=0.8)
    assert answer.code == "GatewayDeadlineExceeded"
    assert in_time(seconds), seconds


def test_a_body_that_never_ends(stage: Stage) -> None:
    head = request(stage, 5, "POST", "\r\ncontent-length: 4\r\ncontent-type: application/json")
    answer, seconds = timed(stage, head, b"nu")
    assert answer.code == "GatewayDeadlineExceeded"
    assert in_time(seconds), seconds


def test_the_flight_goes_on_and_its_answer_is_there_afterwards(stage: Stage) -> None:
    answer, _ = timed(stage, request(stage, 6))
    assert answer.status == 503
    stage.open_gate()
    until(lambda: timed(stage, request(stage, 6))[0].status == 200)
    assert stage.calls()["total"] == 1
