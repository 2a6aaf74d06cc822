"""Outcome: how a request was answered; one vocabulary for log, metric and header."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """See the design's words."""

    HIT = "hit"
    STALE = "stale"
    MISS = "miss"
    COLLAPSED = "collapsed"
    REVALIDATED = "revalidated"
    BYPASS = "bypass"
    REFUSED = "refused"
    FAILED = "failed"

    __hash__ = str.__hash__  # each answer is counted and looked up by its outcome; Enum's own is not in C


SPARED = frozenset({Outcome.HIT, Outcome.STALE})
"""What was answered from the cache."""

FORWARDED = {
    Outcome.MISS: b"; fwd=uri-miss",
    Outcome.COLLAPSED: b"; fwd=uri-miss; collapsed",
    Outcome.REVALIDATED: b"; fwd=stale; fwd-status=304",
    Outcome.BYPASS: b"; fwd=bypass",
}
"""Why and how the service was asked, as ``Cache-Status`` tells it."""

CACHE = b"stats-gateway"
HIT_FOR = CACHE + b"; hit; ttl=%d"


def cache_status(outcome: Outcome, *, ttl: float = 0, stored: bool = False, detail: str = "") -> bytes:
    """The ``Cache-Status`` value of an outcome (RFC 9211 §2); ``ttl`` in seconds, negative once stale.

    ``detail`` is a token-like reason of the gateway's own, never text from a client.
    """
    value = HIT_FOR % int(ttl) if outcome in SPARED else CACHE + FORWARDED.get(outcome, b"")
    if stored:
        value += b"; stored"
    if detail:
        value += b"; detail=" + detail.encode("ascii")
    return value
