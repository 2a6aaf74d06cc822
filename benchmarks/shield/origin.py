"""The origin: a stand-in for the service that answers anything at once but for its latency, and notes each call.

A process of its own with one port for each lane, so that lanes can share a day. An answer tells when it was made,
on the machine's monotonic clock, to which target and for which username: that is what answers are judged by when
they arrive, whichever cache they come from. Where it stands for a world, it answers what that has.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from benchmarks.shield.world import Oracle, World

Reply = Callable[[str, "str | None"], tuple[int, bytes]]
"""Status and body for a target, by the value of Authorization."""

HEAD_BYTES = 64 * 1024
ANSWER_SECONDS = 180.0
"""A world takes its time to be drawn."""
SHAPES = {
    "totals": 1,
    "views": 1,
    "downloads": 1,
    "shares": 1,
    "top": {"1": 1},
    "timeline": {"total": 1},
    "breakdown": {"total": {}},
}
"""Every answer has the shape of every family: a cache that knows the service takes it for the service's."""


class Origin:
    """The other process, as its parent sees it: the lanes' ports, and what was called."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        if not pipe.poll(ANSWER_SECONDS):
            raise TimeoutError("the origin did not start")
        self.ports: list[int] = pipe.recv()

    def calls(self) -> list[list[float]]:
        """By lane, when each call came, on the monotonic clock. Ends the origin."""
        self._pipe.send("end")
        if not self._pipe.poll(ANSWER_SECONDS):
            raise TimeoutError("the origin does not say what it was asked")
        return cast("list[list[float]]", self._pipe.recv())


@contextmanager
def origin(lanes: int, latency: float, world: World | None = None) -> Iterator[Origin]:
    """An origin with so many ports on loopback, whose answers take ``latency`` seconds. Raises TimeoutError."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, lanes, latency, world), daemon=True)
    process.start()
    theirs.close()  # so that we hear of its end
    try:
        yield Origin(ours)
    finally:
        process.terminate()
        process.join(timeout=10)


def _run(pipe: Connection, lanes: int, latency: float, world: World | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    reply: Reply = said
    if world is not None:
        oracle = Oracle(world)
        oracle.warm()
        reply = oracle.answer
    uvloop.run(_serve(pipe, lanes, latency, reply))


async def _serve(pipe: Connection, lanes: int, latency: float, reply: Reply) -> None:
    loop = asyncio.get_running_loop()
    calls: list[list[float]] = [[] for _ in range(lanes)]
    servers = [
        await loop.create_server(partial(Exchange, noted, latency, reply), "127.0.0.1", 0, backlog=1_024)
        for noted in calls
    ]
    ended = asyncio.Event()
    loop.add_reader(pipe.fileno(), ended.set)
    pipe.send([server.sockets[0].getsockname()[1] for server in servers])
    await ended.wait()
    loop.remove_reader(pipe.fileno())
    os.set_blocking(pipe.fileno(), True)  # which the loop has turned off
    pipe.send(calls)


class Exchange(asyncio.Protocol):
    """One connection of a cache. Only requests without a body come."""

    def __init__(self, calls: list[float], latency: float, reply: Reply) -> None:
        self._calls = calls
        self._latency = latency
        self._reply = reply
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._calls.append(time.monotonic())
            asyncio.get_running_loop().call_later(self._latency, self._answer, head.decode("latin-1"))
        if len(self._buffer) > HEAD_BYTES:
            self._transport.abort()

    def _answer(self, head: str) -> None:
        if self._transport.is_closing():
            return
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, body = self._reply(first.split()[1], headers.get("authorization"))
        lines = [
            f"HTTP/1.1 {HTTPStatus(status).value} {HTTPStatus(status).phrase}",
            "Content-Type: application/json; charset=UTF-8",
            f"Content-Length: {len(body)}",
        ]
        self._transport.write("\r\n".join([*lines, "\r\n"]).encode() + body)


def said(target: str, authorization: str | None) -> tuple[int, bytes]:
    """When an answer was made, to what, and for whom."""
    return 200, json.dumps(
        SHAPES | {"made": time.monotonic(), "asked": target, "as": _username(authorization)}
    ).encode()


def _username(authorization: str | None) -> str:
    """Of a ``Basic`` header's value; empty where there is none."""
    if not authorization:
        return ""
    return base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")[0]
