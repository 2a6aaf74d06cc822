"""Response: what is sent to the client, with its headers for caches and for web pages (CORS)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Hashable
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs
from starlette.types import Scope, Send

from gateway.cache.dates import http_date_now
from gateway.cache.entry import Entry
from gateway.errors import GatewayError, Headers, Overload, UpstreamFailure, render
from gateway.observe.outcome import SPARED, Outcome, cache_status, hit_for, with_status

if TYPE_CHECKING:
    from gateway.proxy.lookup import Resolution

METHODS = b"GET, HEAD"
POSTED = METHODS + b", POST"
EXPOSED = b"Age, Cache-Status, ETag, Proxy-Status, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
MAX_AGE = b"600"
ANY = "*"
OUR_PAGES_ALONE = (b"cross-origin-resource-policy", b"same-origin")
"""No page of another origin may embed a response (Fetch standard, §3.7): over http browsers do not say that a page
asks."""
NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
"""A list of header names (RFC 9110 §5.1, §5.6.1)."""


def preflight(method: str, headers: Headers, *, methods: bytes = METHODS) -> Headers | None:
    """The headers of a preflight's response (Fetch standard, §3.2.2, §4.8), where pages may use these ``methods``;
    None for any other request.

    A preflight brings no key, so every page gets the same grant, for whatever headers it names: the real response
    says who may read it, and a preflight reveals no tenant's web origins. Keys travel in headers, never in
    cookies: credentials mode is never allowed, and so ``*`` is safe.
    """
    given = dict(headers)
    if method != "OPTIONS" or b"origin" not in given or b"access-control-request-method" not in given:
        return None
    named = b", ".join([value for name, value in headers if name == b"access-control-request-headers" and value])
    return [
        (b"vary", b"Access-Control-Request-Headers"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", methods),
        *([(b"access-control-allow-headers", named)] if NAMES.fullmatch(named) else []),
        (b"access-control-max-age", MAX_AGE),
    ]


def response_headers(origin: bytes, origins: Collection[str]) -> Headers:
    """The CORS headers of a response to a page of ``origin``, which pages of ``origins`` may read."""
    if ANY in origins:
        allowed = b"*"
    elif origin.decode("latin-1") in origins:
        allowed = origin
    else:
        return []
    return [(b"access-control-allow-origin", allowed), (b"access-control-expose-headers", EXPOSED)]


def by_name(origins: Collection[str]) -> list[str]:
    """The origins without ``ANY``. Any page may use a key, which it has to know first, but none may use what its
    visitor's address opens unless it is named."""
    return [origin for origin in origins if origin != ANY]


def depends_on_origin(origins: Collection[str]) -> bool:
    """Whether ``response_headers`` differs from origin to origin."""
    return bool(origins) and ANY not in origins


ONE_WRITE = "gateway.one_write"
"""Where a protocol leaves in its ASGI scope how to give it a whole answer."""
OneWrite = Callable[[int, Headers, bytes], Awaitable[bool]]
"""Status, headers (with Content-Length where there is content) and body: whether they were taken."""

CRLF = b"\r\n"
TOKEN = bytes(code for code in range(33, 127) if chr(code) not in '"(),/:;<=>?@[\\]{}')
"""What a field's name is made of (RFC 9110 §5.6.2)."""
TEXT = bytes(code for code in range(256) if code in b"\t" or 32 <= code != 127)
"""What a field's value is made of (RFC 9110 §5.5)."""


