"""``stats-gateway health``: what a container's health check runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.cli.command import Done, command, run
from tests.integration.stage import Stage, get, staged, until


class Telling(BaseHTTPRequestHandler):
    """Answers as it is told; stays silent with status 0."""

    answers: tuple[int, str] = (200, "")
    asked: list[str]

    def do_GET(self) -> None:
        """One answer."""
        self.asked.append(self.path)
        status, body = self.answers
        if not status:
            self.server.shutdown_event.wait(10)  # type: ignore[attr-defined]
            return
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def telling(status: int, body: str) -> Iterator[tuple[str, list[str]]]:
    """A server that answers this to everything: where it is, and what it was asked."""
    asked: list[str] = []
    handler = type("Handler", (Telling,), {"answers": (status, body), "asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        server.shutdown_event = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown_event.set()  # type: ignore[attr-defined]
            server.shutdown()


def health_of(status: int, body: str, *words: str) -> Done:
    with telling(status, body) as (url, asked):
        done = run("health", "--url", url + "/", *words)
        assert asked == ["/-/health/ready"]
    return done


@pytest.mark.parametrize(
    ("status", "body", "words", "code", "told"),
    [
        (200, '{"status": "ok"}', [], 0, "ok\n"),
        (200, '{"status": "ok", "gate": {"closed_for": 9}}', ["--strict"], 0, "ok\n"),
        (200, '{"status": "degraded"}', [], 0, "degraded\n"),
        (200, '{"status": "degraded"}', ["--strict"], 1, "the gateway is degraded"),
        (503, '{"status": "starting"}', [], 1, " is starting"),
        (503, '{"status": "draining"}', [], 1, " is draining"),
        (200, "hello", [], 1, " answers 200, but not as a gateway does"),
        (200, '["ok"]', [], 1, " answers 200, but not as a gateway does"),
        (200, '{"status": "ok\\u001b[31m"}', [], 1, " answers 200, but not as a gateway does"),
        (302, "", [], 1, " answers 302, but not as a gateway does"),
        (0, "", ["--timeout", "0.2"], 1, "no gateway answers at http://127.0.0.1:"),
    ],
)
def test_what_a_gateway_tells_becomes_an_exit_code(
    status: int, body: str, words: list[str], code: int, told: str
) -> None:
    done = health_of(status, body, *words)
    assert done.code == code
    if code == 0:
        assert (done.out, done.err) == (told, "")
    else:
        assert done.out == ""
        assert done.err.startswith("stats-gateway: ")
        assert done.err.count("\n") == 1
        assert told in done.err


def test_what_cannot_be_asked_is_one_line_without_the_password() -> None:
    for url in ("http://user:hush@127.0.0.1:1", "ftp://user:hush@127.0.0.1", "http://user:hush@[x]"):
        done = run("health", "--url", url)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert "hush" not in done.err


def test_settings_that_cannot_be_used_are_not_healthy_either() -> None:
    done = command("health", STATS_GATEWAY_PORT="many")
    assert (done.code, done.out) == (1, "")
    assert "STATS_GATEWAY_PORT" in done.err


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples", redis_url="memory://") as stage:
        yield stage


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_it_finds_the_gateway_that_has_the_same_settings(stage: Stage, host: str) -> None:
    gateway = stage.serve(host=host)
    done = command("health", "--strict", STATS_GATEWAY_HOST=host, STATS_GATEWAY_PORT=str(gateway.port))
    assert (done.code, done.out, done.err) == (0, "ok\n", "")


def test_a_gateway_that_drains_is_not_healthy(stage: Stage) -> None:
    gateway = stage.serve(drain_seconds=60)
    gateway.running.terminate()
    until(lambda: get(f"{gateway.url}/-/health/ready").status_code == 503)
    done = run("health", "--url", gateway.url)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"stats-gateway: the gateway at {gateway.url} is draining\n"
    gateway.kill()
