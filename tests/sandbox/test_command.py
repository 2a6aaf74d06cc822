"""``stats-gateway sandbox`` as a real process on a real socket."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields

import httpx2 as httpx
import pytest

from gateway.cli.sandbox import HabitOptions
from gateway.sandbox.app import bind
from gateway.sandbox.faults import Fault
from gateway.sandbox.habits import Habits
from gateway.server.listener import bind as gateway_bind
from tests.cli.command import command as run_as_process
from tests.loopback import LOOPBACK
from tests.sandbox.asking import PATIENCE, pair_of, seed_of

LISTENING = re.compile(r"sandbox listening on (http://127\.0\.0\.1:[0-9]+) ")
TARGET = "/total/views/article/23"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "sandbox", *words]


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str


@contextmanager
def running(*words: str) -> Iterator[Running]:
    """The command on a free port, from its start-up line to its end."""
    process = subprocess.Popen(
        command("--port", "0", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            found = LISTENING.match(process.stdout.readline())
            assert found is not None
            yield Running(process, found[1])
        finally:
            process.kill()


def client_of(sandbox: Running) -> httpx.Client:
    return httpx.Client(base_url=sandbox.url, **LOOPBACK, timeout=PATIENCE)


def await_in_flight(client: httpx.Client) -> None:
    """Returns once the sandbox has taken in a call, which only it can tell."""
    deadline = time.monotonic() + PATIENCE
    while client.get("/-/calls").json()["in_flight"] == 0:
        assert time.monotonic() < deadline


def test_the_sandbox_answers_on_the_port_that_it_prints() -> None:
    with running() as sandbox, client_of(sandbox) as client:
        answer = client.get(TARGET)
        assert answer.content == b'{"totals": 231}'
        assert answer.headers["content-type"] == "application/json; charset=UTF-8"
        protected = "/lboro/timeline/total/views/collection/15?start_date=2014-01-02&end_date=2014-03-05"
        assert client.get(protected).status_code == 403
        assert client.get(protected, headers={"Authorization": pair_of("lboro")}).json() == {
            "timeline": {"total": 10}
        }
        assert client.head(TARGET).content == b""
        assert client.get("/-/calls").json()["total"] == 4


def test_a_connection_is_kept_for_the_next_request() -> None:
    with running() as sandbox, socket.create_connection(_address(sandbox), timeout=PATIENCE) as raw:
        for _ in range(2):
            raw.sendall(f"GET {TARGET} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
            received = b""
            while not received.endswith(b'{"totals": 231}'):
                chunk = raw.recv(4_096)
                assert chunk, received
                received += chunk
            assert received.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "listener",
    [lambda: bind("127.0.0.1", 0), lambda: gateway_bind("127.0.0.1", 0, "public")],
    ids=["sandbox", "gateway"],
)
async def test_what_a_listener_accepts_sends_at_once(listener: Callable[[], socket.socket]) -> None:
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listener() as bound:
        async with await asyncio.start_server(accept, sock=bound):
            _, writer = await asyncio.open_connection(*bound.getsockname())
            assert await asyncio.wait_for(found, PATIENCE)
            writer.close()


def test_the_flags_reach_the_sandbox() -> None:
    flags = ("--no-examples", "--seed", "5", "--rate", "0.001/s", "--latency", "0.001", "--count-limit", "3")
    with running(*flags) as sandbox, client_of(sandbox) as client:
        assert len(client.get("/top/views/article").json()["top"]) == 3
        refusal = client.get(TARGET)
        assert refusal.status_code == 429
        assert 900 < int(refusal.headers["retry-after"]) <= 950
    with running("--fail", "1", "--seed", str(seed_of(Fault.FIREWALL))) as sandbox, client_of(sandbox) as client:
        assert client.get(TARGET).status_code == 403


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_even_while_calls_are_held(kind: signal.Signals) -> None:
    with running() as sandbox, client_of(sandbox) as client:
        client.put("/-/gate")
        with socket.create_connection(_address(sandbox), timeout=PATIENCE) as held:
            held.sendall(f"GET {TARGET} HTTP/1.1\r\nHost: sandbox\r\n\r\n".encode())
            await_in_flight(client)
            sandbox.process.send_signal(kind)
            assert held.recv(4_096).startswith(b"HTTP/1.1 200 ")
        assert sandbox.process.wait(timeout=PATIENCE) == 0
        assert sandbox.process.stderr is not None
        assert sandbox.process.stderr.read() == ""


def refusal_of(*words: str) -> str:
    """The one line that the command ends with, and with exit code 2."""
    done = run_as_process("sandbox", *words)
    assert done.code == 2
    assert done.out == ""
    [line] = done.err.splitlines()
    return line


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal_of("--port", str(port))
    assert line == f"stats-gateway: cannot listen on 127.0.0.1 port {port}: Address already in use"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "abc"),
        ("--port", "65536"),
        ("--rate", "fast"),
        ("--rate", "0/s"),
        ("--fail", "2"),
        ("--latency", "-1"),
        ("--items", "0"),
        ("--zone", "Mars"),
    ],
)
def test_a_bad_value_is_one_clear_line_that_names_its_option(option: str, value: str) -> None:
    assert option.lstrip("-") in refusal_of(option, value)


def test_the_help_tells_of_every_option() -> None:
    done = run_as_process("sandbox", "--help")
    options = ["host", "port", "seed", "latency", "rate", "fail", "no-examples"]
    habits = [field.name.replace("_", "-") for field in fields(Habits) if field.name != "examples"]
    for option in options + habits:
        assert f"--{option} " in done.out


def test_the_options_for_habits_are_the_habits() -> None:
    assert asdict(HabitOptions(examples=True)) == asdict(Habits())


def _address(sandbox: Running) -> tuple[str, int]:
    host, _, port = sandbox.url.removeprefix("http://").partition(":")
    return host, int(port)