async def send_at_once(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answer a request in one piece where the protocol takes that, else in two ASGI messages."""
    take: OneWrite | None = scope.get(ONE_WRITE)
    if take is None or not await take(status, headers, body):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def head_of(status_line: bytes, headers: Headers) -> bytes | None:
    """The head of a response; None where a header is malformed."""
    block = CRLF.join([*map(b": ".join, headers), b""])
    names = b"".join([name for name, _ in headers])
    well_formed = block.translate(None, TEXT) == CRLF * len(headers) and not names.translate(None, TOKEN)
    return status_line + block + CRLF if well_formed else None


Times = Callable[[float], dict[bytes, bytes]]
"""The headers in which two hits of one fresh entry differ, as of a time."""

KEYED = (b"x-api-key", b"authorization")
VARY = (b"vary", b"X-API-Key, Authorization")
VIA = (b"via", b"1.1 stats-gateway")
REPLACED = frozenset(
    {b"age", b"cache-control", b"cdn-cache-control", b"etag", b"expires", b"pragma", b"vary", b"via"}
)
"""Headers of the service's answer that the gateway replaces."""
BODILESS = frozenset({204, 304})
"""Statuses without content, or a length of it (RFC 9110 §8.6)."""


class Response(msgspec.Struct, frozen=True):
    """A complete response, and how it came about. ``key`` names the stored entry that it was made of, if any.

    The service's status, body and content type are never changed.
    """

    status: int
    headers: Headers
    body: bytes
    outcome: Outcome
    detail: str = ""
    key: Hashable = None

    async def send(self, scope: Scope, send: Send, extra: Headers) -> None:
        """Send it, with ``extra`` headers and a Date; to a HEAD without the body, but with its length."""
        headers = [*self.headers, *extra]
        if b"date" not in [name for name, _ in headers]:
            headers.insert(0, (b"date", http_date_now()))
        if self.status not in BODILESS:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send_at_once(scope, send, self.status, headers, b"" if scope["method"] == "HEAD" else self.body)


def varying(headers: Headers, field: bytes = b"") -> Headers:
    """The headers of a response that also depends on this request field, if any, with one Vary line for all (RFC
    9110 §12.5.5), since some caches heed only the last of several."""
    lines = [line for line in headers if line[0] == b"vary"]
    value = _with_field(b", ".join([named for _, named in lines if named]), field)
    wanted = [(b"vary", value)] if value else []
    return headers if lines == wanted else [*[line for line in headers if line[0] != b"vary"], *wanted]


def statistics_response(resolution: Resolution, now: float, public: bool) -> Response:
    """The response to one of our tenants, whose own caches may keep it as long as we do.

    ``public``: the caller came without a key, so that any cache may keep it. With ``Age`` beside it, ``max-age``
    counts from the answer's birth (RFC 9111 §4.2): what is left of it is what is left of ours.
    """
    entry = resolution.entry
    ttl = entry.fresh_until - now
    headers = [pair for pair in entry.headers if pair[0] not in REPLACED]
    transform = _transform(entry) if len(headers) < len(entry.headers) else b""
    if entry.fresh_until > 0:
        age = _age(entry, now)
        left = age + int(ttl) if ttl > 0 else 0
        headers.append((b"cache-control", _max_age(_scope(public), left, transform)))
        headers.append((b"age", b"%d" % age))
    else:
        headers.append((b"cache-control", b"no-store" + transform))
    if entry.etag:
        headers.append((b"etag", entry.etag))
    headers.append(_cache_status(resolution, ttl))
    headers.append(_vary(entry) if entry.vary else VARY)
    headers.append(VIA)
    return Response(entry.status, headers, entry.body, resolution.outcome, resolution.detail, _key_of(entry))


def statistics_times(entry: Entry, public: bool) -> Times:
    """The times of a response to one of our tenants."""
    generic, scope, transform = generic_times(entry, public), _scope(public), _transform(entry)

    def at(now: float) -> dict[bytes, bytes]:
        times = generic(now)
        times[b"cache-control"] = _max_age(scope, _age(entry, now) + int(entry.fresh_until - now), transform)
        return times

    return at


def generic_times(entry: Entry, public: bool) -> Times:
    """The times of a response as its origin gave it."""

    def at(now: float) -> dict[bytes, bytes]:
        return {b"age": b"%d" % _age(entry, now), b"cache-status": hit_for(entry.fresh_until - now)}

    return at


def generic_response(resolution: Resolution, now: float, public: bool) -> Response:
    """The response as the origin gave it, with its ``Age`` where it comes from the cache (RFC 9111 §5.1)."""
    entry, outcome = resolution.entry, resolution.outcome
    headers = varying(entry.headers)
    if resolution.forwarded is None or outcome in (Outcome.STALE, Outcome.REVALIDATED):
        headers = [pair for pair in headers if pair[0] != b"age"]
        headers.append((b"age", b"%d" % _age(entry, now)))
    headers = [*headers, _cache_status(resolution, entry.fresh_until - now)]
    return Response(entry.status, headers, entry.body, outcome, resolution.detail, _key_of(entry))


def refusal_of(error: GatewayError) -> Response:
    """The response for one of the gateway's own errors."""
    status, headers, body = render(error)
    outcome = Outcome.FAILED if isinstance(error, UpstreamFailure | Overload) else Outcome.REFUSED
    code = error.code
    headers += [(b"cache-status", cache_status(detail=code)), VARY]
    return Response(status, headers, body, outcome, code)


def with_upstream_status(response: Response, status: int) -> Response:
    """The response with the service's ``status`` in Cache-Status, where that was asked (RFC 9211 §2.3)."""
    if response.outcome is Outcome.HIT or response.status == status:
        return response
    ours = max((at for at, (name, _) in enumerate(response.headers) if name == b"cache-status"), default=None)
    if ours is None:
        return response
    headers = list(response.headers)
    headers[ours] = (b"cache-status", with_status(headers[ours][1], status))
    return structs.replace(response, headers=headers)


def _cache_status(resolution: Resolution, ttl: float) -> tuple[bytes, bytes]:
    """``Cache-Status`` (RFC 9211), with what is left of the lifetime where it comes from the cache."""
    if resolution.outcome is Outcome.HIT and not resolution.detail:
        return (b"cache-status", hit_for(ttl))
    forwarded, detail = resolution.forwarded, resolution.detail
    left = ttl if forwarded is None or resolution.outcome in SPARED else None
    if forwarded is not None and detail == forwarded.why:
        detail = ""
    return (b"cache-status", cache_status(forwarded, ttl=left, detail=detail))


@lru_cache(256)
def _with_field(vary: bytes, field: bytes) -> bytes:
    words = {word.strip().lower() for word in vary.split(b",")}
    if not field or not words.isdisjoint({b"*", field.lower()}):
        return vary
    return vary + b", " + field if vary else field


def _age(entry: Entry, now: float) -> int:
    return int(now - entry.born) if now > entry.born else 0


def _scope(public: bool) -> bytes:
    return b"public" if public else b"private"


def _max_age(scope: bytes, seconds: int, transform: bytes) -> bytes:
    return b"%s, max-age=%d%s" % (scope, seconds, transform)


def _transform(entry: Entry) -> bytes:
    """``no-transform`` where the service says so (RFC 9111 §5.2.2.6).

    The word alone counts, wherever it stands: to be too careful with a body costs little, to parse on each hit
    a lot.
    """
    given = [value for name, value in entry.headers if name == b"cache-control"]
    return b", no-transform" if given and b"no-transform" in b",".join(given).lower() else b""


def _vary(entry: Entry) -> tuple[bytes, bytes]:
    more = [name for name in entry.vary if name not in KEYED]
    return (b"vary", b", ".join([VARY[1], *more])) if more else VARY


def _key_of(entry: Entry) -> Hashable:
    return (entry.key, entry.variant, entry.dispatched) if entry.fresh_until > 0 else None
