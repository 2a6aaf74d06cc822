"""Standard error that nobody reads, that is full, gone or closed: real pipes, real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.observe.logs import BUFFER_BYTES, NonBlockingStream
from tests.integration.stage import Stage, staged
from tests.redis_server import free_port
from tests.server.test_serve import serving, until
from tests.wire import ask, get

EVENTS = ("ours", "audit", "uvicorn's", "asyncio's", "a warning", "a traceback", "printed")
METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token\r\n\r\n"
COLD = 30
"""Cold requests, each with lines of its own."""
MALFORMED = 2_000
"""Malformed requests: their lines are more than a pipe holds."""


@contextmanager
def pipe(*, full: bool = False) -> Iterator[tuple[int, int]]:
    """Both ends of a pipe; the writing one blocks, as those that shells make."""
    reading, writing = os.pipe()
    if full:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4_095 + b"\n")
        os.set_blocking(writing, True)
    try:
        yield reading, writing
    finally:
        for end in (reading, writing):
            with suppress(OSError):
                os.close(end)


class Reader(threading.Thread):
    """Reads a pipe to its end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(daemon=True)
        self._descriptor = descriptor
        self.text = ""
        self.start()

    def run(self) -> None:
        with suppress(OSError):
            while data := os.read(self._descriptor, 65_536):
                self.text += data.decode()

    def events(self, name: str) -> list[dict[str, object]]:
        """The lines of this event."""
        lines = [line for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for line in lines if (event := json.loads(line))["event"] == name]


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_who_speaks_waits_for_a_pipe_that_nobody_reads(workers: int) -> None:
    with pipe(full=True) as (reading, writing), serving(stderr=writing, workers=workers) as running:
        os.close(writing)
        lost = until(lambda: int(ask(running.public, get("/say?500")).body))
        assert ask(running.public, get("/pid")).status == 200
        read = Reader(reading)
        gap = until(lambda: read.events("log_lines_dropped"))[0]
        assert 0 < int(str(gap["lines"])) <= lost or workers > 1
        ask(running.public, get("/say?1"))
        until(lambda: all(event in read.text.rpartition('"log_lines_dropped"')[2] for event in EVENTS))
        running.process.terminate()
        assert running.ended() == 0


@pytest.mark.parametrize("shell", ['exec "$@" 2>&-', 'exec "$@" 2>/dev/full', 'exec "$@" 0<&- 1>&2 2>&-'])
@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_who_speaks_fails_where_nothing_is_taken(workers: int, shell: str) -> None:
    port = free_port()
    with serving(wait=False, shell=shell, workers=workers, port=port) as running:
        public = ("127.0.0.1", port)

        def said() -> bool:
            with suppress(OSError, AssertionError):
                return ask(public, get("/say?3")).status == 200
            return False

        assert until(said)
        descriptors = [Path(f"/proc/{running.process.pid}/fd/{each}").readlink() for each in (0, 1, 2)]
        assert not any("socket" in str(each) for each in descriptors)
        running.process.terminate()
        assert running.ended() == 0


def test_a_reader_that_leaves_is_not_missed() -> None:
    with pipe() as (reading, writing), serving(stderr=writing) as running:
        os.close(reading)
        until(lambda: int(ask(running.public, get("/say?3")).body))
        running.process.terminate()
        assert running.ended() == 0


def test_an_end_does_not_wait_for_a_pipe_that_nobody_reads() -> None:
    with pipe(full=True) as (_, writing), serving(stderr=writing, drain_seconds=60) as running:
        ask(running.public, get("/say?3"))
        running.process.terminate()
        until(lambda: ask(running.public, get("/-/health/ready")).status == 503)
        running.process.send_signal(signal.SIGTERM)
        assert running.ended() == 128 + signal.SIGTERM


def test_the_last_lines_are_written_before_the_end() -> None:
    with serving() as running:
        ask(running.public, get("/say?500"))
        running.process.send_signal(signal.SIGINT)
        assert running.ended() == 0
        assert (running.folder / "errors").read_text().count('"event": "audit"') == 500


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(allow_anonymous=True, budget="unlimited", anonymous_requests_per_second=0) as stage:
        yield stage


