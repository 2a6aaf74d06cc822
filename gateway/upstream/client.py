"""UpstreamClient: asks the service.

Body: an answer's content, put together and decoded within a cap.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx2 as httpx

from gateway.errors import (
    BadTarget,
    Headers,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamRedirected,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from gateway.upstream.connection import Connection, Pool, Recall
from gateway.upstream.headers import STATISTICS, HeaderPolicy, leaves, relative
from gateway.upstream.message import Message, repaired
from gateway.upstream.network import Network, Sockets, TrustStore

GZIP = 16 + zlib.MAX_WBITS
"""zlib's name for the gzip format (RFC 1952)."""
MEMBER = b"\x1f\x8b\x08"
"""How each member of a gzip stream begins (RFC 1952 §2.3.1)."""
CODINGS = frozenset(
    {
        *(b"aes128gcm", b"br", b"compress", b"dcb", b"dcz", b"deflate", b"exi", b"gzip", b"pack200-gzip"),
        *(b"x-compress", b"x-gzip", b"zstd"),
    }
)
"""The registered content codings (RFC 9110 §16.6.1); what else a header may name was not done to the content."""


class Body:
    """Takes content as it arrives; neither its raw nor its decoded size passes ``cap`` bytes.

    Only gzip is asked for; deflate is understood as well. An empty content is empty under any coding, and
    padding after a complete one is dropped. ``received`` counts its bytes before they are decoded.
    """

    def __init__(self, headers: Headers, cap: int) -> None:
        self._codings = _codings(headers)
        self._cap = cap
        self.received = 0
        self._ahead = b""
        self._padded = False
        self._decoded = bytearray()
        self._member: zlib._Decompress | None = None

    def add(self, data: bytes) -> None:
        """The next piece. Raises UpstreamTooLarge, or UpstreamProtocolError where the coding is broken."""
        self.received += len(data)
        if self.received > self._cap:
            raise UpstreamTooLarge("The service's answer is too large.")
        if not self._codings:
            self._decoded += data
        elif self._codings in ([b"gzip"], [b"deflate"]):
            self._ahead += data
            while self._ahead and self._begun():
                self._inflate()
        else:
            raise UpstreamProtocolError("The service's answer has an unknown content coding.")

    def finish(self) -> bytes:
        """The whole content. Raises UpstreamProtocolError where the coding is cut short."""
        cut = bool(self._ahead) if self._member is None else not self._member.eof
        if cut:
            raise UpstreamProtocolError("The service's answer has a broken content coding.")
        return bytes(self._decoded)

    def _begun(self) -> bool:
        """Whether a member takes what is ahead; not where that is padding, or too short to tell."""
        if self._member is None:
            wbits = _wbits(self._codings[0], self._ahead)
            if wbits is None:
                return False
            self._member = zlib.decompressobj(wbits)
        elif self._member.eof:
            start = self._ahead[: len(MEMBER)]
            self._padded = self._padded or self._codings == [b"deflate"] or not MEMBER.startswith(start)
            if self._padded:
                self._ahead = b""
            elif start == MEMBER:
                self._member = zlib.decompressobj(GZIP)
        return not self._member.eof

    def _inflate(self) -> None:
        assert self._member is not None
        # One byte more than may be: an answer that inflates without end stops right there.
        room = self._cap - len(self._decoded) + 1
        try:
            self._decoded += self._member.decompress(self._ahead, room)
        except zlib.error as error:
            raise UpstreamProtocolError("The service's answer has a broken content coding.") from error
        if len(self._decoded) > self._cap:
            raise UpstreamTooLarge("The service's answer is too large.")
        self._ahead = self._member.unused_data


def _wbits(coding: bytes, start: bytes) -> int | None:
    """zlib's name for the format; None where the start is too short to tell.

    Deflate means the zlib format, and to some servers the bare one (RFC 9110 §8.4.1.2).
    """
    if coding == b"gzip":
        return GZIP
    if len(start) < 2:
        return None
    wrapped = start[0] & 15 == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS


def _codings(headers: Headers) -> list[bytes]:
    """The content codings in the order applied (RFC 9110 §8.4), without what is none; ``x-gzip`` is gzip."""
    listed = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    words = [word.partition(b";")[0].strip().lower() for word in listed.split(b",")]
    return [b"gzip" if word == b"x-gzip" else word for word in words if word in CODINGS]


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
