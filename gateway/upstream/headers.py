"""Headers that cross the gateway: what is sent to the service, and what of its answer is passed on."""

from __future__ import annotations

import re
from collections.abc import Iterable

import httpx2 as httpx

from gateway import __version__
from gateway.errors import Headers, UpstreamProtocolError

FORWARDED = frozenset({b"accept", b"accept-language", b"if-modified-since", b"if-none-match"})
"""The allow-list: of all that is asked to be sent, only these are."""

OWN: Headers = [
    (b"Accept-Encoding", b"gzip"),
    (b"User-Agent", f"stats-gateway/{__version__}".encode()),
    (b"Via", b"1.1 stats-gateway"),
]

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

DROPPED = HOP_BY_HOP | CODING | CREDENTIALS | INFRASTRUCTURE

CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
AUTHORITY = re.compile(rb"(?i:(https?):)?//([^/?#\\]*)(.*)", re.DOTALL)


def outgoing(headers: Iterable[tuple[bytes, bytes]], host: bytes, authorization: bytes | None) -> Headers:
    """The request's headers: the allowed of ``headers``, our own, and the credential if there is one."""
    sent: Headers = [(b"Host", host), *OWN]
    allowed = [(name, value) for name, value in headers if name.lower() in FORWARDED]
    if not any(name.lower() == b"accept" for name, _ in allowed):
        sent.append((b"Accept", b"*/*"))
    if authorization is not None:
        sent.append((b"Authorization", authorization))
    return sent + allowed


def incoming(headers: Iterable[tuple[bytes, bytes]], base: httpx.URL) -> Headers:
    """The answer's headers that are for clients, names in lower case, in their order.

    ``base`` is the service's URL: a Location there is made relative. Raises UpstreamProtocolError where a
    value holds a control character (RFC 9110 §5.5).
    """
    received = [(name.lower(), value) for name, value in headers]
    if any(CONTROL.search(value) for _, value in received):
        raise UpstreamProtocolError("The service's answer has a malformed header.")
    dropped = DROPPED | _named_by_connection(received)
    return [
        (name, relative(value, base) if name == b"location" else value)
        for name, value in received
        if name not in dropped and not name.startswith(INFRASTRUCTURE_PREFIXES)
    ]


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


def _is_authority_of(base: httpx.URL, scheme: bytes | None, authority: bytes) -> bool:
    scheme = base.raw_scheme if scheme is None else scheme.lower()
    default = b":443" if scheme == b"https" else b":80"
    return scheme == base.raw_scheme and authority.lower().removesuffix(default) == base.netloc


def _named_by_connection(headers: Headers) -> set[bytes]:
    listed = b",".join(value for name, value in headers if name == b"connection")
    return {word.strip().lower() for word in listed.split(b",")}
