"""Wire: a connection to the service, watched."""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import anyio
import h11
import httpcore2

from gateway.upstream.framing import Framing

MOST_AHEAD = 4 * 1024 * 1024
"""Bytes that may have arrived and are not read yet."""


class NothingWritten(httpcore2.ReadError):
    """A kept connection was found ended before the next request's first byte was written."""


class Wire(httpcore2.AsyncNetworkStream, asyncio.Protocol):
    """One connection as httpcore2 sees it, with three promises added.

    - ``total``: the seconds from a request's first byte to its answer's last. Every wait for bytes ends with
      that deadline, so that nobody has to cancel a call from outside, however slowly its answer drips.
    - Nothing that arrives after an answer, or between two, becomes the next one: whatever arrives is taken at
      once, and what nobody asked for makes the connection count as ended (``is_readable``), which is when
      httpcore2 closes it instead of using it again.
    - An answer that is cut short is a ReadError, one that is not HTTP a RemoteProtocolError.
    """

    _transport: asyncio.Transport

    def __init__(self, total: float) -> None:
        self._total = total
        self._deadline = math.inf
        self._answer: Framing | None = None
        self._arrived = bytearray()
        self._paused = False
        self._ended = False
        self._broken = False
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Sends the next piece of a request; its first, the head, starts the deadline.

        Raises NothingWritten where the connection ended before that, WriteTimeout, and WriteError, after which
        httpcore2 goes on to read: a service may answer a request before it took all of it.
        """
        if not buffer:
            return
        if self._answer is None or self._answer.complete:
            self._begin(buffer)
        if self._ended:
            raise httpcore2.WriteError("the connection ended")
        self._transport.write(buffer)
        if not self._writable.is_set():
            await self._drained(self._patience(timeout))

    def _begin(self, head: bytes) -> None:
        if self._spoilt():
            # Not a WriteError: after that httpcore2 goes on to read an answer.
            raise NothingWritten("something arrived before it was asked for")
        self._deadline = asyncio.get_running_loop().time() + self._total
        self._answer = Framing(head.split(b" ", 1)[0])

    async def _drained(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._writable.wait()
        except TimeoutError as error:
            raise httpcore2.WriteTimeout("the request was not taken in time") from error
        if self._broken:
            raise httpcore2.WriteError("the connection broke")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The answer's next bytes, ``b""`` where the connection's end is the answer's.

        Raises ReadTimeout after ``timeout`` seconds of silence or at the deadline.
        """
        if not self._arrived and not self._ended:
            await self._arrival(self._patience(timeout))
        if self._answer is None or (self._broken and not self._arrived):
            raise httpcore2.ReadError("the connection broke")
        data = bytes(self._arrived[:max_bytes])
        del self._arrived[:max_bytes]
        await self._follow(self._answer, data)
        return data

    async def _arrival(self, seconds: float) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._reader = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._reader
        finally:
            timer.cancel()
            self._reader = None
        if not self._arrived and not self._ended:
            raise httpcore2.ReadTimeout("no answer in time")

    async def _follow(self, answer: Framing, data: bytes) -> None:
        try:
            answer.receive(data)
        except h11.RemoteProtocolError as error:
            kind = httpcore2.RemoteProtocolError if data else httpcore2.ReadError
            raise kind(str(error)) from error
        if answer.complete:
            await asyncio.sleep(0)  # what else has come by now, comes in

    def _spoilt(self) -> bool:
        # Where reading is paused, the layers below may hold what nobody sees.
        return self._ended or self._paused or bool(self._arrived) or self._surplus()

    def _surplus(self) -> bool:
        return self._answer is not None and self._answer.complete and (bool(self._arrived) or self._answer.surplus)

    def _patience(self, timeout: float | None) -> float:
        left = max(0.0, self._deadline - asyncio.get_running_loop().time())
        return left if timeout is None else min(timeout, left)

    async def aclose(self) -> None:
        """Closes the connection."""
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Wire:
        """The same connection, encrypted from here on. Raises ConnectError, ConnectTimeout."""
        loop = asyncio.get_running_loop()
        _check(self._transport)
        try:
            with connecting():
                async with asyncio.timeout(timeout):
                    transport = await loop.start_tls(
                        self._transport, self, ssl_context, server_hostname=server_hostname
                    )
        except BaseException:
            self._transport.abort()
            raise
        if transport is None:
            raise httpcore2.ConnectError("the connection ended")
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """``is_readable``: whether the connection ended or holds what nobody asked for.

        ``surplus``: whether it holds such bytes after a whole answer.
        """
        if info == "surplus":
            return self._surplus()
        if info == "is_readable":
            return self._spoilt() or self._readable()
        return self._transport.get_extra_info(info)

    def _readable(self) -> bool:
        """Asked of every idle connection before each call."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and no subclass

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived: whoever reads takes them in the same turn, else nobody asked for them."""
        self._arrived += data
        unasked = self._answer is None or self._answer.complete
        if not self._paused and (unasked or len(self._arrived) > MOST_AHEAD):
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The service sends no more, and the connection is closed."""
        self._ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """It has ended, or broke."""
        self._ended, self._broken = True, self._broken or error is not None
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        """What was written is not taken yet."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It is."""
        self._writable.set()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Wires(httpcore2.AsyncNetworkBackend):
    """Opens connections, each of them watched."""

    def __init__(self, total: float) -> None:
        self._total = total

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> Wire:
        """Connects within ``timeout`` seconds, name look-up included. Raises ConnectError, ConnectTimeout."""
        with connecting():
            async with asyncio.timeout(timeout):
                # anyio tries a host's addresses side by side (RFC 8305), which uvloop does not.
                stream = await anyio.connect_tcp(host, port, local_host=local_address)
        transport = stream._transport  # type: ignore[attr-defined]
        _check(transport)
        wire = Wire(self._total)
        wire.connection_made(transport)
        transport.set_protocol(wire)
        transport.resume_reading()
        return wire


def _check(transport: asyncio.BaseTransport) -> None:
    """Raises ConnectError where the connection ended already: what a transport does then differs by event loop."""
    if transport.is_closing():
        raise httpcore2.ConnectError("the connection ended")


@contextmanager
def connecting() -> Iterator[None]:
    """Maps what goes wrong while connecting to ConnectTimeout and ConnectError."""
    try:
        yield
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout("no connection in time") from error
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error
