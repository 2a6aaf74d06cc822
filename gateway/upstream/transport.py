"""The transport below the service's ``httpx2.AsyncClient``: our connections, which notice what nobody asked for.

httpx2's own pool hands a connection's surplus bytes to the next request on it as its answer, has no time limit for
a whole call, and no moment between having a connection and writing to it: ``docs/design/httpx2.md``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from gateway.errors import UpstreamDisconnected, UpstreamTimeout
from gateway.upstream.connection import Connection, Recall
from gateway.upstream.message import Message
from gateway.upstream.network import Sockets

BeforeWrite = Callable[[], Awaitable[None]]

CONNECTIONS = 100
"""Most connections to the service."""
KEPT_SECONDS = 15.0
"""Longest rest of a connection before it is closed."""
KEPT_MARGIN = 1.0
"""Seconds by which it is closed earlier than the service says it would."""
REPEATABLE = frozenset({"GET", "HEAD"})
OWNERS = frozenset({b"authorization", b"cookie"})
"""Request headers that say on whose behalf a connection is used."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect (and as long again for TLS), of silence while reading, to write, to wait for a
    connection, and from the request's first byte to the answer's last."""

    connect: float
    read: float
    write: float
    pool: float
    total: float


class Response(httpx.Response):
    """A response whose redirects are left to the caller."""

    @property
    def has_redirect_location(self) -> bool:
        return False


class Transport(httpx.AsyncBaseTransport):
    """Sends each request on a kept connection of its owner's, or on a new one.

    A call is repeated once, on a new connection and within the same time, where its connection turns out to have
    ended: before anything was written, or, on a kept connection and for what only reads, before the first byte of
    the answer (RFC 9112 §9.3.1, RFC 9110 §9.2.2).

    Extensions of a request: ``target``, sent as it is; ``reads``, that it changes nothing, whatever its method;
    ``before_write``, awaited each time that the connection is there and the request about to be written. The total
    timeout starts after the first; what ``before_write`` raises ends the call. The response's stream is an
    ``Exchange``, also in its extension ``exchange``.

    Raises UpstreamUnreachable, UpstreamDisconnected, UpstreamProtocolError, UpstreamTooLarge, UpstreamTimeout, and
    BadRequest where method or headers cannot be sent.
    """

    def __init__(
        self,
        base: httpx.URL,
        timeouts: Timeouts,
        cap: int,
        *,
        most: int = CONNECTIONS,
        tls: ssl.SSLContext | None = None,
        network: Sockets | None = None,
    ) -> None:
        self._base = base
        self.timeouts = timeouts
        self.cap = cap
        self._tls = tls
        self._network = network or Sockets()
        self.pool = Pool(self._connect, most)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; returns once the response's head has arrived."""
        content = await request.aread()
        exchange = Exchange(self, request)
        try:
            return await exchange.start(content)
        except UpstreamDisconnected:
            if not exchange.repeatable:
                raise
        return await Exchange(self, request, exchange.deadline).start(content, fresh=True)

    async def aclose(self) -> None:
        """Close every connection; those in use when their call ends."""
        self.pool.close()

    async def _connect(self) -> Connection:
        base = self._base
        port = base.port or (80 if self._tls is None else 443)
        return await self._network.connect(base.raw_host.decode(), port, self._tls, self.timeouts.connect)


