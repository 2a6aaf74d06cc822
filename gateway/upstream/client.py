"""UpstreamClient: asks the service."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx2 as httpx

from gateway.errors import BadTarget, Headers, UpstreamDisconnected, UpstreamRedirected, UpstreamTimeout
from gateway.upstream.body import Body
from gateway.upstream.connection import Connection, Recall
from gateway.upstream.headers import STATISTICS, HeaderPolicy
from gateway.upstream.location import leaves, relative
from gateway.upstream.message import Message, repaired
from gateway.upstream.network import Network, Sockets
from gateway.upstream.pool import Pool
from gateway.upstream.trust import TrustStore

BeforeWrite = Callable[[], Awaitable[None]]

CONNECTIONS = 100
"""Most connections to the service."""
KEPT_SECONDS = 15.0
"""How long a connection rests at most before it is closed."""
KEPT_MARGIN = 1.0
"""Seconds by which it is closed earlier than the service says it would."""
ORIGIN_FORM = re.compile(rb"/[\x21-\x7e]*")
WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that announce even an empty content (RFC 9110 §8.6)."""
REPEATABLE = frozenset({b"GET", b"HEAD"})
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


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is asked. ``target`` is in origin form as the client wrote it, and goes out so, byte for byte.

    ``authorization`` is the credential's ready header value. ``headers`` are what the header policy let out, names
    in lower case, and conditions of the gateway's own. ``content`` is sent with its length, ``trace`` as it is.
    ``reads`` says that it changes nothing, whatever its method.
    """

    target: bytes
    authorization: bytes | None = field(default=None, repr=False)
    headers: Sequence[tuple[bytes, bytes]] = ()
    method: bytes = b"GET"
    content: bytes = field(default=b"", repr=False)
    trace: Sequence[tuple[bytes, bytes]] = ()
    reads: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """What came back: header names in lower case, those that the policy lets through, and the body.

    The body is decoded unless the policy is transparent. ``sound`` is False where more bytes came than belong to
    the answer: it is complete by its own account, but something is wrong and it must not be stored. ``ambiguous``
    says that others may read another answer out of the same bytes. ``recall`` tells, perhaps much later, that it
    may have been the answer to something else.
    """

    status: int
    headers: Headers
    body: bytes
    sound: bool = True
    recall: Recall = field(default_factory=Recall, compare=False, repr=False)
    ambiguous: bool = False
    sets_cookie: bool = False


class UpstreamClient:
    """Calls the service over kept connections: HTTP/1.1, no redirects, no cookies, no proxy from the environment.

    ``body_max_bytes`` caps an answer before and after decoding. ``policy`` says which headers cross.
    ``ssl_context`` and ``network`` stand in for the trust store of the environment and the system's sockets.
    """

    def __init__(
        self,
        base_url: str,
        timeouts: Timeouts,
        body_max_bytes: int,
        *,
        policy: HeaderPolicy = STATISTICS,
        max_connections: int = CONNECTIONS,
        ssl_context: ssl.SSLContext | None = None,
        network: Network | None = None,
    ) -> None:
        self._base = httpx.URL(base_url)
        self._prefix = self._base.raw_path.rstrip(b"/")
        self._body_max_bytes = body_max_bytes
        self._policy = policy
        self._timeouts = timeouts
        encrypted = self._base.scheme == "https"
        if ssl_context is None and encrypted:  # to read all authorities takes a while
            ssl_context = TrustStore.of().context()
        self._tls = ssl_context if encrypted else None
        if self._tls is not None:
            self._tls.set_alpn_protocols(["http/1.1"])
        self._network = network or Sockets()
        self._pool = Pool(self._connect, max_connections)

    async def fetch(self, request: UpstreamRequest, before_write: BeforeWrite | None = None) -> UpstreamResponse:
        """One call. It is repeated once, on a new connection and within the same time, where its connection turns
        out to have ended: before anything was written, or, on a kept connection and for what only reads, before
        the first byte of the answer (RFC 9112 §9.3.1, RFC 9110 §9.2.2).

        ``before_write`` is awaited each time that the connection is there and the request about to be written; the
        total timeout starts after the first, and what it raises ends the call and is raised as it is.

        Raises UpstreamUnreachable, UpstreamDisconnected, UpstreamProtocolError, UpstreamTooLarge,
        UpstreamTimeout; unless the policy is transparent, UpstreamRedirected; BadTarget where the target is not in
        origin form, BadRequest where method or headers cannot be sent.
        """
        if request.method == b"CONNECT" or not ORIGIN_FORM.fullmatch(request.target):
            raise BadTarget("The request target cannot be sent to the service.")
        call = _Call(request, self._headers(request), before_write, self._timeouts)
        try:
            return await self._ask(call)
        except UpstreamDisconnected:
            if not call.repeatable:
                raise
        return await self._ask(call, fresh=True)

    def relative(self, location: bytes) -> bytes:
        """A Location at the service as clients here would write it; any other as it came."""
        return relative(location, self._base)

    async def aclose(self) -> None:
        """Closes every connection: those that are used now when their call ends."""
        self._pool.close()

    def __repr__(self) -> str:
        return f"<UpstreamClient {self._base} {self._pool!r}>"

    async def _ask(self, call: _Call, *, fresh: bool = False) -> UpstreamResponse:
        request = call.request
        message = Message(request.method, self._prefix + request.target, call.headers, self._body_max_bytes)
        connection = await self._connection(call, fresh)
        try:
            if call.before_write is not None:
                await call.before_write()
            return await self._exchange(connection, message, call)
        except UpstreamDisconnected as error:
            call.lost(connection, message)
            error.kept = connection.answers > 0
            raise
        finally:
            self._pool.give(connection, call.owner, rest_after(message))

    async def _connection(self, call: _Call, fresh: bool) -> Connection:
        try:
            async with asyncio.timeout_at(call.deadline):
                return await self._pool.take(call.owner, self._timeouts.pool, fresh=fresh)
        except TimeoutError as error:
            raise UpstreamTimeout("The service did not answer in time.") from error

    async def _connect(self) -> Connection:
        base = self._base
        port = base.port or (80 if self._tls is None else 443)
        return await self._network.connect(base.raw_host.decode(), port, self._tls, self._timeouts.connect)

    async def _exchange(self, connection: Connection, message: Message, call: _Call) -> UpstreamResponse:
        connection.begin()
        call.begin()
        await connection.write(message.request, call.patience(self._timeouts.write))
        await connection.write(call.request.content, call.patience(self._timeouts.write))
        piece = b""
        while not message.begun:
            piece = message.receive(await self._read(connection, call))
        head, fields = message.head, message.head.headers.raw_items()
        headers = self._policy.incoming(fields, self._base, head.http_version)
        away = None if self._policy.transparent else leaves(head.status_code, headers)
        if away is not None:
            raise UpstreamRedirected("The service redirects to another place.", place=away.decode("latin-1"))
        body = Body([] if self._policy.transparent else fields, self._body_max_bytes)
        body.add(piece)
        while not message.complete:
            body.add(message.receive(await self._read(connection, call)))
        first = not connection.answers
        sound = await connection.finish() and not message.surplus
        if not sound:
            connection.spoil()
        # What a new connection brings first is its request's answer, whatever follows.
        recall = Recall() if first and not sound else connection.recall
        answer = repaired(call.headers, head.status_code, headers, body.finish(), body.received, reads=call.reads)
        sets_cookie = any(name.lower() == b"set-cookie" for name, _ in fields)
        return UpstreamResponse(*answer, sound, recall, message.ambiguous, sets_cookie)

    async def _read(self, connection: Connection, call: _Call) -> bytes:
        return await connection.read(call.patience(self._timeouts.read))

    def _headers(self, request: UpstreamRequest) -> Headers:
        headers = [(b"Host", self._base.netloc), *self._policy.complete(request.headers)]
        if request.authorization is not None:
            headers.append((b"Authorization", request.authorization))
        headers += request.trace
        if request.content or request.method in WITH_CONTENT:
            headers.append((b"Content-Length", b"%d" % len(request.content)))
        return headers


class _Call:
    """One call, on one connection or two. Its time runs from the first byte that is written."""

    def __init__(
        self, request: UpstreamRequest, headers: Headers, before_write: BeforeWrite | None, timeouts: Timeouts
    ) -> None:
        self.request = request
        self.headers = headers
        self.before_write = before_write
        self.owner = tuple(pair for pair in headers if pair[0].lower() in OWNERS)
        self.deadline: float | None = None
        self.repeatable = False
        """Whether it may be asked once more after the connection was lost."""
        self._total = timeouts.total

    @property
    def reads(self) -> bool:
        """Whether it only reads. A POST may: what counts is what it does (RFC 9110 §9.2.2)."""
        return self.request.reads or self.request.method in REPEATABLE

    def begin(self) -> None:
        """It is about to be written."""
        if self.deadline is None:
            self.deadline = asyncio.get_running_loop().time() + self._total

    def patience(self, most: float) -> float:
        """Seconds to wait for what comes next. Raises UpstreamTimeout where none are left, though bytes flow."""
        assert self.deadline is not None
        left = self.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise UpstreamTimeout("The service did not answer in time.")
        return min(most, left)

    def lost(self, connection: Connection, message: Message) -> None:
        """The connection ended before the answer did."""
        unanswered = connection.answers > 0 and not message.received and self.reads
        self.repeatable = unanswered or not connection.written


def rest_after(message: Message) -> float:
    """How long the connection may rest now, in seconds; 0 where it may not be used again."""
    if not message.persists:
        return 0.0
    kept = message.kept_for
    return KEPT_SECONDS if kept is None else min(KEPT_SECONDS, kept - KEPT_MARGIN)
