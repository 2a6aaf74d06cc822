"""The service's client: requests by the header policy on an ``httpx2.AsyncClient``, and answers decoded within a
cap."""

from __future__ import annotations

import re
import ssl
import zlib
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any

import httpx2 as httpx

from gateway.errors import BadTarget, Headers, UpstreamProtocolError, UpstreamRedirected, UpstreamTooLarge
from gateway.settings import Settings
from gateway.upstream.connection import Recall
from gateway.upstream.headers import STATISTICS, HeaderPolicy, leaves, policy_of, relative
from gateway.upstream.message import repaired
from gateway.upstream.network import Sockets, TrustStore
from gateway.upstream.transport import CONNECTIONS, BeforeWrite, Exchange, Timeouts, Transport

ORIGIN_FORM = re.compile(rb"/[\x21-\x7e]*")
WITH_CONTENT = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods that announce even an empty content (RFC 9110 §8.6)."""
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
"""The registered content codings (RFC 9110 §16.6.1); other names in the header are ignored."""


class Body:
    """An answer's content as it arrives, decoded; neither its raw nor its decoded size may pass ``cap`` bytes.

    Only gzip is asked for; deflate is understood as well. An empty content is empty under any coding, and padding
    after a complete one is dropped. ``received`` counts the bytes before decoding.
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
        """Add the next piece. Raises UpstreamTooLarge, or UpstreamProtocolError where the coding is broken."""
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
        """The complete content. Raises UpstreamProtocolError where the coding is cut short."""
        cut = bool(self._ahead) if self._member is None else not self._member.eof
        if cut:
            raise UpstreamProtocolError("The service's answer has a broken content coding.")
        return bytes(self._decoded)

    def _begun(self) -> bool:
        """Whether a gzip member takes the next bytes; not where they are padding, or too short to say."""
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
        # One byte over the cap, where an answer that inflates without end stops.
        room = self._cap - len(self._decoded) + 1
        try:
            self._decoded += self._member.decompress(self._ahead, room)
        except zlib.error as error:
            raise UpstreamProtocolError("The service's answer has a broken content coding.") from error
        if len(self._decoded) > self._cap:
            raise UpstreamTooLarge("The service's answer is too large.")
        self._ahead = self._member.unused_data


def _wbits(coding: bytes, start: bytes) -> int | None:
    """zlib's name for the format; None where the start is too short to say.

    Deflate means the zlib format, and to some servers the bare one (RFC 9110 §8.4.1.2).
    """
    if coding == b"gzip":
        return GZIP
    if len(start) < 2:
        return None
    wrapped = start[0] & 15 == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS


def _codings(headers: Headers) -> list[bytes]:
    """The registered content codings in the order applied (RFC 9110 §8.4); ``x-gzip`` is gzip."""
    listed = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    words = [word.partition(b";")[0].strip().lower() for word in listed.split(b",")]
    return [b"gzip" if word == b"x-gzip" else word for word in words if word in CODINGS]


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request to the service. ``target`` is in origin form, and is sent byte for byte.

    ``authorization`` is the credential's header value. ``headers`` have passed the header policy, names in lower
    case, or are the gateway's own conditions. ``content`` is sent with its length, ``trace`` as it is. ``reads``
    says that the request changes nothing, whatever its method.
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
    """The service's response, with the headers that the policy lets through, names in lower case.

    The body is decoded unless the policy is transparent. ``sound`` is False where bytes came after the response,
    which then must not be stored. ``ambiguous`` says that another reader may see another response in the same
    bytes. ``recall`` says, perhaps much later, that it may have been the response to another request.
    """

    status: int
    headers: Headers
    body: bytes
    sound: bool = True
    recall: Recall = field(default_factory=Recall, compare=False, repr=False)
    ambiguous: bool = False
    sets_cookie: bool = False


class NoCookies(CookieJar):
    """A cookie jar that stays empty."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep none."""


