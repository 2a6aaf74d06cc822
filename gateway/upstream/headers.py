"""Headers that cross the gateway, to the service and back, and redirects. Names are lower case. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter

import httpx2 as httpx

from gateway import __version__
from gateway.cache.conditional import with_originals
from gateway.cache.control import words
from gateway.errors import Headers, UpstreamProtocolError
from gateway.settings import Settings

AUTHORITY = re.compile(rb"(?i:(https?):)?//([^/?#\\]*)(.*)", re.DOTALL)
STAYING = re.compile(rb"(?![/\\]{2})[^:/?#\\\s]*(?:[/?#]\S*)?")
"""References that every client resolves within the origin (RFC 3986 §4.2): no scheme, no authority, nor what a
browser takes for one, such as backslashes and white space."""


def relative(location: bytes, base: httpx.URL) -> bytes:
    """A Location at the service, without the origin and prefix of ``base``; any other as it came, also one that
    would name another host without its origin."""
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
    """The Location of a redirect (RFC 9110 §15.4) that leads away from the origin; None for any other answer.

    ``headers`` have passed ``relative``.
    """
    if not 300 <= status < 400 or status == 304:
        return None
    return next((value for name, value in headers if name == b"location" and not STAYING.fullmatch(value)), None)


def _is_authority_of(base: httpx.URL, scheme: bytes | None, authority: bytes) -> bool:
    scheme = base.raw_scheme if scheme is None else scheme.lower()
    default = b":443" if scheme == b"https" else b":80"
    return scheme == base.raw_scheme and authority.lower().removesuffix(default) == base.netloc


NEGOTIATED = frozenset({b"accept", b"accept-language"})
"""The allow-list: of a read's headers, only these are sent to the service."""
DESCRIBING = frozenset({b"content-type", b"content-encoding", b"content-language"})
"""Headers needed to read a content."""
TAGGED = frozenset({b"if-match", b"if-none-match"})
CONDITIONS = TAGGED | {b"if-modified-since", b"if-unmodified-since"}
FORWARDED = NEGOTIATED | DESCRIBING | CONDITIONS
"""The allow-list of a request that is passed on: without its conditions, a write means something else."""
EVALUATED = CONDITIONS | {b"if-range", b"range"}
"""Headers of a read that the gateway evaluates itself, on the complete answer (RFC 9110 §13.2.2, §14.2)."""

ANYTHING = b"*/*"
USER_AGENT = (b"User-Agent", f"stats-gateway/{__version__}".encode())
PSEUDONYM = b"stats-gateway"
OWN: Headers = [(b"Accept-Encoding", b"gzip"), USER_AGENT, (b"Via", b"1.1 " + PSEUDONYM)]

HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"),
        *(b"upgrade", b"http2-settings", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-authentication-info",),
    }
)
"""RFC 9110 §7.6.1, and others that concern one hop alone."""

FOR_ALL = frozenset(
    {
        *(b"age", b"cache-control", b"cdn-cache-control", b"date", b"etag", b"expires", b"last-modified"),
        *(b"pragma", b"vary", b"warning", b"accept-ranges", b"digest", b"repr-digest", b"via", b"host"),
        *(b"allow", b"location", b"retry-after", b"set-cookie", b"www-authenticate", b"authentication-info"),
        *EVALUATED,
    }
)
"""Headers that no Connection line removes, as ``Content-…`` (RFC 9110 §7.6.1): every recipient needs them."""

CODING = {b"content-encoding", b"content-length"}
"""False of a decoded body."""

CREDENTIALS = {b"set-cookie", b"set-cookie2", b"cookie", b"cookie2", b"www-authenticate", b"authentication-info"}
"""Cookies are the gateway's own; a challenge would make a browser ask for the institution's password."""

INFRASTRUCTURE = {
    *(b"server", b"via", b"alt-svc", b"strict-transport-security", b"x-powered-by", b"x-served-by", b"x-timer"),
    *(b"nel", b"report-to", b"reporting-endpoints", b"expect-ct", b"public-key-pins", b"x-request-id"),
    *(b"server-timing", b"clear-site-data", b"x-runtime", b"x-aspnet-version"),
}
INFRASTRUCTURE_PREFIXES = (b"x-cache", b"x-amz-", b"x-amzn-", b"cf-", b"x-fastly-", b"fastly-", b"x-varnish")

STANDING = {b"ratelimit", b"ratelimit-policy"}
STANDING_PREFIXES = (b"x-ratelimit-", b"x-rate-limit-")
"""The service's limits for the gateway; clients get the gateway's own."""

DROPPED = HOP_BY_HOP | CODING | CREDENTIALS | INFRASTRUCTURE | STANDING
DROPPED_PREFIXES = INFRASTRUCTURE_PREFIXES + STANDING_PREFIXES
TRANSPARENT = HOP_BY_HOP | {b"content-length"}
"""Headers dropped from an answer under a transparent policy."""

