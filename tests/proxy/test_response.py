"""Whole answers on connections that take them, beside ASGI's two messages."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.lifecycle import Lifecycle
from gateway.observe.outcome import Outcome
from gateway.proxy.response import ONE_WRITE, Response, head_of, send_at_once
from gateway.server.protocol import protocol_class
from tests.echo import BIG, LIMITS, Echo, Edge, edge
from tests.wire import Wire, get

LINE = b"HTTP/1.1 200 OK\r\n"
DATE = (b"date", b"Thu, 01 Jan 2026 00:00:00 GMT")


@pytest.fixture(scope="module")
def server() -> Iterator[Edge]:
    with edge() as running:
        yield running


class Recorder(asyncio.Transport):
    """What is written, in pieces as it is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


def connected(transport: Recorder) -> Any:
    """A connection's protocol, without a server."""
    kind: Any = protocol_class(LIMITS, Lifecycle())
    config = uvicorn.Config(Echo(), http=kind, lifespan="off", log_config=None)
    config.load()
    protocol = kind(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(transport)
    return protocol


async def answered(protocol: Any, request: bytes) -> None:
    protocol.data_received(request)
    async with asyncio.timeout(5):
        while not protocol.cycle.response_complete:
            await asyncio.sleep(0)


@pytest.mark.parametrize(("words", "pieces"), [("", 1), ("apart", 2)])
async def test_it_is_written_in_one_piece(words: str, pieces: int) -> None:
    protocol = connected(transport := Recorder())
    await answered(protocol, get("/a", f"X-Do: {words}"))
    protocol.connection_lost(None)
    assert len(transport.pieces) == pieces
    assert b"".join(transport.pieces).startswith(LINE)


async def test_what_a_request_makes_goes_with_it() -> None:
    """Without the collector, which seldom runs (``service.py``); what other threads of the tests left meanwhile it
    finds too, but hardly each time."""
    protocol = connected(Recorder())
    await answered(protocol, get("/a"))
    await asyncio.sleep(0)
    gc.collect()
    left = []
    for _ in range(3):
        for _ in range(20):
            await answered(protocol, get("/a"))
            await asyncio.sleep(0)
        left.append(gc.collect())
    assert min(left) < 20
    protocol.connection_lost(None)


def test_who_shuts_down_while_it_waits_for_a_slow_reader_closes_after_it() -> None:
    with edge() as server, Wire(server.address) as wire:
        wire.send(get("/big", "X-Do: big"))
        assert server.app.arrived.acquire(timeout=5)
        wire.send(get("/second"))
        assert server.app.arrived.acquire(timeout=5)
        stopped = threading.Event()
        server.call(server.listener.stop)
        server.call(lambda: server.loop.call_later(1.0, stopped.set))  # it looks ten times a second
        assert stopped.wait(5)
        assert len(wire.answer().body) == BIG
        assert wire.answer().closes
        assert wire.ended()


@pytest.mark.parametrize("words", ["", "apart"])
def test_either_way_the_connection_goes_on_and_the_same_is_said(server: Edge, words: str) -> None:
    with Wire(server.address) as wire:
        for _ in range(2):
            answer = wire.send(get("/a?b", f"X-Do: {words}")).answer()
            assert (answer.status, b'"/a"' in answer.body, answer.closes) == (200, True, False)
        head = wire.send(get("/a?b", f"X-Do: {words}").replace(b"GET", b"HEAD")).answer(head=True)
        assert int(head.headers["content-length"]) == len(answer.body) + 1
        last = wire.send(get("/a?b", f"X-Do: {words}", "Connection: close")).answer()
        assert last.closes
        assert wire.ended()


def test_a_header_that_would_be_two_is_not_written(server: Edge) -> None:
    with Wire(server.address) as wire:
        wire.send(get("/a", "X-Do: spoil"))
        assert wire.socket.recv(65_536) == b""


async def test_where_nobody_takes_it_whole_it_goes_in_two_messages() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def refuse(*given: Any) -> bool:
        return False

    for scope in ({}, {ONE_WRITE: refuse}):
        await send_at_once(scope, send, 200, [DATE], b"body")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"] * 2
    assert sent[:2] == sent[2:] == [
        {"type": "http.response.start", "status": 200, "headers": [DATE]},
        {"type": "http.response.body", "body": b"body"},
    ]  # fmt: skip


def test_a_head_is_its_lines_and_an_empty_one() -> None:
    assert head_of(LINE, []) == LINE + b"\r\n"
    assert head_of(LINE, [(b"a", b"b"), (b"c", b"")]) == LINE + b"a: b\r\nc: \r\n\r\n"


async def test_an_answer_has_one_date() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    for headers in ([(b"a", b"b"), DATE], [(b"a", b"b")]):
        await Response(204, headers, b"", Outcome.HIT).send({"method": "GET"}, send, [(b"c", b"d")])
    assert sent[0]["headers"] == [(b"a", b"b"), DATE, (b"c", b"d")]
    (name, value), *others = sent[2]["headers"]
    assert (name, value[-4:], others) == (b"date", b" GMT", [(b"a", b"b"), (b"c", b"d")])


@pytest.mark.parametrize(
    "header",
    [
        *((b"a", b"b" + bad) for bad in (b"\r", b"\n", b"\r\nc: d", b"\n\r", b"\0", b"\x7f", b"\x1f")),
        *((bad, b"b") for bad in (b"a b", b"a:", b"a\r\n", b"(a)", b"\xe9", b"a\0")),
    ],
)
def test_what_is_no_header_has_no_head(header: tuple[bytes, bytes]) -> None:
    assert head_of(LINE, [DATE, header]) is None
    assert head_of(LINE, [header, DATE]) is None


def test_any_text_may_be_a_value() -> None:
    text = bytes(code for code in range(256) if code == 9 or 32 <= code != 127)
    assert text in (head_of(LINE, [DATE, (b"a", text)]) or b"")
