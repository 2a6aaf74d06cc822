"""Wire: a connection to the service, watched."""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from collections.abc import Iterable
from typing import Any

import h11
import httpcore2

from gateway.upstream.framing import Framing

READ_BYTES = 64 * 1024
TURNS = 4
"""Turns of the event loop after which whatever has arrived in this process was also read from the
connection's own buffers: one to start the read, one to fetch the bytes, one to decrypt them, one spare."""


class NothingWritten(httpcore2.ReadError):
    """A kept connection was found ended before the next request's first byte was written."""


class Wire(httpcore2.AsyncNetworkStream):
    """One connection as httpcore2 sees it, with three promises added.

    - ``total``: the seconds from a request's first byte to its answer's last. Every wait for bytes ends with
      that deadline, so that nobody has to cancel a call from outside, however slowly its answer drips.
    - Nothing that arrives after an answer, or between two, becomes the next one: a read is always under way,
      and one that finds something unasked for makes the connection count as ended (``is_readable``),
      which is when httpcore2 closes it instead of using it again.
    - An answer that is cut short is a ReadError, one that is not HTTP a RemoteProtocolError.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream, total: float) -> None:
        self._stream = stream
        self._total = total
        self._deadline = math.inf
        self._answer: Framing | None = None
        self._arrival: asyncio.Task[bytes | None] | None = None
        self._socket: Any = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Sends the next piece of a request; its first, the head, starts the deadline.

        Raises NothingWritten where the connection ended before that, WriteTimeout, and WriteError, after which
        httpcore2 goes on to read: a service may answer a request before it took all of it.
        """
        if not buffer:
            return
        if self._answer is None or self._answer.complete:
            self._begin(buffer)
        try:
            await self._stream.write(buffer, self._patience(timeout))
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def _begin(self, head: bytes) -> None:
        if self._spoilt():
            # Not a WriteError: after that httpcore2 goes on to read an answer.
            raise NothingWritten("something arrived before it was asked for")
        self._deadline = asyncio.get_running_loop().time() + self._total
        self._answer = Framing(head.split(b" ", 1)[0])

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The answer's next bytes, ``b""`` where the connection's end is the answer's.

        Raises ReadTimeout after ``timeout`` seconds of silence or at the deadline.
        """
        arrival = self._listen()
        await asyncio.wait({arrival}, timeout=self._patience(timeout))
        if not arrival.done():
            raise httpcore2.ReadTimeout("no answer in time")
        self._arrival = None
        data = arrival.result()
        await self._follow(data)
        return data or b""

    async def _follow(self, data: bytes | None) -> None:
        if data is None or self._answer is None:
            raise httpcore2.ReadError("the connection broke")
        try:
            self._answer.receive(data)
        except h11.RemoteProtocolError as error:
            kind = httpcore2.RemoteProtocolError if data else httpcore2.ReadError
            raise kind(str(error)) from error
        if self._answer.complete:
            self._listen()
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def _listen(self) -> asyncio.Task[bytes | None]:
        if self._arrival is None:
            self._arrival = asyncio.create_task(self._receive())
        return self._arrival

    async def _receive(self) -> bytes | None:
        try:
            return await self._stream.read(READ_BYTES)
        except (httpcore2.ReadError, OSError):
            return None

    def _spoilt(self) -> bool:
        return self._surplus() or (self._arrival is not None and self._arrival.done())

    def _surplus(self) -> bool:
        if self._answer is None or not self._answer.complete:
            return False
        unasked = self._arrival is not None and self._arrival.done() and self._arrival.result()
        return bool(unasked) or self._answer.surplus

    def _patience(self, timeout: float | None) -> float:
        left = max(0.0, self._deadline - asyncio.get_running_loop().time())
        return left if timeout is None else min(timeout, left)

    async def aclose(self) -> None:
        """Closes the connection, which also ends the read under way."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Wire:
        """The same connection encrypted; this one is not to be used any more."""
        return Wire(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._total)

    def get_extra_info(self, info: str) -> Any:
        """``is_readable``: whether the connection ended or holds what nobody asked for.

        ``surplus``: whether it holds such bytes after a whole answer.
        """
        if info == "surplus":
            return self._surplus()
        if info == "is_readable":
            return self._spoilt() or self._readable()
        return self._stream.get_extra_info(info)

    def _readable(self) -> bool:
        """Asked of every idle connection before each call, which through the layers below would cost too much."""
        if self._socket is None:
            self._socket = self._stream.get_extra_info("socket")
        descriptor = -1 if self._socket is None else self._socket.fileno()
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))


class Wires(httpcore2.AsyncNetworkBackend):
    """Opens connections as ``network`` does, each of them watched."""

    def __init__(self, network: httpcore2.AsyncNetworkBackend, total: float) -> None:
        self._network = network
        self._total = total

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> Wire:
        """Connects within ``timeout`` seconds, name look-up included."""
        stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return Wire(stream, self._total)
