"""Connection: one connection to the service, watched whether it is used or rests.

Pool: the connections to the service, each kept for those whose credential it was opened for.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

from gateway.errors import UpstreamDisconnected, UpstreamTimeout
from gateway.upstream.framing import AT_ONCE

MOST_AHEAD = 4 * 1024 * 1024
"""Bytes that may have arrived and are not read yet."""
RECALLED = 1_000
"""Of how many of its answers, at most, a connection remembers what becomes of them."""


class Recall:
    """Takes back what a connection brought, should it turn out that its answers belong to other requests.

    A surplus answer that arrives after the next request was written is taken for that request's answer, and nobody
    can tell; but then one answer too many arrives later, and everything before it is in doubt.
    """

    def __init__(self) -> None:
        self._made = False
        self._takers: deque[Callable[[], None]] = deque(maxlen=RECALLED)

    def add(self, taker: Callable[[], None]) -> None:
        """Has ``taker`` called when the recall is made; at once where it was."""
        if self._made:
            taker()
        else:
            self._takers.append(taker)

    def make(self) -> None:
        """Recalls all that was brought."""
        self._made = True
        while self._takers:
            self._takers.popleft()()


class Connection(asyncio.Protocol):
    """Carries one request at a time. Between two it rests, and ends as soon as anything happens to it.

    Whatever arrives is taken at once. What nobody asked for is nobody's answer: it ends the connection, and
    recalls what that brought.
    """

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.recall = Recall()
        self.answers = 0
        """Whole answers that it has brought."""
        self.written = False
        """Whether anything of the current request was."""
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
        """Begins a request. Raises UpstreamDisconnected where the connection cannot take one any more."""
        if not self.usable:
            raise UpstreamDisconnected("The connection ended before anything was asked.")
        self._asked = True

    async def write(self, data: bytes, seconds: float) -> None:
        """Sends the next piece of a request.

        Where the connection ends meanwhile there may be an answer all the same: a service may answer a request
        before it took all of it (RFC 9112 §9.5). Raises UpstreamTimeout.
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
        """The next bytes, few at a time, ``b""`` where the connection ended.

        Others have their turn before it returns. Raises UpstreamTimeout after that many seconds of silence,
        UpstreamDisconnected where the connection broke.
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
        """Ends the exchange after a whole answer; whether nothing came after it."""
        await asyncio.sleep(0)  # what else has come by now, comes in
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
        """Whether it can carry another request, so far as is known."""
        return not (self._ended or self._asked or self._arrived or self._paused)

    def rest(self, seconds: float, on_end: Callable[[], object]) -> None:
        """Waits to be used again, for so long at most; ``on_end`` is called where it ends before."""
        self._on_end = on_end
        self._bedtime = asyncio.get_running_loop().call_later(seconds, self.close)

    def wake(self) -> bool:
        """Takes it from its rest; False where it is about to end, which is left to the event loop."""
        if not self.usable or self._readable():
            return False
        self._rise()
        return True

    def close(self) -> None:
        """Closes the connection."""
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
        """Whether the socket has something that the event loop has not seen yet."""
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
        """Bytes have arrived; those that nobody asked for end the connection."""
        if not self._asked:
            self.spoil()
            return
        self._arrived += data
        if not self._paused and len(self._arrived) > MOST_AHEAD:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def spoil(self) -> None:
        """Ends the connection: it holds what nobody asked for, so that its earlier answers are in doubt."""
        self.close()
        self.recall.make()

    def eof_received(self) -> None:
        """The service sends no more, and the connection is closed."""
        self._over()

    def connection_lost(self, error: Exception | None) -> None:
        """It has ended, or broke."""
        self._broken = self._broken or error is not None
        self._writable.set()
        self._over()

    def pause_writing(self) -> None:
        """What was written is not taken yet."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It is."""
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


Connect = Callable[[], Awaitable[Connection]]


class Pool:
    """At most ``most`` connections in all. ``owner`` says on whose behalf one is used: a connection that was
    opened for one owner is never used for another, so that whatever goes wrong on it stays with that one.

    One that rests costs nothing but its socket, ends by itself, and makes room where another owner needs it.
    """

    def __init__(self, connect: Connect, most: int) -> None:
        self._connect = connect
        self._most = most
        self._turns = asyncio.Semaphore(most)
        self._used = 0
        self._closed = False
        self._resting: dict[Connection, Any] = {}  # and their owners, the longest rested first

    def __repr__(self) -> str:
        return f"<Pool {self._used} used, {len(self._resting)} resting, {self._most} at most>"

    async def take(self, owner: Any, seconds: float, *, fresh: bool = False) -> Connection:
        """A connection, a new one where ``fresh`` or where none rests. Give it back.

        Raises UpstreamTimeout where so many are used for so long, and what connecting raises.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise UpstreamTimeout("No connection to the service became free in time.") from error
        self._used += 1
        try:
            rested = None if fresh else self._rested(owner)
            if rested is not None:
                return rested
            self._make_room()
            return await self._connect()
        except BaseException:
            self._leave()
            raise

    def give(self, connection: Connection, owner: Any, seconds: float) -> None:
        """Gives a connection back, to rest for up to so many seconds where it is still usable."""
        self._leave()
        if seconds <= 0 or self._closed or not connection.usable:
            connection.close()
            return
        self._resting[connection] = owner
        connection.rest(seconds, lambda: self._resting.pop(connection, None))

    def close(self) -> None:
        """Closes every connection that rests, and each other one when it is given back."""
        self._closed = True
        for connection in list(self._resting):
            connection.close()

    def _rested(self, owner: Any) -> Connection | None:
        """The one that rested last, since that lives longest."""
        for connection in reversed([each for each, whose in self._resting.items() if whose == owner]):
            if connection.wake():
                del self._resting[connection]
                return connection
        return None

    def _make_room(self) -> None:
        if self._used + len(self._resting) > self._most:
            next(iter(self._resting)).close()

    def _leave(self) -> None:
        self._used -= 1
        self._turns.release()
