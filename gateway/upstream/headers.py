"""Headers that cross the gateway: what is sent to the service, and what of its answer is passed on.

Names are lower case throughout.

Location: where a redirect of the service's leads, as a client here would follow it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import httpx2 as httpx

from gateway import __version__
from gateway.cache.conditional import with_originals
from gateway.cache.control import words
from gateway.errors import Headers, UpstreamProtocolError

AUTHORITY = re.compile(rb"(?i:(https?):)?//([^/?#\\]*)(.*)", re.DOTALL)
STAYING = re.compile(rb"(?![/\\]{2})[^:/?#\\\s]*(?:[/?#]\S*)?")
"""References that every client resolves within the origin (RFC 3986 §4.2): no scheme, no authority, nor what a
browser takes for one, such as backslashes and white space."""


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


NEGOTIATED = frozenset({b"accept", b"accept-language"})
"""The allow-list: of a read's headers, only these are sent to the service."""
DESCRIBING = frozenset({b"content-type", b"content-encoding", b"content-language"})
"""Those of a content, without which nobody could read it."""
TAGGED = frozenset({b"if-match", b"if-none-match"})
CONDITIONS = TAGGED | {b"if-modified-since", b"if-unmodified-since"}
FORWARDED = NEGOTIATED | DESCRIBING | CONDITIONS
"""The allow-list of a request that is passed on: a write without its conditions would be another one."""
EVALUATED = CONDITIONS | {b"if-range", b"range"}
"""What the gateway evaluates itself on a read, by the whole answer (RFC 9110 §13.2.2, §14.2)."""

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
"""RFC 9110 §7.6.1, and what concerns one hop alone."""

FOR_ALL = frozenset(
    {
        *(b"age", b"cache-control", b"cdn-cache-control", b"date", b"etag", b"expires", b"last-modified"),
        *(b"pragma", b"vary", b"warning", b"accept-ranges", b"digest", b"repr-digest", b"via", b"host"),
        *(b"allow", b"location", b"retry-after", b"set-cookie", b"www-authenticate", b"authentication-info"),
        *EVALUATED,
    }
)
"""What is meant for every recipient, ``Content-…`` besides: no Connection line takes it away (RFC 9110 §7.6.1)."""

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
TRANSPARENT = HOP_BY_HOP | {b"content-length"}
"""Of an answer that is passed on with all its headers: those that are the gateway's own business."""

REWRITTEN = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""The same of a request."""
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
        """What a client's headers come to on their way to the service.

        The only account of it: keys, variants and the wire are made of this (RFC 9111 §4.1). What is added later
        is the same with every request, or of the call alone. ``read`` says that the gateway answers the request
        from a whole answer, so that conditions and ranges are not for the service.
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
                sent.remove((b"accept", ANYTHING))  # who does not say asks for the same
        return sent if read else [_as_the_service_knows(*pair) for pair in sent]

    def complete(self, sent: Iterable[tuple[bytes, bytes]]) -> Headers:
        """All but Host, the credential, and what tells of the content: ``sent``, as ``outgoing`` made it, and what
        is the gateway's own."""
        names = {name for name, _ in sent}
        if self.transparent:
            return _via([*sent] if b"user-agent" in names else [*sent, USER_AGENT], b"1.1")
        ours = OWN if b"accept" in names else [*OWN, (b"Accept", ANYTHING)]
        return [*ours, *sent]

    def incoming(
        self, headers: Iterable[tuple[bytes, bytes]], base: httpx.URL, version: bytes = b"1.1"
    ) -> Headers:
        """The answer's headers that are for clients, in their order, repeated ones repeated. What says how it may
        be stored is among them, whatever ``Connection`` names.

        ``base`` is the service's URL: unless transparent, a Location there is made relative. ``version`` is that
        of the answer's HTTP, for Via (RFC 9110 §7.6.3). Raises UpstreamProtocolError where a value holds a control
        character (§5.5).
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
"""For the statistics service: the least that a question needs, and of its answer what concerns a client."""

GENERIC = HeaderPolicy(transparent=True)
"""For any one HTTP origin (RFC 9110 §7.6)."""

TRACED = frozenset({b"traceparent", b"tracestate"})
"""What each call has anew where the service is told of traces."""


def nominated(headers: Headers) -> Set[bytes]:
    """The fields that ``Connection`` says are for this hop alone, in however many lines (RFC 9110 §7.6.1)."""
    lines = [value for name, value in headers if name == b"connection"]
    return _nominated(b",".join(lines)) if lines else frozenset()


@lru_cache(64)
def _nominated(listed: bytes) -> Set[bytes]:
    named = words(listed) - FOR_ALL - HOP_BY_HOP - {b"close"}
    return frozenset(name for name in named if not name.startswith(b"content-"))


def _as_the_service_knows(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A tag may be that of the gateway's coded variant."""
    return (name, with_originals(value)) if name in TAGGED else (name, value)


def _via(headers: Headers, version: bytes) -> Headers:
    """The same with this hop at the end of Via (RFC 9110 §7.6.3)."""
    hop = version + b" " + PSEUDONYM
    at = max((at for at, (name, _) in enumerate(headers) if name.lower() == b"via"), default=None)
    if at is None:
        return [*headers, (b"via", hop)]
    name, value = headers[at]
    return [*headers[:at], (name, value + b", " + hop if value else hop), *headers[at + 1 :]]