@pytest.mark.parametrize("stderr", ["unread", "full", "closed", "left"])
def test_the_gateway_serves_whatever_becomes_of_its_log(stage: Stage, stderr: str) -> None:
    public, admin = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    words = [sys.executable, "-m", "gateway", "serve", "--port", str(public[1]), "--admin-port", str(admin[1])]
    shell = {"full": 'exec "$@" 2>/dev/full', "closed": 'exec "$@" 2>&-'}.get(stderr, 'exec "$@"')
    environment = stage.environment | {"STATS_GATEWAY_ADMIN_TOKEN": "token"}
    with pipe(full=stderr == "unread") as (reading, writing), subprocess.Popen(
        ["sh", "-c", shell, "sh", *words], env=environment, stdin=subprocess.DEVNULL, stderr=writing,
    ) as process:  # fmt: skip
        try:
            if stderr == "left":
                os.close(reading)

            def ready() -> bool:
                with suppress(OSError):
                    return ask(public, get("/-/health/ready")).status == 200
                return False

            assert until(ready)
            for number in range(COLD):
                assert ask(public, get(f"/total/views/article/{number}")).status == 200
            assert ask(public, get("/-/health/live")).status == 200
            shown = ask(
                admin, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token\r\n\r\n"
            ).body.decode()
            dropped = float(shown.partition('stats_gateway_log_lines_dropped_total{kind="log"} ')[2].split()[0])
            assert (dropped > 0) == (stderr in ("full", "left"))  # the buffer holds what the full pipe does not
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("stderr", ["unread", "full", "closed"])
def test_a_server_that_set_up_its_own_log_first_does_not_wait_for_it(stage: Stage, stderr: str) -> None:
    public = ("127.0.0.1", free_port())
    words = [sys.executable, "-m", "uvicorn", "--factory", "gateway.asgi:app", "--no-date-header"]
    words += ["--port", str(public[1])]
    shell = {"full": 'exec "$@" 1>&2 2>/dev/full', "closed": 'exec "$@" 1>&2 2>&-'}.get(stderr, 'exec "$@" 1>&2')
    with pipe() as (_, writing), subprocess.Popen(
        ["sh", "-c", shell, "sh", *words], env=stage.environment, stdin=subprocess.DEVNULL, stderr=writing,
    ) as process:  # fmt: skip
        try:

            def live() -> bool:
                with suppress(OSError):
                    return ask(public, get("/-/health/live")).status == 200
                return False

            assert until(live)
            for _ in range(MALFORMED):
                with socket.create_connection(public, timeout=10) as client:
                    client.sendall(b"\x01garbage\r\n\r\n")
                    assert client.recv(100).startswith(b"HTTP/1.1 400 ")
            assert live()
            process.terminate()
            assert process.wait(30) in (0, -signal.SIGTERM)
        finally:
            process.kill()


def line(number: int) -> bytes:
    return b"%d %s\n" % (number, b"." * 1_000)


def test_what_is_written_again_comes_in_order_after_a_gap_that_is_told_once() -> None:
    with pipe(full=True) as (reading, writing):
        stream = NonBlockingStream(writing)
        gaps: list[int] = []
        stream.on_gap = lambda dropped: gaps.append(dropped["log"])
        for number in range(2_000):
            stream.write(line(number))
        kept = 2_000 - stream.dropped["log"]
        assert 0 < kept < BUFFER_BYTES["log"] // 1_000
        assert not stream.settle(0.01)
        read = Reader(reading)
        assert stream.settle(20)
        stream.write(b"and on\n")
        assert stream.settle(20)
        until(lambda: read.text.endswith("and on\n"))
        numbers = [int(each.split()[0]) for each in read.text.splitlines() if each.endswith(".")]
        assert numbers == list(range(kept))
        assert gaps == [2_000 - kept]


def test_an_audit_line_has_room_when_others_have_none() -> None:
    with pipe(full=True) as (reading, writing):
        stream = NonBlockingStream(writing)
        for number in range(2_000):
            stream.write(line(number))
        stream.write(b"audit\n", "audit")
        assert stream.dropped["audit"] == 0
        for number in range(2_000):
            stream.write(line(number), "audit")
        assert stream.dropped["audit"] > 0
        read = Reader(reading)
        assert stream.settle(20)
        until(lambda: "\naudit\n" in read.text)


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing() -> None:
    with pipe(full=True) as (reading, writing):
        os.set_blocking(writing, False)
        stream = NonBlockingStream(writing)
        for number in range(500):
            stream.write(line(number))
        read = Reader(reading)
        assert stream.settle(20)
        until(lambda: read.text.count(".\n") == 500)
        assert stream.dropped["log"] == 0


def test_processes_that_share_a_pipe_keep_their_lines_whole() -> None:
    with pipe(full=True) as (reading, writing):
        streams = [NonBlockingStream(os.dup(writing)) for _ in range(4)]
        for number in range(200):
            for stream in streams:
                stream.write(line(number))
        read = Reader(reading)
        assert all(stream.settle(20) for stream in streams)
        until(lambda: read.text.count(".\n") == 800)
        assert {each for each in read.text.splitlines() if each[0] != "x"} == {
            line(number).decode().rstrip() for number in range(200)
        }


def test_a_forked_child_writes_its_own_lines() -> None:
    with pipe() as (reading, writing):
        stream = NonBlockingStream(writing)
        stream.write(b"parent\n")
        assert stream.settle(20)
        child = os.fork()
        if child == 0:
            stream.write(b"child\n")
            os._exit(0 if stream.settle(20) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(reading, 100) == b"parent\nchild\n"
