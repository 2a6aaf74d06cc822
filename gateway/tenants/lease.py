"""Lease: the requests that a process took ahead from one caller's limits, and how many it takes next. No I/O."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from gateway.tenants.ratelimit import NO_FIELDS, Grant, LocalLimits, RateLimitFields, Report, Rules, fields_left
from gateway.tenants.tenant import TenantLimits

AHEAD_SECONDS = 0.5
"""The use for which a lease is taken in advance, in seconds."""
STEEPEST = 4
"""How many times larger a lease may be than the use of the last."""
HORIZON = 10.0
"""The use for which a small lease is taken in advance, and for how long it may rest, in seconds."""
SMALL = 4
"""How many times smaller than the largest such a lease is."""
PATIENCE = 0.25
"""Seconds that a request may wait for Redis; then this process's own share decides."""
AGAIN = 0.5
"""Seconds after a failure in which Redis is not asked for this caller."""
SETTLE = 1.0
"""Seconds after Redis is back in which each process keeps to its share: until all have reported their grants."""
RECHECK = 5.0
"""Seconds after a refusal in which Redis is not asked; by then others may have returned what they took."""
IDLE = 1.0
"""Seconds whose use a lease may keep; the surplus is returned."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The requests that a lease wants and returns, and its report."""

    wanted: int
    returned: int
    report: Report


