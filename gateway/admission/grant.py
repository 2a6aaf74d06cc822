"""Grant: what is left of a caller's limits; this process's share of them where Redis cannot say. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.tenants.tenant import TenantLimits

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits as the scripts take them: seconds between two requests (0: no rate), burst, most a day (0: any)."""

    interval: float
    burst: int
    most: int

    @classmethod
    def of(cls, limits: TenantLimits) -> Rules:
        """The rules of a tenant's limits."""
        rate = limits.requests_per_second
        burst = limits.burst or max(1, math.ceil(rate or 1))
        return cls(1 / rate if rate else 0.0, burst, limits.requests_per_day or 0)

    def share(self, fleet: int) -> Rules:
        """This process's part, of so many, of each limit; at least one request."""
        return Rules(self.interval * fleet, max(1, self.burst // fleet), self.most and max(1, self.most // fleet))


@dataclass(frozen=True, slots=True)
class Grant:
    """Requests granted; seconds until the next is (0 where one is left); what is left of burst and day, -1 where
    there is no such limit; seconds to midnight UTC."""

    granted: int
    wait: float
    left: int
    day_left: int
    midnight: float


class LocalLimits:
    """A caller's limits in this process alone, while Redis is gone. The same rules as admit.lua."""

    __slots__ = ("_count", "_day", "_tat")

    def __init__(self) -> None:
        self._tat = 0.0
        self._day = 0
        self._count = 0

    def take(self, rules: Rules, now: float, *, wanted: int, owed: int) -> Grant:
        """What is granted of ``wanted`` at ``now``, in seconds since the epoch, with ``owed`` taken already."""
        today = int(now // DAY)
        midnight = (today + 1) * DAY - now
        if today != self._day:
            self._day, self._count = today, 0
        self._count = max(0, self._count + owed)
        granted, wait, left = wanted, 0.0, -1
        if rules.interval:
            self._tat = max(now, max(self._tat, now) + owed * rules.interval)
            left = math.floor((now + rules.burst * rules.interval - self._tat) / rules.interval + 1e-6)
            granted = max(0, min(granted, left))
        if rules.most:
            granted = max(0, min(granted, rules.most - self._count))
        self._count += granted
        if rules.interval:
            self._tat += granted * rules.interval
            left -= granted
            if left < 1:
                wait = max(0.0, self._tat + rules.interval - now - rules.burst * rules.interval)
        if rules.most and self._count >= rules.most:
            wait = max(wait, midnight)
        return Grant(granted, wait, left, rules.most - self._count if rules.most else -1, midnight)
