"""OPTIONS: what of it the gateway answers itself, and how far all else may go (RFC 9110 §7.6.2, §9.3.7). Pure."""

from __future__ import annotations

from collections.abc import Collection

from gateway.errors import Headers
from gateway.targets import ASTERISK, allowed

MAX_FORWARDS = b"max-forwards"
FAR = 999_999_999
"""As many hops as are ever counted: no message has so far to go."""


def own_answer(target: bytes, headers: Headers, passed: Collection[str] | None) -> Headers | None:
    """The headers of the answer to an OPTIONS that is about the server as a whole, or that may go no further; None
    for any other. ``passed`` are the methods passed on besides GET and HEAD (None: all)."""
    if target != ASTERISK and hops_left(headers) != 0:
        return None
    served = None if passed is None else {method.encode() for method in passed}
    return [(b"allow", allowed(served)), (b"cache-control", b"no-store")]


def hops_left(headers: Headers) -> int | None:
    """How many more servers a request may be passed on to, by its strictest field; None where none says."""
    said = [_hops(value) for name, value in headers if name == MAX_FORWARDS]
    return min((hops for hops in said if hops is not None), default=None)


def one_hop_less(headers: Headers) -> Headers:
    """The same, for the next server. What is no number stays as it is."""
    return [(name, _less(value)) if name == MAX_FORWARDS else (name, value) for name, value in headers]


def hops_onward(headers: Headers) -> Headers:
    """The one field of them that tells the next server how far a request may go; none where none says."""
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
