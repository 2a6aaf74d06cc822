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

CACHE = b"stats-gateway"


def cache_status(outcome: Outcome, *, ttl: float = 0, stored: bool = False, detail: str = "") -> bytes:
    """The ``Cache-Status`` value of an outcome (RFC 9211 §2); ``ttl`` in seconds, negative once stale.

    ``detail`` is a token-like reason of the gateway's own, never text from a client.
    """
    parts = [CACHE]
    match outcome:
        case Outcome.HIT | Outcome.STALE:
            parts += [b"hit", b"ttl=%d" % int(ttl)]
        case Outcome.MISS:
            parts += [b"fwd=uri-miss"]
        case Outcome.COLLAPSED:
            parts += [b"fwd=uri-miss", b"collapsed"]
        case Outcome.REVALIDATED:
            parts += [b"fwd=stale", b"fwd-status=304"]
        case Outcome.BYPASS:
            parts += [b"fwd=bypass"]
    if stored:
        parts.append(b"stored")
    if detail:
        parts.append(b"detail=" + detail.encode("ascii"))
    return b"; ".join(parts)
