"""Methods: what a request may ask, and how far an OPTIONS may go (RFC 9110 §7.6.2, §9.3.7). Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Set

from gateway.errors import Headers

ASTERISK = b"*"
"""The target that is the server as a whole, for OPTIONS alone (RFC 9112 §3.2.4)."""

HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})++)(?::[0-9]{0,5})?")
"""RFC 3986 §3.2.2, §3.2.3; an http authority is never empty (RFC 9110 §4.2.1)."""

READING = frozenset({b"GET", b"HEAD"})
READS = frozenset({"GET", "HEAD"})
POST = b"POST"
NEVER = frozenset({b"CONNECT", b"TRACE"})
"""No tunnels, and no echo of a request's headers (RFC 9110 §9.3.6, §9.3.8)."""
KNOWN = (
    READING
    | NEVER
    | {b"DELETE", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"QUERY"}
    | {b"ACL", b"BIND", b"CHECKOUT", b"COPY", b"LINK", b"LOCK", b"MERGE", b"MKACTIVITY", b"MKCALENDAR", b"MKCOL"}
    | {b"MOVE", b"PROPFIND", b"PROPPATCH", b"REBIND", b"REPORT", b"SEARCH", b"UNBIND", b"UNLINK", b"UNLOCK"}
    | {b"M-SEARCH", b"NOTIFY", b"PURGE", b"SUBSCRIBE", b"UNSUBSCRIBE"}
)
"""The methods that uvicorn's parser reads: nearly all registered ones, and some others in use."""


def allowed(methods: Set[bytes] | None) -> bytes:
    """The value of Allow (RFC 9110 §10.2.1) for these methods; for None, the well-known ones."""
    named = {b"DELETE", b"OPTIONS", b"PATCH", b"POST", b"PUT"} if methods is None else methods
    return b", ".join([b"GET", b"HEAD", *sorted(named - READING)])


MAX_FORWARDS = b"max-forwards"
FAR = 999_999_999
"""The most hops that are counted: no message has so far to go."""


def own_answer(target: bytes, headers: Headers, passed: Collection[str] | None) -> Headers | None:
    """The headers of the answer to an OPTIONS that is about the server as a whole, or that may go no further; None
    for any other. ``passed`` are the methods passed on besides GET and HEAD (None: all)."""
    if target != ASTERISK and hops_left(headers) != 0:
        return None
    served = None if passed is None else {method.encode() for method in passed}
    return [(b"allow", allowed(served)), (b"cache-control", b"no-store")]


def hops_left(headers: Headers) -> int | None:
    """How many more servers may get a request, by its strictest Max-Forwards; None without one."""
    said = [_hops(value) for name, value in headers if name == MAX_FORWARDS]
    return min((hops for hops in said if hops is not None), default=None)


def one_hop_less(headers: Headers) -> Headers:
    """The headers for the next server; a Max-Forwards that is no number stays as it is."""
    return [(name, _less(value)) if name == MAX_FORWARDS else (name, value) for name, value in headers]


def hops_onward(headers: Headers) -> Headers:
    """The Max-Forwards for the next server alone; none where the request has none."""
    hops = hops_left(headers)
    return [] if hops is None else one_hop_less([(MAX_FORWARDS, b"%d" % hops)])


def _less(value: bytes) -> bytes:
    hops = _hops(value)
    return value if hops is None else b"%d" % max(0, hops - 1)


def _hops(value: bytes) -> int | None:
    if not value.isdigit():
        return None
    significant = value.lstrip(b"0")
    return FAR if len(significant) > len(str(FAR)) else int(significant or b"0")
