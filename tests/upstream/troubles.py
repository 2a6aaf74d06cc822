"""Origins that drip, flood, and end when they should not, for tests and drills; and what that does to a loop."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import repeat

from tests.upstream.origin import Behaviour, Peer

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
GZIPPED = TO_THE_END.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
PIECE = 60_000
"""Bytes of a flood that are written at once."""


def dripped(body: bytes) -> bytes:
    """An answer in chunks of one byte."""
    return CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"


def dripping(body: bytes) -> Behaviour:
    """Answers every request so, as fast as it is read."""
    answer = dripped(body)

    async def behave(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.say(answer)

    return behave


def flooding(start: bytes, drop: bytes) -> Behaviour:
    """Answers with ``start``, and then with ``drop`` after ``drop``, without end and as fast as it is read."""
    flood = drop * (PIECE // len(drop) + 1)

    async def behave(peer: Peer) -> None:
        await peer.head()
        await peer.say(start)
        for piece in repeat(flood):
            await peer.say(piece)
            await asyncio.sleep(0)

    return behave


FLOODS = {
    "interim answers": flooding(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "short interim answers": flooding(b"", b"HTTP/1.1 100\r\n\r\n"),
    "fields": flooding(b"HTTP/1.1 200 OK\r\n", b"a:\r\n"),
    "a field": flooding(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "folded lines": flooding(b"HTTP/1.1 200 OK\r\nX: ", b"\r\n "),
    "chunks of a byte": flooding(CHUNKED, b"1\r\nx\r\n"),
    "chunks with extensions": flooding(CHUNKED, b"1;note=x\r\nx\r\n"),
    "padded chunks": flooding(CHUNKED, b"0000000000000001  \r\nx\r\n"),
    "an extension": flooding(CHUNKED + b"1;", b"x"),
    "a size": flooding(CHUNKED, b"0"),
    "trailers": flooding(CHUNKED + b"0\r\n", b"a:\r\n"),
    "a body to the connection's end": flooding(TO_THE_END, b"x"),
    "an empty gzip": flooding(GZIPPED + b"\x1f\x8b\x08" + bytes(6) + b"\xff", b"\x00\x00\x00\xff\xff"),
    "a gzip of zeros": flooding(GZIPPED, gzip.compress(bytes(1 << 20))),
    "short gzips": flooding(GZIPPED, gzip.compress(b"x")),
}
"""By name, what never ends."""


def ending_on_reuse(*answers: bytes, reset: bool = False) -> Behaviour:
    """Gives each connection so many answers, and ends it on the next request, before a byte of an answer."""

    async def behave(peer: Peer) -> None:
        for answer in answers:
            await peer.head()
            await peer.say(answer)
        await peer.head()
        if reset:
            lingering: socket.socket = peer.writer.get_extra_info("socket")
            lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.reset()

    return behave


@dataclass
class Turns:
    """The longest turn of an event loop, in seconds of its own thread's time: others may have the machine."""

    longest: float = 0.0


@asynccontextmanager
async def watched_turns() -> AsyncIterator[Turns]:
    """Watches the running loop until the block ends."""
    turns = Turns()

    async def watch() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            turns.longest = max(turns.longest, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    try:
        yield turns
    finally:
        watching.cancel()
        await asyncio.wait({watching})