REWRITTEN = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""Headers dropped from a request under a transparent policy."""
READ = REWRITTEN | EVALUATED

CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class HeaderPolicy:
    """Which headers cross the gateway. Use STATISTICS or GENERIC.

    ``transparent`` lets every end-to-end header through and leaves the content in its coding, as a plain
    reverse proxy does; otherwise requests go out by allow-list, and answers lose what is not for clients.
    ``replaced`` are those of a request that each call has anew, such as its place in a trace.
    """

    transparent: bool
    replaced: frozenset[bytes] = frozenset()

    def outgoing(self, headers: Headers, *, read: bool) -> Headers:
        """A client's headers as they go to the service; cache keys and variants are made of them (RFC 9111 §4.1).

        What is added later is the same with every request, or belongs to the call alone. ``read``: the gateway
        answers from a complete answer, so that conditions and ranges are not for the service.
        """
        named = nominated(headers)
        if self.transparent:
            dropped = READ if read else REWRITTEN
            if named or self.replaced:
                dropped = dropped | named | self.replaced
            sent = [(name, value.strip(b" \t")) for name, value in headers if name not in dropped]
        else:
            allowed = (NEGOTIATED if read else FORWARDED) - named
            sent = [(name, value.strip(b" \t")) for name, value in headers if name in allowed]
            sent.sort(key=itemgetter(0))
            if [value for name, value in sent if name == b"accept"] == [ANYTHING]:
                sent.remove((b"accept", ANYTHING))  # the same as none
        return sent if read else [_as_the_service_knows(*pair) for pair in sent]

    def complete(self, sent: Iterable[tuple[bytes, bytes]]) -> Headers:
        """``sent``, as ``outgoing`` made it, with the gateway's own headers; without Host, the credential and the
        content's length."""
        names = {name for name, _ in sent}
        if self.transparent:
            return _via([*sent] if b"user-agent" in names else [*sent, USER_AGENT], b"1.1")
        ours = OWN if b"accept" in names else [*OWN, (b"Accept", ANYTHING)]
        return [*ours, *sent]

    def incoming(
        self, headers: Iterable[tuple[bytes, bytes]], base: httpx.URL, version: bytes = b"1.1"
    ) -> Headers:
        """The answer's headers for clients, in their order, repeated ones repeated, with those about storing,
        whatever ``Connection`` names.

        Unless transparent, a Location at ``base``, the service's URL, is made relative. ``version`` is the
        answer's HTTP version, for Via (RFC 9110 §7.6.3). Raises UpstreamProtocolError for a control character in
        a value (§5.5).
        """
        received = [(name.lower(), value) for name, value in headers]
        if any(CONTROL.search(value) for _, value in received):
            raise UpstreamProtocolError("The service's answer has a malformed header.")
        named = nominated(received)
        if self.transparent:
            dropped = TRANSPARENT | named
            return _via([(name, value) for name, value in received if name not in dropped], version)
        dropped = DROPPED | named
        return [
            (name, relative(value, base) if name == b"location" else value)
            for name, value in received
            if name not in dropped and not name.startswith(DROPPED_PREFIXES)
        ]


STATISTICS = HeaderPolicy(transparent=False)
"""For the statistics service: the least a question needs, and of its answer what concerns a client."""

GENERIC = HeaderPolicy(transparent=True)
"""For any one HTTP origin (RFC 9110 §7.6)."""

TRACED = frozenset({b"traceparent", b"tracestate"})
"""Headers that each call has anew where traces go to the service."""


def policy_of(settings: Settings) -> HeaderPolicy:
    """The policy of the settings' profile."""
    if settings.profile != "generic":
        return STATISTICS
    return replace(GENERIC, replaced=TRACED) if settings.otlp_endpoint and settings.trace_upstream else GENERIC


def nominated(headers: Headers) -> Set[bytes]:
    """The fields that ``Connection`` names, in any number of lines (RFC 9110 §7.6.1)."""
    lines = [value for name, value in headers if name == b"connection"]
    return _nominated(b",".join(lines)) if lines else frozenset()


@lru_cache(64)
def _nominated(listed: bytes) -> Set[bytes]:
    named = words(listed) - FOR_ALL - HOP_BY_HOP - {b"close"}
    return frozenset(name for name in named if not name.startswith(b"content-"))


def _as_the_service_knows(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The header with the tags of the gateway's coded variants replaced by the service's own."""
    return (name, with_originals(value)) if name in TAGGED else (name, value)


def _via(headers: Headers, version: bytes) -> Headers:
    """The headers with this hop at the end of Via (RFC 9110 §7.6.3)."""
    hop = version + b" " + PSEUDONYM
    at = max((at for at, (name, _) in enumerate(headers) if name.lower() == b"via"), default=None)
    if at is None:
        return [*headers, (b"via", hop)]
    name, value = headers[at]
    return [*headers[:at], (name, value + b", " + hop if value else hop), *headers[at + 1 :]]
