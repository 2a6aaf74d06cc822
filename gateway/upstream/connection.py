"""One connection to the service, watched while it is used and while it rests."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import cast

from gateway.errors import UpstreamDisconnected, UpstreamTimeout
from gateway.upstream.message import AT_ONCE

MOST_AHEAD = 4 * 1024 * 1024
"""Bytes that may have arrived and are not read yet."""
RECALLED = 1_000
"""Most answers of one connection that can be recalled."""


class Recall:
    """Takes back the answers of a connection that may belong to other requests.

    A surplus answer that arrives after the next request was written is taken for that request's answer, unnoticed;
    but one answer too many arrives later, which puts all before it in doubt.
    """

    def __init__(self) -> None:
        self._made = False
        self._takers: deque[Callable[[], None]] = deque(maxlen=RECALLED)

    def add(self, taker: Callable[[], None]) -> None:
        """Call ``taker`` when the recall is made; at once where it was made already."""
        if self._made:
            taker()
        else:
            self._takers.append(taker)

    def make(self) -> None:
        self._made = True
        while self._takers:
            self._takers.popleft()()


class Connection(asyncio.Protocol):
    """Carries one request at a time, and rests between two, when any event ends it.

    Bytes that arrive without a request end the connection and recall its answers.
    """

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.recall = Recall()
        self.answers = 0
        """Complete answers so far."""
        self.written = False
        """Whether any byte of the current request was written."""
        self._asked = False
        self._arrived = bytearray()
        self._paused = False
        self._ended = False
        self._broken = False
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._on_end: Callable[[], object] | None = None  # while it rests
        self._bedtime: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "ended" if self._ended else "asked" if self._asked else "resting"
        return f"<Connection {state}, {self.answers} answers>"

    # One exchange

    def begin(self) -> None:
        """Begin a request. Raises UpstreamDisconnected where the connection is no longer usable."""
        if not self.usable:
            raise UpstreamDisconnected("The connection ended before anything was asked.")
        self._asked = True

    async def write(self, data: bytes, seconds: float) -> None:
        """Send the next piece of a request, and wait up to ``seconds`` for room. Raises UpstreamTimeout.

        A connection that has ended is no error here: a service may answer before it has read all of a request
        (RFC 9112 §9.5).
        """
        if self._ended or not data:
            return
        self.written = True
        self._transport.write(data)
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(seconds):
                await self._writable.wait()
        except TimeoutError as error:
            raise UpstreamTimeout("The service did not take the request in time.") from error

    async def read(self, seconds: float) -> bytes:
        """The next bytes, few at a time, ``b""`` where the connection ended. Other tasks run before it returns.

        Raises UpstreamTimeout after ``seconds`` of silence, UpstreamDisconnected where the connection broke.
        """
        if self._arrived:
            await asyncio.sleep(0)
        elif not self._ended:
            await self._arrival(seconds)
        if self._broken and not self._arrived:
            raise UpstreamDisconnected("The connection ended before the service's answer did.")
        data = bytes(self._arrived[:AT_ONCE])
        del self._arrived[:AT_ONCE]
        return data

    async def finish(self) -> bool:
        """End the exchange after a complete answer; whether no bytes came after it."""
        await asyncio.sleep(0)  # lets bytes that have arrived come in
        self._asked = self.written = False
        self.answers += 1
        return not self._arrived

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
            raise UpstreamTimeout("The service did not answer in time.")

    # Between two

    @property
    def usable(self) -> bool:
        """Whether it can carry another request, as far as is known."""
        return not (self._ended or self._asked or self._arrived or self._paused)

    def rest(self, seconds: float, on_end: Callable[[], object]) -> None:
        """Rest for ``seconds`` at most; calls ``on_end`` where the connection ends meanwhile."""
        self._on_end = on_end
        self._bedtime = asyncio.get_running_loop().call_later(seconds, self.close)

    def wake(self) -> bool:
        """End the rest; False where the connection is about to end, which is left to the event loop."""
        if not self.usable or self._readable():
            return False
        self._rise()
        return True

    def close(self) -> None:
        self._ended = True
        self._transport.abort()
        on_end = self._on_end
        self._rise()
        if on_end is not None:
            on_end()

    def _rise(self) -> None:
        self._on_end = None
        if self._bedtime is not None:
            self._bedtime.cancel()
            self._bedtime = None

    def _readable(self) -> bool:
        """Whether the socket has an event that the event loop has not seen yet."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    # The event loop's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, and no subclass

    def data_received(self, data: bytes) -> None:
        """Keep bytes of an answer; bytes without a request end the connection."""
        if not self._asked:
            self.spoil()
            return
        self._arrived += data
        if not self._paused and len(self._arrived) > MOST_AHEAD:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def spoil(self) -> None:
        """End the connection and recall its answers, which surplus bytes put in doubt."""
        self.close()
        self.recall.make()

    def eof_received(self) -> None:
        """End with the service's side."""
        self._over()

    def connection_lost(self, error: Exception | None) -> None:
        """End; ``error`` says that the connection broke."""
        self._broken = self._broken or error is not None
        self._writable.set()
        self._over()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _over(self) -> None:
        self._ended = True
        if self._asked:
            self._wake()
        elif self._on_end is not None:
            self.close()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
