"""An application that echoes, behind the protocol under a real uvicorn server with its event loop in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from gateway.lifecycle import Lifecycle
from gateway.proxy.request import TARGET
from gateway.proxy.response import ONE_WRITE, send_at_once
from gateway.server.head import Limits
from gateway.server.listener import Listener, bind
from gateway.server.protocol import protocol_class
from tests.loopback import running
from tests.wire import Address, get

LIMITS = Limits(connections=100, head_bytes=2_000, head_seconds=10.0, hosts=frozenset({b"stats.example.org"}))
BIG = 32 * 1024 * 1024


class Echo:
    """Answers with what it was asked, its body read unless ``X-Do`` says otherwise.

    ``X-Do`` holds words: ``wait`` waits to be released, ``ignore`` leaves the body unread, ``big`` is long,
    ``begin`` starts to answer and then waits for the client to leave, ``apart`` answers in two messages even where
    a whole answer is taken, ``spoil`` with a header that would be two.
    """

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.released = asyncio.Event()
        self.left = threading.Semaphore(0)
        """Counts the clients that were gone before their request was whole."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path: bytes = scope["raw_path"]
        do = dict(scope["headers"]).get(b"x-do", b"").split()
        self.arrived.release()
        if b"begin" in do:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        if b"wait" in do:
            await self.released.wait()
        given = b"" if b"ignore" in do else await read(receive)
        if given is None:
            self.left.release()
            return
        asked = {
            "body": given.decode("latin-1"),
            "method": scope["method"],
            "path": path.decode("latin-1"),
            "target": scope[TARGET].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "headers": [name.decode() for name, _ in scope["headers"]],
        }
        body = b"x" * BIG if b"big" in do else json.dumps(asked).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        if b"spoil" in do:
            headers.append((b"x-echo", b"a\r\nx-smuggled: b"))
        if b"apart" in do or b"begin" in do:
            scope.pop(ONE_WRITE)
        await send_at_once(scope, send, 200, headers, b"" if scope["method"] == "HEAD" else body)


async def read(receive: Any) -> bytes | None:
    """The whole body, or None where the client left."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        more = message["more_body"]
    return body


@dataclass
class Edge:
    """A running server."""

    address: Address
    app: Echo
    lifecycle: Lifecycle
    listener: Listener
    loop: asyncio.AbstractEventLoop

    def call(self, function: Callable[[], object]) -> None:
        """Runs something on the server's loop."""
        self.loop.call_soon_threadsafe(function)


@contextmanager
def edge(limits: Limits = LIMITS, keep_alive: int = 60, lane: Any = None) -> Iterator[Edge]:
    """A server with these limits, on an event loop in a thread."""
    app, lifecycle, started = Echo(), Lifecycle(), threading.Event()
    protocol = protocol_class(limits, lifecycle, lane)
    config = uvicorn.Config(
        app, http=protocol, ws="none", interface="asgi3", lifespan="off", log_config=None, access_log=False,
        date_header=False,
        timeout_keep_alive=keep_alive, timeout_graceful_shutdown=5,
    )  # fmt: skip
    listener = Listener(config, started.set)
    bound = bind("127.0.0.1", 0, "public")
    address = bound.getsockname()

    def stop() -> None:
        app.released.set()
        listener.stop()

    with running(listener.serve([bound]), started, stop, auto_loop_factory()) as loop:
        yield Edge(address, app, lifecycle, listener, loop)


class Knowing:
    """A lane that knows one request."""

    def answer(self, head: bytes, peer: str) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nknown" if head == get("/known") else None


def until_free(served: Edge) -> None:
    """Waits until the server has noticed that its clients left."""
    for _ in range(100):
        if not served.listener.server_state.connections:
            return
        threading.Event().wait(0.02)
    raise AssertionError("connections stay counted")
