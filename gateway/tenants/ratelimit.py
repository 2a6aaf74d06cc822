"""Grant: what Redis says of a caller's limits, and the rules by which it says so. Pure.

Policy: how a limit is told to clients, in the fields of draft-ietf-httpapi-ratelimit-headers-11. Pure.

The window ``t`` beside what is left (``r``) is one over which a client that spends it evenly keeps the rate: §6
asks to cap their ratio. Where nothing is left, it ends when ``Retry-After`` does. There is no partition key: a
caller has one partition, its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from gateway.tenants.tenant import TenantLimits

DAY = 86_400.0
MICRO = 1e-6
SLOWEST = 1e-6
"""Requests a second below which a rate is none that anybody could mean, and numbers run over."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits as the script takes them: seconds between two requests, in whole microseconds (0: no rate), burst,
    most a day (0: any)."""

    interval: float
    burst: int
    most: int

    @classmethod
    def of(cls, limits: TenantLimits) -> Rules:
        """The rules of a tenant's limits."""
        rate = limits.requests_per_second
        burst = limits.burst or max(1, math.ceil(rate or 1))
        interval = max(1, round(1 / max(rate, SLOWEST) / MICRO)) * MICRO if rate else 0.0
        return cls(interval, burst, limits.requests_per_day or 0)

    def wait(self, level: float, count: int, midnight: float) -> float:
        """Seconds until the next request, with a record ``level`` seconds ahead and ``count`` requests today."""
        wait = level - (self.burst - 1) * self.interval if self.interval else 0.0
        wait = wait if wait > MICRO / 2 else 0.0
        return max(wait, midnight) if self.most and count >= self.most else wait


@dataclass(frozen=True, slots=True)
class Seen:
    """A caller's record as Redis told it, which it is told again, should it have forgotten: when it was begun and
    where it stands (``tat``), in microseconds of Redis's clock, and the requests (``count``) of a ``day``, in days
    since the epoch."""

    born: int = 0
    tat: int = 0
    day: int = 0
    count: int = 0


UNSEEN = Seen()


@dataclass(frozen=True, slots=True)
class Grant:
    """Requests granted; by how many seconds of the rate the caller's record then lies ahead of now (``level``: 0
    where the whole burst is there, ``burst * interval`` where nothing is); seconds to midnight UTC."""

    granted: int
    level: float
    midnight: float
    seen: Seen


REMEMBERED = 4_096
"""Pairs of fields that need not be written anew: what is left of a rate is one of few numbers."""


class Told(NamedTuple):
    """What one answer tells of a limit: its two fields, as headers and as the lines of a response."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    lines: bytes = b""


NOTHING_TOLD = Told()


def policy(rules: Rules) -> bytes:
    """``RateLimit-Policy``: each quota ``q`` and its window ``w`` in seconds (§3.1)."""
    items = []
    if rules.interval:
        window = max(1, math.ceil(rules.burst * rules.interval - MICRO))
        items.append(b'"rate";q=%d;w=%d' % (max(rules.burst, int(window / rules.interval + MICRO)), window))
    if rules.most:
        items.append(b'"day";q=%d;w=%d' % (rules.most, DAY))
    return b", ".join(items)


def told(policy: bytes, limit: bytes) -> Told:
    """Both fields."""
    lines = b"ratelimit-policy: %s\r\nratelimit: %s\r\n" % (policy, limit)
    return Told(((b"ratelimit-policy", policy), (b"ratelimit", limit)), lines)


def standing(policy: bytes, rules: Rules, left: int, day_left: int = 0, midnight: float = 0.0) -> Told:
    """Of an admitted request: what is left, and for how long (§4.1)."""
    left = 0 if left < 0 else rules.burst if left > rules.burst else left
    if not rules.most:
        return _rate_alone(policy, rules.interval, left)
    day = b'"day";r=%d;t=%d' % (max(0, day_left), _seconds(midnight))
    return told(policy, b"%s, %s" % (_rate(rules.interval, left), day) if rules.interval else day)


def refusal(rules: Rules, rate_wait: float, day_wait: float) -> bytes:
    """``RateLimit`` of a refused request: only what refused it, for ``Retry-After`` is not to be earlier than the
    end of any window that is told (§6)."""
    items = []
    if rules.interval and (rate_wait > 0 or day_wait <= 0):
        items.append(b'"rate";r=0;t=%d' % _seconds(rate_wait))
    if rules.most and (day_wait > 0 or not items):
        items.append(b'"day";r=0;t=%d' % _seconds(day_wait))
    return b", ".join(items)


@lru_cache(REMEMBERED)
def _rate_alone(policy: bytes, interval: float, left: int) -> Told:
    return told(policy, _rate(interval, left))


def _rate(interval: float, left: int) -> bytes:
    return b'"rate";r=%d;t=%d' % (left, _seconds((left or 1) * interval))


def _seconds(seconds: float) -> int:
    return math.ceil(seconds - MICRO) if seconds > 1 else 1
