"""CORS: which web pages may read answers (Fetch standard, §3.2). Pure.

Keys travel in headers, never in cookies: credentials mode is never allowed, and so ``*`` is safe.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.errors import Headers

METHODS = b"GET, HEAD"
POSTED = METHODS + b", POST"
EXPOSED = b"Age, Cache-Status, ETag, Proxy-Status, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
MAX_AGE = b"600"
ANY = "*"
OUR_PAGES_ALONE = (b"cross-origin-resource-policy", b"same-origin")
"""No other page may embed an answer (Fetch standard, §3.7): over http browsers do not tell that one asks."""
NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
"""A list of header names (RFC 9110 §5.1, §5.6.1)."""


def preflight(method: str, headers: Headers, *, posted: bool = False) -> Headers | None:
    """The headers of a preflight's answer; None for any other request (§3.2.2, §4.8). ``posted`` says that
    questions are asked by POST there.

    A preflight brings no key, so that every page gets the same grant, for whatever headers it names: who may read
    is told by the real answer, and nothing is told here of whose web origins there are.
    """
    given = dict(headers)
    if method != "OPTIONS" or b"origin" not in given or b"access-control-request-method" not in given:
        return None
    named = b", ".join([value for name, value in headers if name == b"access-control-request-headers" and value])
    return [
        (b"vary", b"Access-Control-Request-Headers"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", POSTED if posted else METHODS),
        *([(b"access-control-allow-headers", named)] if NAMES.fullmatch(named) else []),
        (b"access-control-max-age", MAX_AGE),
    ]


def response_headers(origin: bytes, origins: Collection[str]) -> Headers:
    """What an answer tells a browser, where pages of ``origins`` may read it; ``origin`` is the request's."""
    if ANY in origins:
        allowed = b"*"
    elif origin.decode("latin-1") in origins:
        allowed = origin
    else:
        return []
    return [(b"access-control-allow-origin", allowed), (b"access-control-expose-headers", EXPOSED)]


def by_name(origins: Collection[str]) -> list[str]:
    """The origins that are known by name. That any page may use a key, which it has to know first, lets none use
    what its visitor's address opens."""
    return [origin for origin in origins if origin != ANY]


def depends_on_origin(origins: Collection[str]) -> bool:
    """Whether what ``response_headers`` tells differs from origin to origin."""
    return bool(origins) and ANY not in origins