@dataclass(slots=True, eq=False)
class Lease:
    """One caller's lease in this process: requests that it may grant by itself, and the callers that wait for
    more.

    ``tokens`` may be granted at once; nothing else is before ``refused_until`` unless Redis grants it, which is
    asked from ``asked_from`` on. While Redis is late, or until ``alone_until`` where it ``failed``, this process's
    share decides. ``used`` counts grants since ``since``, by which the next lease is sized. Times are monotonic
    seconds. ``due_at`` is when it last fell due, ``delay`` how long its last renewal took: Redis's time, and that
    of a busy event loop.
    """

    limits: TenantLimits
    rules: Rules
    local: LocalLimits
    policy: bytes = b""
    tokens: int = 0
    refused_until: float = 0.0
    asked_from: float = 0.0
    late_at: float = math.inf
    alone_until: float = 0.0
    failed: bool = False
    used: int = 0
    since: float = 0.0
    last: float = 0.0
    due_at: float = math.inf
    delay: float = 0.0
    waiting: dict[asyncio.Future[bool], None] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    _left: int | None = None
    _fields: RateLimitFields = NO_FIELDS

    def take(self, now: float) -> bool:
        """Grant one request from the lease, from this process's share while it is alone, or one on credit while
        nothing else is owed; False where none of these has one."""
        if self.tokens > 0:
            self.tokens -= 1
        elif self.alone(now):
            return self.take_alone(now)
        elif self.task is None and self.local.owed == 0 and now >= self.refused_until:
            self.local.charge(now)
        else:
            return False
        self.used += 1
        self.last = now
        return True

    def spend(self, now: float) -> RateLimitFields | None:
        """``take`` and ``fields`` in one for a caller far below its rate: with tokens that need no renewal,
        nothing owed, and a whole burst. None, and nothing is taken, for any other."""
        local = self.local
        plenty = self.tokens * 3 > self.used + 3 and now >= local.whole_at and not local.owed
        if not plenty or self._left != self.rules.burst:
            return None
        self.tokens -= 1
        self.used += 1
        self.last = now
        return self._fields

    def take_alone(self, now: float) -> bool:
        """Grant one request of this process's share, if it has one."""
        granted = now >= self.refused_until and self.local.take(now)
        if granted:
            self._count(now)
        return granted

    def alone(self, now: float) -> bool:
        """Whether Redis is late, or failed a moment ago."""
        return now >= self.late_at or now < self.alone_until

    def is_cut_off(self, now: float) -> bool:
        """Whether Redis failed a moment ago, and has not answered since."""
        return self.failed and now < self.alone_until

    def hopeful(self, now: float) -> bool:
        """Whether Redis may grant what this process cannot."""
        return now >= self.asked_from and now >= self.alone_until

    def low(self, now: float) -> bool:
        """Whether the lease should be renewed before it runs out."""
        if now < self.alone_until:
            return False
        return self.local.owed > 0 or (self.tokens * 3 < self.used and self.used > 2 and now >= self.refused_until)

    def surplus(self, now: float) -> int:
        """Tokens that are not likely to be used soon."""
        idle, elapsed = now - self.last, now - self.since
        if idle > HORIZON or not self.tokens:
            return self.tokens
        if elapsed <= IDLE >= idle:
            return 0
        soon = math.ceil(self.used * (IDLE + STEEPEST * self.delay) / elapsed) if idle <= IDLE else 0
        return max(0, self.tokens - max(soon, int(self._most(now, self.local.fleet) / SMALL)))

    def demand(self, now: float, fleet: int, *, returned: int = 0) -> Demand:
        """The next demand: one request for each caller that waits, and what is likely to be used soon.

        What is returned is given up at once. After a failure of Redis, and until all processes have reported,
        nothing is wanted and only what is owed is reported.
        """
        self.tokens -= returned
        ahead = 0.0 if returned else self._ahead(now, fleet)
        self.used, self.since = 0, now
        self.late_at = now + PATIENCE
        report = self.local.report(now)
        self.local.fleet = fleet
        reports_only = self.failed or now < self.alone_until
        wanted = 0 if reports_only else len(self.waiting) + max(0, int(ahead) - self.tokens)
        return Demand(wanted, returned, report)

    def _ahead(self, now: float, fleet: int) -> float:
        """The tokens that are likely to be used soon: when three quarters of them are, the rest has to last for a
        renewal as slow as the last. A caller far below its limits seldom asks: its lease is for longer, as long as
        it is small."""
        most = self._most(now, fleet)
        rate = self.used / max(now - self.since, AHEAD_SECONDS / STEEPEST)
        small = min(rate * HORIZON, self.used * STEEPEST, most / SMALL)
        return min(most, max(rate * (AHEAD_SECONDS + STEEPEST * self.delay), small))

    def _most(self, now: float, fleet: int) -> float:
        """The largest lease, so that other processes get theirs: this process's part of what accrues in the time,
        and half its part of the burst and of what is left of the day."""
        rules, most = self.rules, math.inf
        if rules.interval:
            most = min(AHEAD_SECONDS / rules.interval / fleet, max(1, rules.burst / (2 * fleet)))
        if rules.most:
            most = min(most, self.local.day_left(now)[0] / (2 * fleet))
        return most

    def receive(self, demand: Demand, grant: Grant, now: float) -> None:
        """Hand out a grant; where nothing is left, the callers that still wait are refused."""
        self.late_at = math.inf
        self.delay, self.due_at = max(0.0, now - self.due_at), math.inf
        self.tokens += self.local.hear(demand.report, grant, now, first=self.failed)
        wait = max(self.local.waits(now))
        self.refused_until, self.asked_from = now + wait, now + min(wait, RECHECK)
        if self.failed:
            self.failed = False
            self._keep_to_share(now, SETTLE)
        while self.tokens > 0 and self.waiting:
            self.tokens -= 1
            self._answer(granted=True)
            self._count(now)
        while wait > 0 and self.waiting:
            self._answer(granted=False)

    def go_alone(self, now: float) -> None:
        """Let this process's share decide for a while, after Redis failed."""
        self.late_at, self.failed = math.inf, True
        self._keep_to_share(now, AGAIN)

    def waits(self, now: float) -> tuple[float, float]:
        """Seconds until the rate, and the day, have another request."""
        known = self.local.waits(now)
        if max(known) > 0 and not self.alone(now):
            return known
        share = self.local.share_waits(now)
        return max(known[0], share[0]), max(known[1], share[1])

    def fields(self, now: float) -> RateLimitFields:
        """The fields for what is left of burst and day: by the last grant, and what accrued since."""
        left = min(self.local.left(now) + self.tokens, self.rules.burst)
        if self.rules.most:
            day_left, midnight = self.local.day_left(now)
            return fields_left(self.policy, self.rules, left, day_left + self.tokens, midnight)
        if left != self._left:  # often it is as it was
            self._left, self._fields = left, fields_left(self.policy, self.rules, left)
        return self._fields

    def _keep_to_share(self, now: float, seconds: float) -> None:
        self.alone_until = now + seconds
        while self.waiting:
            self._answer(granted=self.take_alone(now))

    def _answer(self, *, granted: bool) -> None:
        waiter = next(iter(self.waiting))
        del self.waiting[waiter]
        waiter.set_result(granted)

    def _count(self, now: float) -> None:
        self.used += 1
        self.last = now
