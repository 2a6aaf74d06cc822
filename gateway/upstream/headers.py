"""Headers that cross the gateway: what is sent to the service, and what of its answer is passed on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import httpx2 as httpx

from gateway import __version__
from gateway.errors import Headers, UpstreamProtocolError

FORWARDED = frozenset({b"accept", b"accept-language", b"if-modified-since", b"if-none-match"})
"""The allow-list: of all that is asked to be sent, only these are."""

DESCRIBING = frozenset({b"content-type", b"content-encoding"})
"""Forwarded as well where there is content: without them nobody could read it."""

USER_AGENT = (b"User-Agent", f"stats-gateway/{__version__}".encode())
PSEUDONYM = b"stats-gateway"
OWN: Headers = [(b"Accept-Encoding", b"gzip"), USER_AGENT, (b"Via", b"1.1 " + PSEUDONYM)]

HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"),
    *(b"upgrade", b"http2-settings", b"proxy-authenticate", b"proxy-authorization"),
    *(b"proxy-authentication-info",),
}
"""RFC 9110 §7.6.1, and what concerns one hop alone."""

CODING = {b"content-encoding", b"content-length"}
"""No longer true of a decoded body."""

CREDENTIALS = {b"set-cookie", b"set-cookie2", b"cookie", b"cookie2", b"www-authenticate", b"authentication-info"}
"""Cookies are nobody's but the gateway's; a challenge would make a browser ask for the institution's password."""

INFRASTRUCTURE = {
    *(b"server", b"via", b"alt-svc", b"strict-transport-security", b"x-powered-by", b"x-served-by", b"x-timer"),
    *(b"nel", b"report-to", b"reporting-endpoints", b"expect-ct", b"public-key-pins", b"x-request-id"),
    *(b"server-timing", b"clear-site-data", b"x-runtime", b"x-aspnet-version"),
}
INFRASTRUCTURE_PREFIXES = (b"x-cache", b"x-amz-", b"x-amzn-", b"cf-", b"x-fastly-", b"fastly-", b"x-varnish")

STANDING = {b"ratelimit", b"ratelimit-policy"}
STANDING_PREFIXES = (b"x-ratelimit-", b"x-rate-limit-")
"""They tell how the gateway, not its client, stands with the service; the gateway's own tell of the client."""

DROPPED = HOP_BY_HOP | CODING | CREDENTIALS | INFRASTRUCTURE | STANDING
DROPPED_PREFIXES = INFRASTRUCTURE_PREFIXES + STANDING_PREFIXES

REWRITTEN = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""Of a request that is forwarded with all its headers: those that are the gateway's own business."""

CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
AUTHORITY = re.compile(rb"(?i:(https?):)?//([^/?#\\]*)(.*)", re.DOTALL)
STAYING = re.compile(rb"(?![/\\]{2})[^:/?#\\\s]*(?:[/?#]\S*)?")
"""References that every client resolves within the origin (RFC 3986 §4.2): no scheme, no authority, nor what a
browser takes for one, such as backslashes and white space."""


@dataclass(frozen=True, slots=True)
class HeaderPolicy:
    """Which headers cross the gateway. Use STATISTICS or GENERIC.

    ``transparent`` lets every end-to-end header through and leaves the content in its coding, as a plain
    reverse proxy does; otherwise requests go out by allow-list, and answers lose what is not for clients.
    """

    transparent: bool

    def outgoing(
        self, headers: Iterable[tuple[bytes, bytes]], host: bytes, authorization: bytes | None, *, content: bool
    ) -> Headers:
        """The request's headers: what may go of ``headers``, our own, and the credential if there is one.

        ``host`` is the service's own; ``content`` says that the request has a body, whose Content-Length is for
        the caller to add.
        """
        if self.transparent:
            return [(b"Host", host), *_end_to_end_of(list(headers), authorization)]
        return [(b"Host", host), *OWN, *_allowed_of(headers, authorization, content)]

    def incoming(
        self, headers: Iterable[tuple[bytes, bytes]], base: httpx.URL, version: bytes = b"1.1"
    ) -> Headers:
        """The answer's headers that are for clients, names in lower case, in their order, repeated ones repeated.

        ``base`` is the service's URL: unless transparent, a Location there is made relative. ``version`` is that
        of the answer's HTTP, for Via (RFC 9110 §7.6.3). Raises UpstreamProtocolError where a value holds a control
        character (§5.5).
        """
        received = [(name.lower(), value) for name, value in headers]
        if any(CONTROL.search(value) for _, value in received):
            raise UpstreamProtocolError("The service's answer has a malformed header.")
        named = _named_by_connection(received)
        if self.transparent:
            dropped = HOP_BY_HOP | {b"content-length"} | named
            return _via([(name, value) for name, value in received if name not in dropped], version)
        dropped = DROPPED | named
        return [
            (name, relative(value, base) if name == b"location" else value)
            for name, value in received
            if name not in dropped and not name.startswith(DROPPED_PREFIXES)
        ]


