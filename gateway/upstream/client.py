"""UpstreamClient: asks the service."""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpcore2
import httpx2 as httpx

from gateway.errors import (
    BadRequest,
    BadTarget,
    GatewayError,
    Headers,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamRedirected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.upstream.body import Body
from gateway.upstream.headers import STATISTICS, HeaderPolicy, leaves
from gateway.upstream.trust import TrustStore
from gateway.upstream.wire import NothingWritten, Wires

BeforeWrite = Callable[[], Awaitable[None]]

CONNECTIONS = 100
"""Most connections to the service."""
KEEPALIVE_SECONDS = 15.0
ORIGIN_FORM = re.compile(rb"/[\x21-\x7e]*")
WRITING = "http11.send_request_headers.started"
WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that announce even an empty content (RFC 9110 §8.6)."""

FAILURES: dict[type[Exception], tuple[type[GatewayError], str]] = {
    httpcore2.TimeoutException: (UpstreamTimeout, "The service did not answer in time."),
    httpcore2.ConnectError: (UpstreamUnreachable, "The service cannot be reached."),
    httpcore2.ProxyError: (UpstreamUnreachable, "The service cannot be reached."),
    httpcore2.UnsupportedProtocol: (UpstreamUnreachable, "The service cannot be reached."),
    httpcore2.NetworkError: (UpstreamDisconnected, "The connection ended before the service's answer did."),
    httpcore2.ProtocolError: (UpstreamProtocolError, "The service's answer is not valid HTTP."),
    httpcore2.LocalProtocolError: (BadRequest, "The request cannot be sent to the service."),
}


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

    ``authorization`` is the credential's ready header value. Of ``headers`` those are sent that the client's
    header policy lets through. ``content`` is sent with its length, ``trace`` as it is.
    """

    target: bytes
    authorization: bytes | None = field(default=None, repr=False)
    headers: Sequence[tuple[bytes, bytes]] = ()
    method: bytes = b"GET"
    content: bytes = field(default=b"", repr=False)
    trace: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """What came back: header names in lower case, those that the policy lets through, and the body.

    The body is decoded unless the policy is transparent. ``sound`` is False where more bytes came than belong to
    the answer: it is complete by its own account, but something is wrong and it must not be stored.
    """

    status: int
    headers: Headers
    body: bytes
    sound: bool = True


class UpstreamClient:
    """Calls the service over kept connections: HTTP/1.1, no redirects, no cookies, no proxy from the environment.

    ``body_max_bytes`` caps an answer before and after decoding. ``policy`` says which headers cross.
    ``ssl_context`` and ``network`` stand in for the trust store of the environment and the system's sockets.

    It stands on httpcore2, the engine of httpx2, because all that httpx2 adds (URL normalisation, cookies,
    redirects, environment) would have to be turned off, while the engine takes a network of our own.
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
        network: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._base = httpx.URL(base_url)
        self._prefix = self._base.raw_path.rstrip(b"/")
        self._body_max_bytes = body_max_bytes
        self._policy = policy
        self._timeouts = {
            "connect": timeouts.connect,
            "read": timeouts.read,
            "write": timeouts.write,
            "pool": timeouts.pool,
        }
        if ssl_context is None and self._base.scheme == "https":  # to read all authorities takes a while
            ssl_context = TrustStore.of().context()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=max_connections,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=network or Wires(timeouts.total),
        )

    async def fetch(self, request: UpstreamRequest, before_write: BeforeWrite | None = None) -> UpstreamResponse:
        """One call. It is repeated, once, only where a kept connection ended before a byte of it was written.

        ``before_write`` is awaited once the connection is there and the request about to be written; the
        total timeout starts after it, and what it raises ends the call and is raised as it is.

        Raises UpstreamUnreachable, UpstreamDisconnected, UpstreamProtocolError, UpstreamTooLarge,
        UpstreamTimeout; unless the policy is transparent, UpstreamRedirected; BadTarget where the target is not in
        origin form, BadRequest where method or headers cannot be sent.
        """
        if request.method == b"CONNECT" or not ORIGIN_FORM.fullmatch(request.target):
            raise BadTarget("The request target cannot be sent to the service.")
        try:
            try:
                return await self._call(request, before_write)
            except NothingWritten:
                return await self._call(request, before_write)
        except tuple(FAILURES) as error:
            raise failure_of(error) from error

    async def _call(self, request: UpstreamRequest, before_write: BeforeWrite | None) -> UpstreamResponse:
        asked = httpcore2.Request(
            request.method,
            self._url(request.target),
            headers=self._headers(request),
            content=request.content,
            extensions={"timeout": self._timeouts, "trace": _tracer(before_write)},
        )
        response = await self._pool.handle_async_request(asked)
        try:
            return await self._received(response)
        finally:
            await response.aclose()

    async def _received(self, response: httpcore2.Response) -> UpstreamResponse:
        version = response.extensions["http_version"].removeprefix(b"HTTP/")
        headers = self._policy.incoming(response.headers, self._base, version)
        away = None if self._policy.transparent else leaves(response.status, headers)
        if away is not None:
            raise UpstreamRedirected("The service redirects to another place.", place=away.decode("latin-1"))
        body = await self._read(response)
        sound = not response.extensions["network_stream"].get_extra_info("surplus")
        return UpstreamResponse(response.status, headers, body, sound)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()

    def __repr__(self) -> str:
        return f"<UpstreamClient {self._base} {self._pool!r}>"

    def _headers(self, request: UpstreamRequest) -> Headers:
        given, content = request.headers, request.content
        if request.trace:
            ours = {name for name, _ in request.trace}
            given = [pair for pair in given if pair[0].lower() not in ours]
        headers = self._policy.outgoing(given, self._base.netloc, request.authorization, content=bool(content))
        headers += request.trace
        if content or request.method in WITH_CONTENT:
            headers.append((b"Content-Length", b"%d" % len(content)))
        return headers

    def _url(self, target: bytes) -> httpcore2.URL:
        base = self._base
        return httpcore2.URL(
            scheme=base.raw_scheme, host=base.raw_host, port=base.port, target=self._prefix + target
        )

    async def _read(self, response: httpcore2.Response) -> bytes:
        body = Body([] if self._policy.transparent else response.headers, self._body_max_bytes)
        async with aclosing(response.aiter_stream()) as pieces:
            async for piece in pieces:
                body.add(piece)
        return body.finish()


def failure_of(error: Exception) -> GatewayError:
    """The gateway's word for an error of httpcore2: its class's, else its nearest ancestor's."""
    kind, message = next(FAILURES[cls] for cls in type(error).__mro__ if cls in FAILURES)
    return kind(message)


def _tracer(before_write: BeforeWrite | None) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    async def trace(event: str, _: dict[str, Any]) -> None:
        if event == WRITING and before_write is not None:
            await before_write()

    return trace