class UpstreamClient:
    """Calls the service over kept connections: HTTP/1.1, no redirects, no cookies, no proxy from the environment.

    ``body_max_bytes`` caps an answer before and after decoding. ``policy`` says which headers cross.
    ``ssl_context`` replaces the system's trust store, and ``network`` its sockets.
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
        network: Sockets | None = None,
    ) -> None:
        self._base = httpx.URL(base_url)
        self._prefix = self._base.raw_path.rstrip(b"/")
        self._body_max_bytes = body_max_bytes
        self._policy = policy
        encrypted = self._base.scheme == "https"
        if ssl_context is None and encrypted:  # to read all authorities takes a while
            ssl_context = TrustStore.of().context()
        tls = ssl_context if encrypted else None
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        self._transport = Transport(
            self._base, timeouts, body_max_bytes, most=max_connections, tls=tls, network=network
        )
        self._http = httpx.AsyncClient(
            transport=self._transport,
            auth=httpx.Auth(),  # none, not even a base URL's
            cookies=NoCookies(),
            follow_redirects=False,
            timeout=None,  # the transport has the timeouts
            trust_env=False,
        )

    async def fetch(self, request: UpstreamRequest, before_write: BeforeWrite | None = None) -> UpstreamResponse:
        """One call, repeated where the transport may. ``before_write`` is awaited before a request is written.

        Raises what the transport raises; unless the policy is transparent, UpstreamRedirected; BadTarget where the
        target is not in origin form.
        """
        if request.method == b"CONNECT" or not ORIGIN_FORM.fullmatch(request.target):
            raise BadTarget("The request target cannot be sent to the service.")
        sent = httpx.Request(
            request.method.decode("latin-1"),
            self._base,
            headers=self._headers(request),
            stream=httpx.ByteStream(request.content),
            extensions={
                "target": self._prefix + request.target,
                "before_write": before_write,
                "reads": request.reads,
            },
        )
        response = await self._http.send(sent, stream=True)
        try:
            return await self._read(sent, response)
        finally:
            await response.aclose()

    def relative(self, location: bytes) -> bytes:
        """A Location at the service without origin and prefix; any other as it came."""
        return relative(location, self._base)

    async def aclose(self) -> None:
        """Close every connection; those in use when their call ends."""
        await self._http.aclose()

    def __repr__(self) -> str:
        return f"<UpstreamClient {self._base} {self._transport.pool!r}>"

    async def _read(self, sent: httpx.Request, response: httpx.Response) -> UpstreamResponse:
        fields, status = response.headers.raw, response.status_code
        exchange: Exchange = response.extensions["exchange"]
        version = response.extensions["http_version"].removeprefix(b"HTTP/")
        headers = self._policy.incoming(fields, self._base, version)
        away = None if self._policy.transparent else leaves(status, headers)
        if away is not None:
            raise UpstreamRedirected("The service redirects to another place.", place=away.decode("latin-1"))
        body = Body([] if self._policy.transparent else fields, self._body_max_bytes)
        async with aclosing(aiter(exchange)) as pieces:
            async for piece in pieces:
                body.add(piece)
        answer = repaired(sent.headers.raw, status, headers, body.finish(), body.received, reads=exchange.reads)
        sets_cookie = "set-cookie" in response.headers
        return UpstreamResponse(*answer, exchange.sound, exchange.recall, exchange.message.ambiguous, sets_cookie)

    def _headers(self, request: UpstreamRequest) -> Headers:
        headers = [(b"Host", self._base.netloc), *self._policy.complete(request.headers)]
        if request.authorization is not None:
            headers.append((b"Authorization", request.authorization))
        headers += request.trace
        if request.content or request.method in WITH_CONTENT:
            headers.append((b"Content-Length", b"%d" % len(request.content)))
        return headers


def client_of(settings: Settings) -> UpstreamClient:
    """The client that the settings name. Raises ConfigurationError where upstream_ca_file cannot be used."""
    timeouts = Timeouts(
        connect=settings.connect_timeout,
        read=settings.read_timeout,
        write=settings.write_timeout,
        pool=settings.pool_timeout,
        total=settings.upstream_timeout,
    )
    trusted = None
    if settings.upstream.startswith("https://"):
        trusted = TrustStore.of(settings.upstream_ca_file).context()
    policy = policy_of(settings)
    return UpstreamClient(settings.upstream, timeouts, settings.body_max_bytes, policy=policy, ssl_context=trusted)