STATISTICS = HeaderPolicy(transparent=False)
"""For the statistics service: the least that a question needs, and of its answer what concerns a client."""

GENERIC = HeaderPolicy(transparent=True)
"""For any one HTTP origin (RFC 9110 §7.6)."""


def _allowed_of(headers: Iterable[tuple[bytes, bytes]], authorization: bytes | None, content: bool) -> Headers:
    names = FORWARDED | DESCRIBING if content else FORWARDED
    allowed = [(name, value) for name, value in headers if name.lower() in names]
    ours: Headers = []
    if not any(name.lower() == b"accept" for name, _ in allowed):
        ours.append((b"Accept", b"*/*"))
    if authorization is not None:
        ours.append((b"Authorization", authorization))
    return ours + allowed


def _end_to_end_of(headers: Headers, authorization: bytes | None) -> Headers:
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = REWRITTEN | _named_by_connection(lowered)
    ours: Headers = []
    if authorization is not None:
        dropped |= {b"authorization"}
        ours.append((b"Authorization", authorization))
    if not any(name == b"user-agent" for name, _ in lowered):
        ours.append(USER_AGENT)
    return _via([(name, value) for name, value in headers if name.lower() not in dropped] + ours, b"1.1")


def _via(headers: Headers, version: bytes) -> Headers:
    """The same with this hop at the end of Via (RFC 9110 §7.6.3)."""
    hop = version + b" " + PSEUDONYM
    at = max((at for at, (name, _) in enumerate(headers) if name.lower() == b"via"), default=None)
    if at is None:
        return [*headers, (b"via", hop)]
    name, value = headers[at]
    return [*headers[:at], (name, value + b", " + hop if value else hop), *headers[at + 1 :]]


def relative(location: bytes, base: httpx.URL) -> bytes:
    """A Location at the service as its clients here would write it: without origin, and without the prefix.

    Everything else is returned as it came, also what would read as another host once its origin is gone.
    """
    found = AUTHORITY.fullmatch(location)
    if found is not None and not _is_authority_of(base, found[1], found[2]):
        return location
    target = location if found is None else found[3]
    prefix = base.raw_path.rstrip(b"/")
    if found is None and not (prefix and target.startswith(b"/")):
        return location
    if not re.match(re.escape(prefix) + rb"([/?#]|$)", target):
        return location
    rest = target[len(prefix) :]
    rest = rest if rest.startswith(b"/") else b"/" + rest
    return location if rest[1:2] in (b"/", b"\\") else rest


def leaves(status: int, headers: Headers) -> bytes | None:
    """Where a redirect with these headers, Location relative where it can be, leads away from the origin.

    None where it stays, and for what is no redirect (RFC 9110 §15.4).
    """
    if not 300 <= status < 400 or status == 304:
        return None
    return next((value for name, value in headers if name == b"location" and not STAYING.fullmatch(value)), None)


def _is_authority_of(base: httpx.URL, scheme: bytes | None, authority: bytes) -> bool:
    scheme = base.raw_scheme if scheme is None else scheme.lower()
    default = b":443" if scheme == b"https" else b":80"
    return scheme == base.raw_scheme and authority.lower().removesuffix(default) == base.netloc


def _named_by_connection(headers: Headers) -> set[bytes]:
    listed = b",".join(value for name, value in headers if name == b"connection")
    return {word.strip().lower() for word in listed.split(b",")}
