"""Open files that run out, in real processes: by clients, and by whatever else."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from gateway.server.process import TELL_SECONDS
from tests.integration.stage import Process, Stage, staged, until
from tests.redis_server import RedisServer, redis_server
from tests.server.test_serve import children, serving
from tests.wire import Address, Wire, WireAnswer, ask, get

FILES = 512
"""Open files that the gateway may have."""
CROWD = 700
"""Idle connections, more than those."""
SHORT = 0.2
"""Seconds that a short shortage lasts."""
SHORTAGES = 5


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(
        allow_anonymous=True,
        anonymous_requests_per_second=0,
        budget="unlimited",
        log_format="json",
        admin_token="",
    ) as stage:
        yield stage


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def gateway(stage: Stage, server: RedisServer, prefix: str) -> Process:
    shell = f'ulimit -n {FILES}; exec "$@"'
    gateway = stage.start_gateway(shell=shell, redis_url=server.url, redis_prefix=prefix, lifetime_totals=1)
    until(lambda: answers(gateway))
    return gateway


def address(gateway: Process) -> Address:
    return "127.0.0.1", gateway.port


def answers(gateway: Process) -> bool:
    with suppress(OSError, AssertionError):
        return ask(address(gateway), get("/-/health/ready")).status == 200
    return False


def page(number: int) -> bytes:
    return get(f"/total/views/article/{number}")


@contextmanager
def idle(gateway: Process, count: int) -> Iterator[None]:
    """So many connections that say nothing, without a key."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(address(gateway), timeout=10))
        yield


@contextmanager
def no_more_files(gateway: Process) -> Iterator[None]:
    """The gateway keeps the files that it has, and cannot open another."""
    pid = gateway.running.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def lines(gateway: Process, event: str) -> int:
    return gateway.output.count(f'"event": "{event}"')


def test_a_crowd_of_idle_connections_leaves_health_metrics_redis_and_the_service(gateway: Process) -> None:
    assert lines(gateway, "max_connections_capped") == 1
    with Wire(address(gateway)) as early, idle(gateway, CROWD):
        for path in ("/-/health/live", "/-/health/ready"):
            answer = ask(address(gateway), get(path))
            assert (answer.status, answer.closes) == (200, True)
        late = ask(address(gateway), page(1))
        assert (late.status, late.code, late.headers["retry-after"]) == (503, "GatewayTooManyConnections", "1")
        assert early.send(page(2)).answer().headers["cache-status"].endswith("fwd=uri-miss; stored")
        assert gateway.metric("stats_gateway_connections_refused_total") > 0
        assert gateway.metric("stats_gateway_degraded") == 0
        assert gateway.metric("process_open_fds") < FILES
        until(lambda: lines(gateway, "connections_refused"))
    until(lambda: ask(address(gateway), page(3)).status == 200)
    assert gateway.metric("stats_gateway_open_files_exhausted_total") == 0
    assert lines(gateway, "connections_refused") <= 3
    assert "Traceback" not in gateway.output


def test_without_a_file_left_stored_answers_go_on_and_the_rest_is_refused_clearly(
    stage: Stage, gateway: Process, server: RedisServer
) -> None:
    with Wire(address(gateway)) as kept, Wire(address(gateway)) as other:
        assert kept.send(page(1)).answer().status == 200
        stage.close_gate()  # what is asked now keeps the one connection to the service
        other.send(page(4))
        until(lambda: stage.calls()["by_path"].get("/total/views/article/4"))
        with no_more_files(gateway):
            server.call("CLIENT", "KILL", "TYPE", "normal")
            assert kept.send(get("/-/health/live")).answer().status == 200
            cold = kept.send(page(5)).answer()
            assert (cold.status, cold.code) == (502, "GatewayUpstreamUnreachable")
            until(lambda: is_stale(kept.send(page(1)).answer()))
            until(lambda: b"degraded" in kept.send(get("/-/health/ready")).answer().body)
            assert not answers(gateway)  # a new connection is ended before anything is said
            until(lambda: lines(gateway, "open_files_exhausted"))
        stage.open_gate()
        assert other.answer().status == 200
        until(lambda: b'"ok"' in kept.send(get("/-/health/ready")).answer().body)
        assert ask(address(gateway), page(5)).status == 200
        assert gateway.metric("stats_gateway_open_files_exhausted_total") > 0
        assert "Traceback" not in gateway.output


@pytest.mark.exhaustive
def test_a_shortage_that_ends_soon_is_counted_and_told(gateway: Process) -> None:
    told, began = lines(gateway, "open_files_exhausted"), time.monotonic()
    for number in range(1, SHORTAGES + 1):
        before = gateway.metric("stats_gateway_open_files_exhausted_total")
        with Wire(address(gateway)) as kept:
            assert kept.send(get("/-/health/live")).answer().status == 200
            with no_more_files(gateway):
                end = time.monotonic() + SHORT
                while time.monotonic() < end:
                    assert kept.send(get("/-/health/live")).answer().status == 200
        assert gateway.metric("stats_gateway_open_files_exhausted_total") > before, number
    until(lambda: lines(gateway, "open_files_exhausted") > told)
    assert lines(gateway, "open_files_exhausted") - told <= 1 + (time.monotonic() - began) / TELL_SECONDS


def is_stale(answer: WireAnswer) -> bool:
    return answer.status == 200 and "hit; ttl=-" in answer.headers["cache-status"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_soft_limit_is_raised_to_the_hard_one(workers: int) -> None:
    with serving(shell='ulimit -Sn 256; exec "$@"', workers=workers) as running:
        for pid in (running.process.pid, *map(int, children(running.process.pid))):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            assert soft == hard > 256
