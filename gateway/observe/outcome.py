"""How a request was answered, in one vocabulary for log, metric and header; and the timings of its stages."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from math import floor
from time import monotonic

import msgspec

from gateway.cache.rules import Why


class Outcome(StrEnum):
    """How a request was answered."""

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
"""The outcomes of answers from the cache."""


class Forwarded(msgspec.Struct, frozen=True):
    """Why the service was asked, and what came of it.

    ``status`` is the service's where the client gets another (RFC 9211 §2.3); ``collapsed`` says that one call
    was for several requests (§2.6), ``stored`` that its answer was kept (§2.5).
    """

    why: Why
    status: int | None = None
    collapsed: bool = False
    stored: bool = False


CACHE = b"stats-gateway"
FORWARD = re.compile(rb"(; fwd=[a-z-]+)(?!.*; fwd-status=)")


def cache_status(forwarded: Forwarded | None = None, *, ttl: float | None = None, detail: str = "") -> bytes:
    """A ``Cache-Status`` value (RFC 9211 §2): a hit for ``ttl`` seconds where nothing was ``forwarded``; neither
    where the gateway itself speaks, without a ``ttl``.

    ``detail`` is a token-like reason of the gateway's own, never text from a client.
    """
    value = CACHE
    if forwarded is not None:
        value += b"; fwd=" + forwarded.why.encode()
        if forwarded.status is not None:
            value += b"; fwd-status=%d" % forwarded.status
        value += b"; collapsed" * forwarded.collapsed + b"; stored" * forwarded.stored
    elif ttl is not None:
        value += b"; hit"
    if ttl is not None:
        value += b"; ttl=%d" % whole_seconds(ttl)
    if detail:
        value += b"; detail=" + detail.encode("ascii")
    return value


def hit_for(ttl: float) -> bytes:
    """The ``Cache-Status`` of a plain hit."""
    return CACHE + b"; hit; ttl=%d" % whole_seconds(ttl)


def whole_seconds(ttl: float) -> int:
    """The rest of a lifetime in whole seconds, negative as soon as it is over (RFC 9211 §2.4)."""
    return floor(ttl) if ttl > 0 else min(floor(ttl), -1)


def with_status(value: bytes, status: int) -> bytes:
    """The ``Cache-Status`` of an answer whose client gets another status than the service gave (RFC 9211 §2.3)."""
    return FORWARD.sub(rb"\1; fwd-status=%d" % status, value)


clock: Callable[[], float] = monotonic
"""The clock of the stages, in seconds; only differences mean anything."""


class Timings:
    """The end of each stage of a request, in seconds of ``clock``; 0 for a stage that it did not reach.

    ``flown`` is the service's own time, in the flight that this request led or joined; ``near`` says that the
    answer came from the near cache. Slots and plain stores, because every hit pays for them.
    """

    __slots__ = ("admitted", "began", "flown", "identified", "landed", "looked_up", "near")

    def __init__(self) -> None:
        self.began = clock()
        self.identified = 0.0
        self.admitted = 0.0
        self.looked_up = 0.0
        self.landed = 0.0
        self.flown = 0.0
        self.near = False

    def spans(self, ended: float) -> list[tuple[str, float, float]]:
        """The stages that were begun, each with when it began and ended; the last ends with the request.

        ``queue`` is all waiting for a flight but for the service's own time, ``upstream``.
        """
        found: list[tuple[str, float, float]] = []
        since = self.began
        for name, end in (("identify", self.identified), ("admit", self.admitted), ("look_up", self.looked_up)):
            found.append((name, since, end or ended))
            if not end:
                return found
            since = end
        if self.landed:
            answered = max(since, self.landed - self.flown)
            found.append(("queue", since, answered))
            if self.flown:
                found.append(("upstream", answered, self.landed))
        return found

    def seconds(self, ended: float) -> dict[str, float]:
        """How long each stage took, in seconds."""
        return {name: round(end - began, 6) for name, began, end in self.spans(ended)}
