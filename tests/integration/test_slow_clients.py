"""Clients that send or read too slowly, and too many of them, on both listeners of a real gateway."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.raw_requests import AS_ADMIN, TOKEN, chunked, get, post
from tests.integration.recorder import BIG, Recorder, recording
from tests.integration.stage import Process, staged, until
from tests.wire import Wire

PATIENCE = {"head_timeout": 0.5, "body_timeout": 0.5, "send_timeout": 0.5, "max_connections": 3}


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """The service behind."""
    with recording() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def impatient(recorder: Recorder) -> Iterator[Process]:
    """A gateway with little patience."""
    with staged(upstream=recorder.url, profile="generic", admin_token=TOKEN, admin_hosts="gateway") as stage:
        yield stage.serve(**PATIENCE)


@pytest.fixture(params=["public", "admin"])
def hurried(request: pytest.FixtureRequest, impatient: Process) -> tuple[str, int]:
    """Each of its listeners, once it has room."""
    address = ("127.0.0.1", impatient.port if request.param == "public" else impatient.admin_port)
    until(lambda: welcome(address))
    return address


def welcome(address: tuple[str, int]) -> bool:
    """Whether the listener answers another client."""
    with Wire(address) as wire:
        return served(wire)


def served(wire: Wire) -> bool:
    """Whether a connection was let in and is answered."""
    try:
        return wire.send(get()).answer().status in (200, 404)
    except (BrokenPipeError, ConnectionResetError):
        return False  # it was turned away before it could ask


def settled(stack: ExitStack, address: tuple[str, int]) -> Wire:
    """A connection that was let in, maybe after others were noticed to be gone; closed with the stack."""
    found: list[Wire] = []

    def joined() -> bool:
        wire = stack.enter_context(Wire(address))
        if served(wire):
            found.append(wire)
        return bool(found)

    until(joined)
    return found[0]


@pytest.mark.parametrize("start", [b"", b"\r\n", b"G", get()[:-2], b"GET /" + b"a" * 999])
def test_a_head_that_stays_away_frees_its_connection(hurried: tuple[str, int], start: bytes) -> None:
    with Wire(hurried) as wire:
        answer = wire.send(start).answer()
        assert (answer.status, answer.code, answer.closes) == (408, "GatewayHeadTimeout", True)
        assert wire.ended()


@pytest.mark.parametrize(
    "start", [post(b"Content-Length: 9", body=b"12345678"), chunked(b"3\r\nabc\r\n", b"0\r\n")]
)
def test_a_body_that_stays_away_frees_its_connection(
    impatient: Process, recorder: Recorder, hurried: tuple[str, int], start: bytes
) -> None:
    target = b"/api/purge" if hurried[1] == impatient.admin_port else b"/a"
    fields = b"\r\n" + AS_ADMIN + b"\r\nContent-Type: application/json\r\nHost:"
    with Wire(hurried) as wire:
        wire.send(start.replace(b"/a", target).replace(b"\r\nHost:", fields))
        answer = wire.answer()
        assert (answer.status, answer.closes) == (408, True)
        assert wire.ended()
    assert not any(heard.line.startswith(b"POST") for heard in recorder.heard)


def test_connections_over_the_cap_are_turned_away_and_welcome_once_others_leave(
    hurried: tuple[str, int],
) -> None:
    with ExitStack() as stack:
        first, second, _ = (settled(stack, hurried) for _ in range(3))
        with Wire(hurried) as fourth:
            answer = fourth.answer()
            assert (answer.status, answer.code) == (503, "GatewayTooManyConnections")
            assert answer.headers["retry-after"] == "1"
            assert fourth.ended()
        assert served(first)
        first.close()
        until(lambda: welcome(hurried))
        assert served(second)


def test_clients_that_never_read_are_cut_off_and_keep_nobody_out(impatient: Process) -> None:
    address = ("127.0.0.1", impatient.port)
    deaf: list[socket.socket] = []
    with ExitStack() as stack:

        def filled() -> bool:
            connection = stack.enter_context(narrow(address))
            connection.sendall(get(b"/big"))
            if connection.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 200":
                deaf.append(connection)
            return len(deaf) == 3

        until(filled)
        until(lambda: welcome(address))
        for connection in deaf:
            assert len(read(connection)) < BIG


def narrow(address: tuple[str, int]) -> socket.socket:
    """A connection that holds little that was not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(20)
    connection.connect(address)
    return connection


def read(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    received = b""
    try:
        while data := connection.recv(1 << 20):
            received += data
    except ConnectionResetError:
        pass
    return received


def test_after_all_that_nothing_was_logged_as_a_fault(impatient: Process) -> None:
    assert "Traceback" not in impatient.output
    assert "internal_error" not in impatient.output
