"""Grant: what Redis says of a caller's limits, and the rules by which it says so. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
