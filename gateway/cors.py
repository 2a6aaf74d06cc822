"""CORS: which web pages may read answers (Fetch standard, §3.2). Pure.

Keys travel in headers, never in cookies: credentials mode is never allowed, and so ``*`` is safe.
"""

from __future__ import annotations

from collections.abc import Collection

from gateway.errors import Headers

METHODS = b"GET, HEAD"
ALLOWED = b"Authorization, X-API-Key, X-Request-Id, Cache-Control, If-None-Match, If-Modified-Since, Range"
EXPOSED = b"Age, Cache-Status, ETag, Proxy-Status, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
MAX_AGE = b"600"
ANY = "*"


def preflight(method: str, headers: Headers, origins: Collection[str]) -> tuple[int, Headers] | None:
    """The status and headers of a preflight's answer; None for any other request (§3.2.2, §4.8).

    A preflight brings no key, so ``origins`` are those of all tenants; one that is not among them is told nothing.
    """
    if method != "OPTIONS" or not origins:
        return None
    given = dict(headers)
    origin, wanted = given.get(b"origin"), given.get(b"access-control-request-method")
    if origin is None or wanted is None:
        return None
    answer: Headers = [
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"cache-control", b"no-store"),
    ]
    allowed = _allowed(origin, origins)
    if allowed is None:
        return 403, answer
    return 204, [
        *answer,
        (b"access-control-allow-origin", allowed),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", ALLOWED),
        (b"access-control-max-age", MAX_AGE),
    ]


def response_headers(origin: bytes, origins: Collection[str]) -> Headers:
    """What an answer tells a browser, where pages of ``origins`` may read it; ``origin`` is the request's."""
    if not origins:
        return []
    allowed = _allowed(origin, origins) if origin else None
    if allowed is None:
        return [(b"vary", b"Origin")]
    return [
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", allowed),
        (b"access-control-expose-headers", EXPOSED),
    ]


def _allowed(origin: bytes, origins: Collection[str]) -> bytes | None:
    if ANY in origins:
        return b"*"
    return origin if origin.decode("latin-1") in origins else None
