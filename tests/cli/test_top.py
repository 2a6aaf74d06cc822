"""``stats-gateway top`` as a command: against real gateways, in a pipe and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.cli.command import clean_environment, command
from tests.cli.terminal import GATEWAY, ON_A_TERMINAL, read_until
from tests.integration.stage import Process, Stage, await_answer, get, spawned, staged, until
from tests.redis_server import RedisServer, free_port

TOKEN = "hunter2-admin"
TARGET = "/total/views/article/1234"
ALTERNATE, BACK = b"\x1b[?1049h", b"\x1b[?1049l"
SHOW_CURSOR = b"\x1b[?25h"


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    settings = {"redis_url": shared_redis.url, "redis_prefix": "top", "budget": "60/m"}
    with staged(**settings, admin_token=TOKEN) as stage:
        stage.tenant("reports", "lboro")
        gateway = stage.serve()
        for _ in range(3):
            assert get(gateway.url + TARGET, headers={"X-API-Key": stage.keys["reports"]}).status_code == 200
        yield stage


def asking(gateway: Process, **more: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{gateway.admin_port}"
    return {"STATS_GATEWAY_ADMIN_URL": url, "STATS_GATEWAY_ADMIN_TOKEN": TOKEN} | more


@dataclass
class Terminal:
    """A command on a terminal of 80 columns and 24 lines."""

    ours: int
    theirs: int
    process: subprocess.Popen[bytes]

    def shows(self, text: bytes) -> bytes:
        shown = read_until(self.ours, text)
        assert text in shown, shown
        return shown

    def types(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def mode(self) -> list[object]:
        return termios.tcgetattr(self.theirs)


@contextmanager
def on_a_terminal(*words: str, **settings: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = clean_environment() | {"TERM": "xterm-256color"} | settings
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *GATEWAY, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    try:
        yield Terminal(ours, theirs, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_once_prints_one_frame_and_ends(stage: Stage) -> None:
    gateway = stage.gateways[0]
    told = (" 3 requests, 2 from the cache, 1 call, 2 saved", "reports", "1 process ")
    until(lambda: all(map(command("top", "--once", **asking(gateway)).out.__contains__, told)))
    done = command("top", "--once", **asking(gateway))
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    for word in ("stats-gateway ", "1 process  1 tenant  Redis ok", "Budget    1.00/s, burst 5", "reports"):
        assert word in done.out


def test_where_there_is_no_terminal_one_frame_is_printed_whatever_is_said_of_colours(stage: Stage) -> None:
    done = command("top", **asking(stage.gateways[0], FORCE_COLOR="1", COLUMNS="60", PYTHONIOENCODING="ascii"))
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()
    assert ALTERNATE.decode() not in done.out
    assert done.out.startswith("\x1b[1mstats-gateway")


def test_json_is_the_overview(stage: Stage) -> None:
    told = json.loads(command("top", "--json", **asking(stage.gateways[0])).out)
    assert len(told["minutes"]) == 60
    assert told["registry"] == {"tenants": 1}


@pytest.mark.parametrize("end", [b"\x03", b"q", b"\x04", signal.SIGTERM], ids=["ctrl-c", "q", "ctrl-d", "sigterm"])
def test_on_a_terminal_it_fills_the_screen_until_it_is_ended_and_leaves_it_as_it_was(
    stage: Stage, end: bytes | signal.Signals
) -> None:
    with on_a_terminal("top", "--interval", "0.5", **asking(stage.gateways[0])) as terminal:
        before = terminal.mode
        shown = terminal.shows(b"reports")
        assert ALTERNATE in shown
        until(lambda: terminal.mode != before)
        if isinstance(end, bytes):
            terminal.types(end)
        else:
            terminal.process.send_signal(end)
        shown = terminal.shows(BACK)
        assert terminal.process.wait(timeout=30) == 0
        assert SHOW_CURSOR in shown
        assert b"Traceback" not in shown
        assert terminal.mode == before


def test_it_follows_the_terminals_size(stage: Stage) -> None:
    with on_a_terminal("top", "--interval", "600", **asking(stage.gateways[0])) as terminal:
        terminal.shows(b"Tenant today")
        terminal.resize(100, 30)
        terminal.shows(b"Tenant today" + b" " * 30)
        terminal.types(b"q")
        assert terminal.process.wait(timeout=30) == 0


def test_a_gateway_that_goes_away_is_waited_for(stage: Stage) -> None:
    port, admin_port = str(free_port()), free_port()
    words = ["serve", "--port", port, "--admin-port", str(admin_port)]
    with spawned(words, stage.environment, stage.folder / "first.log") as first:
        first.admin_port = admin_port
        await_answer(f"{first.url}/-/health/ready", first)
        with on_a_terminal("top", "--interval", "0.5", **asking(first)) as terminal:
            terminal.shows(b"reports")
            first.kill()
            assert b"reports" in terminal.shows(b"not reachable, retrying") + terminal.shows(b"reports")
            with spawned(words, stage.environment | {"STATS_GATEWAY_ADMIN_TOKEN": "x"}, stage.folder / "2.log"):
                terminal.shows(b"refused, retrying")
            with spawned(words, stage.environment, stage.folder / "third.log"):
                terminal.shows(b"UTC\x1b[0m\r\n" + b" " * 80)
                terminal.types(b"\x03")
                assert terminal.process.wait(timeout=30) == 0


def test_what_is_wrong_from_the_start_ends_it_with_a_code_that_means_something(stage: Stage) -> None:
    gateway = stage.gateways[0]
    nobody: Any = {"STATS_GATEWAY_ADMIN_URL": f"http://127.0.0.1:{free_port()}"}
    for words in (("top",), ("top", "--once"), ("top", "--json")):
        away = command(*words, **nobody)
        assert (away.code, away.out, away.err.count("\n")) == (7, "", 1)
        refused = command(*words, **asking(gateway, STATS_GATEWAY_ADMIN_TOKEN="wrong"))
        assert (refused.code, refused.out, refused.err.count("\n")) == (6, "", 1)
    assert command("top", "--interval", "0", **asking(gateway)).code == 2


class Stranger(BaseHTTPRequestHandler):
    """Answers everything with JSON that is no overview; ``old`` has no such path."""

    old = False

    def do_GET(self) -> None:
        body = b'{"message": "There is nothing here", "code": "GatewayNotFound", "data": null}'
        self.send_response(404 if self.old else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Old(Stranger):
    old = True


@pytest.mark.parametrize(
    ("kind", "code", "complaint"),
    [(Stranger, 7, "not as this version's gateway does"), (Old, 6, "older than this")],
)
def test_what_is_no_such_gateway_is_said_to_be_none(
    kind: type[BaseHTTPRequestHandler], code: int, complaint: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = command("top", "--once", STATS_GATEWAY_ADMIN_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert complaint in done.err
