"""Lease: requests of one caller that this process may grant by itself, and those who wait for more."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from gateway.admission.grant import Grant, LocalLimits, Rules

AHEAD_SECONDS = 0.5
"""How much use a lease is taken for in advance."""
STEEPEST = 4
"""By how much one lease may be larger than the use of the last."""


@dataclass(slots=True, eq=False)
class Lease:
    """One caller's lease in this process; times are monotonic seconds.

    ``tokens`` may be granted at once; ``owed`` were granted on credit and are still to be told; nothing is granted
    before ``refused_until``. ``used`` counts grants since ``since``, by which the next lease is sized.
    """

    rules: Rules
    tokens: int = 0
    owed: int = 0
    refused_until: float = 0.0
    used: int = 0
    since: float = 0.0
    last: float = 0.0
    grant: Grant | None = None
    told_at: float = 0.0
    midnight_at: float = 0.0
    local: LocalLimits = field(default_factory=LocalLimits)
    waiting: deque[asyncio.Future[bool]] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None

    def take(self, now: float) -> bool:
        """Grants one request from the lease, or one on credit while nothing else is owed; False: neither."""
        if self.tokens > 0:
            self.tokens -= 1
        elif self.owed == 0 and now >= self.refused_until and self.task is None:
            self.owed = 1
        else:
            return False
        self._count(now)
        return True

    def wanted(self, now: float, fleet: int) -> int:
        """How many to ask for: one for everyone who waits, and what is likely to be used soon.

        The latter never more than this process's part of what comes in the time, so that others get theirs.
        """
        elapsed = max(now - self.since, AHEAD_SECONDS / STEEPEST)
        seen = ahead = self.used * AHEAD_SECONDS / elapsed
        if self.rules.interval:
            ahead = min(seen, AHEAD_SECONDS / self.rules.interval / fleet, max(1, self.rules.burst / (2 * fleet)))
        self.used, self.since = 0, now
        return len(self.waiting) + max(0, int(ahead) - self.tokens)

    def low(self) -> bool:
        """Whether the lease should be renewed before it runs out."""
        return self.owed > 0 or (self.tokens * 3 < self.used and self.used > 2)

    def receive(self, grant: Grant, now: float) -> None:
        """Hands out what was granted; where nothing is left, whoever still waits is refused."""
        self.grant, self.told_at, self.midnight_at = grant, now, now + grant.midnight
        paid = max(0, min(self.owed, grant.granted))  # for those who could not wait for it
        self.owed -= paid
        self.tokens += grant.granted - paid
        while self.tokens > 0 and self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                self.tokens -= 1
                self._count(now)
                waiter.set_result(True)
        if grant.wait > 0:
            self.refused_until = now + grant.wait
            while self.waiting:
                waiter = self.waiting.popleft()
                if not waiter.done():
                    waiter.set_result(False)

    def left(self, now: float) -> tuple[int, int, float]:
        """What is left of burst and day, and seconds to midnight UTC: as last told, and what came back since."""
        rules, grant, held = self.rules, self.grant, self.tokens - self.owed
        if grant is None:
            return rules.burst - self.used, rules.most - self.used, 0.0
        back = int((now - self.told_at) / rules.interval) if rules.interval else 0
        day_left = grant.day_left if now < self.midnight_at else rules.most
        return min(rules.burst, grant.left + back) + held, day_left + held, self.midnight_at - now

    def _count(self, now: float) -> None:
        self.used += 1
        self.last = now
