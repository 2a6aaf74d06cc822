"""Crowd: many connections that ask for the same thing at one moment."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import uvloop

from benchmarks.load import Client

AT_ONCE = 250
"""Connections that are opened together: a crowd must not fail for a full backlog before it has asked."""
LONGEST_SECONDS = 60.0
HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Answers:
    """By status, how many; and the seconds that each took from its request, in order."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


class Asker(asyncio.Protocol):
    """One connection, which asks once; a status of 0 is no answer."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.status = 0
        self.took = 0.0
        self._done = done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and no subclass

    def ask(self, request: bytes) -> None:
        self._begun = time.perf_counter()
        if not self._transport.is_closing():
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = HEAD.match(self._received)
        if head is None:
            return
        length = LENGTH.search(head[0])
        if length and len(self._received) >= head.end() + int(length[1]):
            self.took = time.perf_counter() - self._begun
            self.status = int(head[1])
            self._settle()

    def connection_lost(self, _: Exception | None) -> None:
        self._settle()

    def close(self) -> None:
        self._transport.close()

    def _settle(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


def crowd(client: Client, size: int) -> Answers:
    """So many connections, all open before the first asks, ask for the client's first target."""
    return uvloop.run(ask_together(client, size))


async def ask_together(client: Client, size: int) -> Answers:
    """The same, within a loop that runs."""
    loop = asyncio.get_running_loop()
    done: list[asyncio.Future[None]] = [loop.create_future() for _ in range(size)]
    askers = [Asker(each) for each in done]
    for first in range(0, size, AT_ONCE):
        await asyncio.gather(
            *(_connected(asker, client.port) for asker in askers[first : first + AT_ONCE]),
        )
    request = (
        f"GET {client.targets[0]} HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nX-API-Key: {client.key}\r\n\r\n"
    ).encode()
    for asker in askers:
        asker.ask(request)
    await asyncio.wait(done, timeout=LONGEST_SECONDS)
    for asker in askers:
        asker.close()
    answered = [asker for asker in askers if asker.status]
    return Answers(Counter(asker.status for asker in askers), sorted(asker.took for asker in answered))


async def _connected(asker: Asker, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: asker, "127.0.0.1", port)
