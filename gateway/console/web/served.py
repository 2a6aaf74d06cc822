"""Served: how an answer came about, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.observe.outcome import Outcome

WORDS = {
    Outcome.HIT: "From the cache, fresh",
    Outcome.STALE: "From the cache, stale",
    Outcome.MISS: "The service was asked",
    Outcome.COLLAPSED: "The service was asked once, for this and others who asked at the same time",
    Outcome.REVALIDATED: "The service was asked whether the stored answer still holds, and it does",
    Outcome.BYPASS: "Passed on, and not from the cache",
    Outcome.REFUSED: "Refused by the gateway",
    Outcome.FAILED: "No answer could be had",
}
DETAILS = {
    "refreshing": "being refreshed in the background",
    "max-stale": "which the client allowed",
    "unknown-endpoint": "the gateway does not know this endpoint, and may not keep its answer",
    "GateClosed": "since the service is not asked while it seems to block us",
    "TargetRefused": "since the service refused this very query a moment ago",
    "CallerPaused": "since the service refused several queries of this caller in a row",
    "SlowedDown": "since the service asked for fewer requests",
    "QueueFull": "since too many requests wait already",
    "DeadlineExceeded": "since the service could not be asked in time",
    "UpstreamTimeout": "since the service did not answer in time",
    "UpstreamDisconnected": "since the service broke off",
    "UpstreamUnreachable": "since the service cannot be reached",
    "CacheUnavailable": "since Redis does not answer",
}
_UPSTREAM = re.compile(r"upstream-([0-9]{3})")
_MAX_AGE = re.compile(r"(?:^|[ ,])max-age=([0-9]{1,12})(?![0-9])")
_TTL = re.compile(r"; ttl=(-?[0-9]{1,12})(?![0-9])")
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def told(outcome: Outcome, detail: str, cache_status: str) -> str:
    """How an answer was served, as a sentence."""
    words = WORDS[outcome]
    if outcome in (Outcome.REFUSED, Outcome.FAILED):
        return f"{words}."
    if outcome in (Outcome.MISS, Outcome.COLLAPSED) and "; stored" in cache_status:
        return f"{words}, and its answer is kept."
    found = _UPSTREAM.fullmatch(detail)
    why = f"since the service answered {found[1]}" if found else DETAILS.get(detail, detail)
    return f"{words}, {why}." if why else f"{words}."


def age_of(headers: Mapping[str, str]) -> int | None:
    """The seconds since an answer was made, where it tells."""
    age = headers.get("age", "")
    return int(age) if age.isascii() and age.isdecimal() and len(age) <= 12 else None


def left_of(headers: Mapping[str, str]) -> int | None:
    """The seconds for which an answer stays fresh; less than none for how long it has been stale."""
    found = _TTL.search(headers.get("cache-status", ""))
    if found:
        return int(found[1])
    most, age = _MAX_AGE.search(headers.get("cache-control", "")), age_of(headers)
    return int(most[1]) - age if most and age is not None else None


def span(seconds: float) -> str:
    """A duration in its two largest units: 6 d 23 h, 14 min 3 s, 0 s."""
    left, parts = int(abs(seconds)), []
    for name, size in UNITS:
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
    return " ".join(parts[:2]) or "0 s"
