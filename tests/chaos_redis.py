"""A TCP proxy in front of Redis that can be slow, silent, or talk nonsense."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from tests.loopback import running
from tests.redis_server import free_port

CHUNK = 65_536
NOISE = random.Random(7).randbytes(300)
NONSENSE: dict[str, bytes] = {
    "random-bytes": NOISE,
    "wrong-type": b":1\r\n",
    "wrong-shape": b"*1\r\n*0\r\n",
    "not-text": b"*3\r\n$2\r\n\xff\xfe\r\n$1\r\n\x80\r\n:-5\r\n",
    "bad-integer": b":twelve\r\n",
    "negative-length": b"$-7\r\n",
    "deep-nesting": b"*1\r\n" * 5_000 + b":1\r\n",
    "unhashable": b"%1\r\n*0\r\n+a\r\n",
    "pushes": b">1\r\n+x\r\n" * 3_000,
    "no-memory-for-it": b"*4000000000\r\n:1\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "two-for-one": b"+OK\r\n+OK\r\n",
    "half-a-reply": b"*2\r\n$5\r\nab",
    "endless-bulk": b"$99999999999\r\n",
}
"""By name, what a client gets for each piece it sends; after an endless bulk's head, bytes trickle."""

SILENT = ("half-a-reply", "endless-bulk")
"""Of these, those that take a client's patience."""


class ChaosProxy:
    """Passes on, until it is told to misbehave; what it did to a connection is not undone.

    Commands take ``lag`` seconds to get there, replies ``delay`` seconds to come back.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.target = target
        self.lag = 0.0
        self.delay = 0.0
        self.nonsense = ""
        self.connections = 0
        self._served: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def behave(self) -> None:
        self.lag, self.delay, self.nonsense = 0.0, 0.0, ""

    async def serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        """Serves until it is over."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        ready.set()
        await over.wait()
        server.close()
        while self._served:  # one that is just being accepted counts from the next turn on
            for task in self._served:
                task.cancel()
            await asyncio.wait(self._served)
            await asyncio.sleep(0)
        for writer in self._writers:
            writer.transport.abort()  # whoever it is for may not read any more
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self._writers.append(redis_writer)
        there = asyncio.ensure_future(self._there(reader, redis_writer, writer))
        back = asyncio.ensure_future(self._back(redis_reader, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            writer.close()
            redis_writer.close()

    async def _there(
        self, reader: asyncio.StreamReader, redis_writer: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            async for piece in _pieces(reader):
                if not self.nonsense:
                    _write(redis_writer, piece, self.lag)
                    continue
                kind = self.nonsense
                writer.write(NONSENSE[kind])
                while kind == self.nonsense == "endless-bulk":
                    writer.write(b"x" * 1_000)
                    await writer.drain()
                    await asyncio.sleep(0.01)

    async def _back(self, redis_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for piece in _pieces(redis_reader):
            _write(writer, NONSENSE[self.nonsense] if self.nonsense else piece, self.delay)


def _write(writer: asyncio.StreamWriter, piece: bytes, seconds: float) -> None:
    if seconds:
        asyncio.get_running_loop().call_later(seconds, writer.write, piece)
    else:
        writer.write(piece)


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with suppress(OSError):
        while piece := await reader.read(CHUNK):
            yield piece


@contextmanager
def chaos_proxy(target: int) -> Iterator[ChaosProxy]:
    """A proxy in a thread of its own."""
    proxy, ready, over = ChaosProxy(target), threading.Event(), asyncio.Event()
    with running(proxy.serve(ready, over), ready, over.set):
        yield proxy
