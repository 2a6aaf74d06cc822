"""A caller's limits: the rules of Redis and of each process, and the RateLimit fields. Pure.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11. The window ``t`` beside what is left (``r``) is
one over which a client that spends it evenly keeps the rate: §6 asks to cap their ratio. Where nothing is left, it
ends when ``Retry-After`` does. There is no partition key: a caller has one partition, its own.
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
"""The least rate, in requests a second: below it numbers would overflow."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits as the script takes them: seconds between two requests, in whole microseconds (0: no rate), the
    burst, and the most in a day (0: any)."""

    interval: float
    burst: int
    most: int

    @classmethod
    def of(cls, limits: TenantLimits) -> Rules:
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
    """A caller's record in Redis, sent back with each report in case Redis lost it: when it was begun and its
    theoretical arrival time (``tat``), in microseconds of Redis's clock, and the requests (``count``) of a
    ``day``, in days since the epoch."""

    born: int = 0
    tat: int = 0
    day: int = 0
    count: int = 0


UNSEEN = Seen()


@dataclass(frozen=True, slots=True)
class Grant:
    """The script's reply: the requests ``granted``; the ``level``, by which the caller's record then lies ahead of
    now (0 where the whole burst is left, ``burst * interval`` where nothing is), and the time to ``midnight`` UTC,
    both in seconds."""

    granted: int
    level: float
    midnight: float
    seen: Seen


GRAIN = 1e-6
"""The rounding error of a whole request."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a process reports to Redis at a time (``at``): the requests granted here that Redis does not know of
    (``unreported``), of these those that the rate has not made good since (``owed``) and those of today
    (``spent``); and the record that Redis sent last (``seen``)."""

    at: float
    unreported: int
    owed: int
    spent: int
    seen: Seen


class LocalLimits:
    """The last grant of Redis, and what this process granted since; its share of them where Redis cannot say.

    The share is what was left at the last grant, and what has accrued since, divided by the ``fleet``, the number
    of processes; before any grant, a share of everything. With the same ``fleet`` everywhere, all shares together
    are no more than the whole. Times are monotonic seconds. ``whole_at`` is when the fleet's burst is whole again,
    by the last grant.
    """

    __slots__ = (
        *("_count", "_midnight", "_others", "_rules", "_seen", "_spent", "_tat", "fleet", "owed", "whole_at"),
    )

    def __init__(self, rules: Rules, midnight: float, fleet: int = 1) -> None:
        self.fleet = fleet
        self.owed = 0
        self._rules = rules
        self.whole_at = self._tat = -math.inf
        self._count = self._spent = self._others = 0
        self._midnight = midnight
        self._seen = UNSEEN

    def charge(self, now: float) -> None:
        """Count a request that is granted without asking Redis, to be reported."""
        self._turn_day(now)
        self._tat = max(self._tat, now) + self._rules.interval * self.fleet
        self._spent += 1
        self.owed += 1

    def take(self, now: float) -> bool:
        """Grant one request of this process's share, if it has one."""
        granted = max(self.share_waits(now)) <= 0
        if granted:
            self.charge(now)
        return granted

    def share_waits(self, now: float) -> tuple[float, float]:
        """Seconds until this process's share of the rate, and of the day, has a request."""
        self._turn_day(now)
        rules, fleet = self._rules, self.fleet
        ahead = (max(1, rules.burst // fleet) - 1) * rules.interval * fleet
        rate = self._tat - now - ahead - GRAIN if rules.interval else 0.0
        day_share = math.ceil(max(0, rules.most - self._count - self._others) / fleet)
        return max(0.0, rate), self._midnight - now if rules.most and self._spent >= day_share else 0.0

    def waits(self, now: float) -> tuple[float, float]:
        """Seconds until the fleet's rate, and its day, have a request, as far as is known here."""
        self._turn_day(now)
        rules = self._rules
        level = max(0.0, self.whole_at - now) + self._undone(now) * rules.interval
        return rules.wait(level, 0, 0.0), rules.wait(0.0, self._count + self._spent, self._midnight - now)

    def left(self, now: float) -> int:
        """What is left of the burst, as far as is known here."""
        left = self._rules.burst
        if self.whole_at > now:
            left -= math.ceil((self.whole_at - now) / self._rules.interval - GRAIN)
        if self.owed:
            left -= self._undone(now)
        return left

    def day_left(self, now: float) -> tuple[int, float]:
        """What is left of the day, as far as is known here, and seconds to midnight UTC."""
        self._turn_day(now)
        return self._rules.most - self._count - self._spent, self._midnight - now

    def report(self, now: float) -> Report:
        self._turn_day(now)
        return Report(now, self.owed, self._undone(now), self._spent, self._seen)

    def hear(self, report: Report, grant: Grant, now: float, *, first: bool = False) -> int:
        """Take a grant, the reply to a report. It pays for what was granted here since; the rest is returned.

        The level counts from the time of the report: from that of the reply, what accrued under way would be lost
        each time, and with a slow Redis that is most. The ``first`` grant of a Redis that is back does not yet
        count what other processes granted meanwhile, which is assumed to be as much as here.
        """
        self.owed -= report.unreported
        paid = min(self.owed, grant.granted)
        self.owed = self._spent = self.owed - paid
        self.whole_at = report.at + (grant.level if self._rules.interval else 0.0)
        tat = self.whole_at + self.owed * self._rules.interval * self.fleet
        self._tat = max(tat, self._tat) if first else tat
        self._others = (self.fleet - 1) * report.spent if first else 0
        self._seen, self._count, self._midnight = grant.seen, grant.seen.count, now + grant.midnight
        return grant.granted - paid

    def _undone(self, now: float) -> int:
        """The requests owed that this process's share of the rate has not made good since."""
        if not (self.owed and self._rules.interval):
            return self.owed
        since = (self._tat - max(self.whole_at, now)) / (self._rules.interval * self.fleet)
        return max(0, min(self.owed, math.ceil(since - GRAIN)))

    def _turn_day(self, now: float) -> None:
        """Begin a new day after midnight."""
        if now >= self._midnight:
            self._midnight += ((now - self._midnight) // DAY + 1) * DAY
            self._count = self._spent = self._others = 0


REMEMBERED = 4_096
"""Rendered fields that are kept: what is left of a rate is one of few numbers."""


class RateLimitFields(NamedTuple):
    """The two fields of one response, as headers and as its lines."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    lines: bytes = b""


NO_FIELDS = RateLimitFields()


def policy(rules: Rules) -> bytes:
    """``RateLimit-Policy``: each quota ``q`` and its window ``w`` in seconds (§3.1)."""
    items = []
    if rules.interval:
        window = max(1, math.ceil(rules.burst * rules.interval - MICRO))
        items.append(b'"rate";q=%d;w=%d' % (max(rules.burst, int(window / rules.interval + MICRO)), window))
    if rules.most:
        items.append(b'"day";q=%d;w=%d' % (rules.most, DAY))
    return b", ".join(items)


def render_fields(policy: bytes, limit: bytes) -> RateLimitFields:
    """Both fields, rendered."""
    lines = b"ratelimit-policy: %s\r\nratelimit: %s\r\n" % (policy, limit)
    return RateLimitFields(((b"ratelimit-policy", policy), (b"ratelimit", limit)), lines)


def fields_left(
    policy: bytes, rules: Rules, left: int, day_left: int = 0, midnight: float = 0.0
) -> RateLimitFields:
    """The fields of an admitted request: what is ``left``, and for how long (§4.1)."""
    left = 0 if left < 0 else rules.burst if left > rules.burst else left
    if not rules.most:
        return _rate_alone(policy, rules.interval, left)
    day = b'"day";r=%d;t=%d' % (max(0, day_left), _seconds(midnight))
    return render_fields(policy, b"%s, %s" % (_rate(rules.interval, left), day) if rules.interval else day)


def refusal(rules: Rules, rate_wait: float, day_wait: float) -> bytes:
    """``RateLimit`` of a refused request: only the quota that refused it, since ``Retry-After`` must not be
    earlier than the end of any window in it (§6)."""
    items = []
    if rules.interval and (rate_wait > 0 or day_wait <= 0):
        items.append(b'"rate";r=0;t=%d' % _seconds(rate_wait))
    if rules.most and (day_wait > 0 or not items):
        items.append(b'"day";r=0;t=%d' % _seconds(day_wait))
    return b", ".join(items)


@lru_cache(REMEMBERED)
def _rate_alone(policy: bytes, interval: float, left: int) -> RateLimitFields:
    return render_fields(policy, _rate(interval, left))


def _rate(interval: float, left: int) -> bytes:
    return b'"rate";r=%d;t=%d' % (left, _seconds((left or 1) * interval))


def _seconds(seconds: float) -> int:
    return math.ceil(seconds - MICRO) if seconds > 1 else 1