class Exchange(httpx.AsyncByteStream):
    """One request on one connection, and the content of its response as a stream.

    Its time runs from the first byte written to ``deadline``. ``sound`` and ``recall`` are known at the stream's
    end: see UpstreamResponse.
    """

    _connection: Connection | None = None
    sound = True

    def __init__(self, transport: Transport, request: httpx.Request, deadline: float | None = None) -> None:
        headers, target = request.headers.raw, request.extensions["target"]
        self.deadline = deadline
        self.repeatable = False
        """Whether the request may be sent once more after its connection was lost."""
        self.recall = Recall()
        self.message = Message(request.method.encode("latin-1"), target, headers, transport.cap)
        self._pool = transport.pool
        self._timeouts = transport.timeouts
        self._owner = tuple(pair for pair in headers if pair[0].lower() in OWNERS)
        self._before_write: BeforeWrite | None = request.extensions.get("before_write")
        # A POST may only read as well: what counts is what it does (RFC 9110 §9.2.2).
        self.reads: bool = request.extensions.get("reads", False) or request.method in REPEATABLE
        self._first = b""  # content that came with the head

    async def start(self, content: bytes, *, fresh: bool = False) -> httpx.Response:
        """Take a connection, a new one where ``fresh``, write the request and read the response's head."""
        connection = self._connection = await self._take(fresh)
        try:
            if self._before_write is not None:
                await self._before_write()
            connection.begin()
            if self.deadline is None:
                self.deadline = asyncio.get_running_loop().time() + self._timeouts.total
            await connection.write(self.message.request, self._left(self._timeouts.write))
            await connection.write(content, self._left(self._timeouts.write))
            while not self.message.begun:
                self._first = await self._receive(connection)
        except BaseException as error:
            if isinstance(error, UpstreamDisconnected):
                unanswered = connection.answers > 0 and not self.message.received and self.reads
                self.repeatable = unanswered or not connection.written
            await self.aclose()
            raise
        head = self.message.head
        extensions = {"http_version": b"HTTP/" + head.http_version, "exchange": self}
        return Response(head.status_code, headers=head.headers.raw_items(), stream=self, extensions=extensions)

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        connection, message = self._connection, self.message
        assert connection is not None
        yield self._first
        while not message.complete:
            yield await self._receive(connection)
        first = not connection.answers
        self.sound = await connection.finish() and not message.surplus
        if not self.sound:
            connection.spoil()
        # The first response on a new connection belongs to its request, whatever follows.
        if not first or self.sound:
            self.recall = connection.recall

    async def aclose(self) -> None:
        """Give the connection back, which is closed where the exchange is not over."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.put(connection, self._owner, rest_after(self.message))

    async def _take(self, fresh: bool) -> Connection:
        try:
            async with asyncio.timeout_at(self.deadline):
                return await self._pool.take(self._owner, self._timeouts.pool, fresh=fresh)
        except TimeoutError as error:
            raise UpstreamTimeout("The service did not answer in time.") from error

    async def _receive(self, connection: Connection) -> bytes:
        try:
            return self.message.receive(await connection.read(self._left(self._timeouts.read)))
        except UpstreamDisconnected as error:
            error.kept = connection.answers > 0
            raise

    def _left(self, most: float) -> float:
        """Seconds left, ``most`` at most. Raises UpstreamTimeout where none are, though bytes flow."""
        assert self.deadline is not None
        left = self.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise UpstreamTimeout("The service did not answer in time.")
        return min(most, left)


def rest_after(message: Message) -> float:
    """How long the connection may rest now, in seconds; 0 where it may not be used again."""
    if not message.persists:
        return 0.0
    kept = message.kept_for
    return KEPT_SECONDS if kept is None else min(KEPT_SECONDS, kept - KEPT_MARGIN)


class Pool:
    """At most ``most`` connections. One opened for an ``owner`` is never used for another, so that whatever goes
    wrong on it stays with that owner.

    A resting connection costs only its socket, ends by itself, and makes room where another owner needs it.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], most: int) -> None:
        self._connect = connect
        self._most = most
        self._turns = asyncio.Semaphore(most)
        self._used = 0
        self._closed = False
        self._resting: dict[Connection, Any] = {}  # and their owners, the longest rested first

    def __repr__(self) -> str:
        return f"<Pool {self._used} used, {len(self._resting)} resting, {self._most} at most>"

    async def take(self, owner: Any, seconds: float, *, fresh: bool = False) -> Connection:
        """A connection, a new one where ``fresh`` or where none rests; put it back.

        Raises UpstreamTimeout where none became free within ``seconds``, and what connecting raises.
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

    def put(self, connection: Connection, owner: Any, seconds: float) -> None:
        """Return a connection, to rest for up to ``seconds`` where it is still usable."""
        self._leave()
        if seconds <= 0 or self._closed or not connection.usable:
            connection.close()
            return
        self._resting[connection] = owner
        connection.rest(seconds, lambda: self._resting.pop(connection, None))

    def close(self) -> None:
        """Close every connection; those in use when they are returned."""
        self._closed = True
        for connection in list(self._resting):
            connection.close()

    def _rested(self, owner: Any) -> Connection | None:
        """The connection that has rested shortest, which lives longest."""
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
