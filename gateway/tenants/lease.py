"""Lease: requests of one caller that this process may grant by itself, and those who wait for more.

LocalLimits: a caller's limits as one process knows them, and its share of them where Redis cannot say. Pure.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from gateway.tenants.ratelimit import DAY, NOTHING_TOLD, UNSEEN, Grant, Rules, Seen, Told, standing
from gateway.tenants.tenant import TenantLimits

GRAIN = 1e-6
"""What rounding may take from a whole request."""


@dataclass(frozen=True, slots=True)
class Report:
    """What Redis is told at a time (``at``): the requests granted here that it does not know of (``untold``), of
    these those that the rate has not made good since (``owed``) and those of today (``spent``); and what it said
    last (``seen``)."""

    at: float
    untold: int
    owed: int
    spent: int
    seen: Seen


class LocalLimits:
    """What Redis last said, and what this process granted since.

    Its share is what was left when Redis was heard, and what has come since, divided by the ``fleet``: a request
    costs as many as there are processes. One that never heard has its share of everything. Times are monotonic
    seconds. With the same ``fleet`` everywhere, all shares together are no more than what there was.
    ``whole_at`` is when the fleet's burst is whole again, by what Redis said.
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
        """Counts a request that is granted without asking Redis, which is to be told."""
        self._turn(now)
        self._tat = max(self._tat, now) + self._rules.interval * self.fleet
        self._spent += 1
        self.owed += 1

    def take(self, now: float) -> bool:
        """Grants one request of this process's share."""
        granted = max(self.share_waits(now)) <= 0
        if granted:
            self.charge(now)
        return granted

    def share_waits(self, now: float) -> tuple[float, float]:
        """Seconds until this process's share of the rate, and of the day, has a request."""
        self._turn(now)
        rules, fleet = self._rules, self.fleet
        ahead = (max(1, rules.burst // fleet) - 1) * rules.interval * fleet
        rate = self._tat - now - ahead - GRAIN if rules.interval else 0.0
        day_share = math.ceil(max(0, rules.most - self._count - self._others) / fleet)
        return max(0.0, rate), self._midnight - now if rules.most and self._spent >= day_share else 0.0

    def waits(self, now: float) -> tuple[float, float]:
        """Seconds until the fleet's rate, and its day, have a request, as far as is known here."""
        self._turn(now)
        rules = self._rules
        level = max(0.0, self.whole_at - now) + self._undone(now) * rules.interval
        return rules.wait(level, 0, 0.0), rules.wait(0.0, self._count + self._spent, self._midnight - now)

    def left(self, now: float) -> int:
        """What is left of the burst as far as is known here."""
        left = self._rules.burst
        if self.whole_at > now:
            left -= math.ceil((self.whole_at - now) / self._rules.interval - GRAIN)
        if self.owed:
            left -= self._undone(now)
        return left

    def day_left(self, now: float) -> tuple[int, float]:
        """What is left of the day as far as is known here, and seconds to midnight UTC."""
        self._turn(now)
        return self._rules.most - self._count - self._spent, self._midnight - now

    def report(self, now: float) -> Report:
        """What Redis is to be told."""
        self._turn(now)
        return Report(now, self.owed, self._undone(now), self._spent, self._seen)

    def hear(self, report: Report, grant: Grant, now: float, *, first: bool = False) -> int:
        """Notes the answer to a report. What was granted here since is paid from it first; the rest is returned.

        The level is taken for that of the time of asking: were it that of the answer, what came back under way
        would be lost each time, and with a slow Redis that is most. The ``first`` answer of a Redis that is back
        does not yet count what others granted meanwhile, which is supposed to be as much as here.
        """
        self.owed -= report.untold
        paid = min(self.owed, grant.granted)
        self.owed = self._spent = self.owed - paid
        self.whole_at = report.at + (grant.level if self._rules.interval else 0.0)
        tat = self.whole_at + self.owed * self._rules.interval * self.fleet
        self._tat = max(tat, self._tat) if first else tat
        self._others = (self.fleet - 1) * report.spent if first else 0
        self._seen, self._count, self._midnight = grant.seen, grant.seen.count, now + grant.midnight
        return grant.granted - paid

    def _undone(self, now: float) -> int:
        """Of what is owed, the requests that this process's share of the rate has not made good since."""
        if not (self.owed and self._rules.interval):
            return self.owed
        since = (self._tat - max(self.whole_at, now)) / (self._rules.interval * self.fleet)
        return max(0, min(self.owed, math.ceil(since - GRAIN)))

    def _turn(self, now: float) -> None:
        """A new day, where one has begun."""
        if now >= self._midnight:
            self._midnight += ((now - self._midnight) // DAY + 1) * DAY
            self._count = self._spent = self._others = 0


AHEAD_SECONDS = 0.5
"""How much use a lease is taken for in advance."""
STEEPEST = 4
"""By how much one lease may be larger than the use of the last."""
PATIENCE = 0.25
"""Seconds that a request may wait to hear what is left; then this process's own share decides."""
AGAIN = 0.5
"""Seconds after a failure in which Redis is not asked for this caller."""
SETTLE = 1.0
"""Seconds after Redis is back in which each process keeps to its share: until all have told what they granted."""
RECHECK = 5.0
"""Seconds after a refusal in which Redis is not asked; afterwards others may have given back what they took."""
IDLE = 1.0
"""Seconds whose use a lease may keep; what is more goes back."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a lease asks for, gives back, and reports."""

    wanted: int
    returned: int
    report: Report


@dataclass(slots=True, eq=False)
class Lease:
    """One caller's lease in this process; times are monotonic seconds.

    ``tokens`` may be granted at once; nothing else is before ``refused_until`` unless Redis says so, which is
    asked from ``asked_from`` on. While it is late with an answer, or until ``alone_until`` where it ``failed`` to
    give one, this process's share decides. ``used`` counts grants since ``since``, by which the next lease is
    sized.
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
    waiting: dict[asyncio.Future[bool], None] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    _left: int | None = None
    _told: Told = NOTHING_TOLD

    def take(self, now: float) -> bool:
        """Grants one request from the lease, from this process's share while it is alone, or one on credit while
        nothing else is owed; False: none of these."""
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

    def spend(self, now: float) -> Told | None:
        """``take`` and ``told`` in one for whoever is far from its rate: with tokens that need no renewal, nothing
        owed, and a whole burst. None: that is to be looked at, and nothing was taken."""
        local = self.local
        plenty = self.tokens * 3 > self.used + 3 and now >= local.whole_at and not local.owed
        if not plenty or self._left != self.rules.burst:
            return None
        self.tokens -= 1
        self.used += 1
        self.last = now
        return self._told

    def take_alone(self, now: float) -> bool:
        """Grants one request of this process's share."""
        granted = now >= self.refused_until and self.local.take(now)
        if granted:
            self._count(now)
        return granted

    def alone(self, now: float) -> bool:
        """Whether Redis is late with an answer, or failed to give one."""
        return now >= self.late_at or now < self.alone_until

    def hopeful(self, now: float) -> bool:
        """Whether Redis could say better than this process."""
        return now >= self.asked_from and now >= self.alone_until

    def low(self, now: float) -> bool:
        """Whether the lease should be renewed before it runs out."""
        if now < self.alone_until:
            return False
        return self.local.owed > 0 or (self.tokens * 3 < self.used and self.used > 2 and now >= self.refused_until)

    def surplus(self, now: float) -> int:
        """Tokens that are not likely to be used soon."""
        if now - self.last > IDLE:
            return self.tokens
        if now - self.since <= IDLE:
            return 0
        return max(0, self.tokens - math.ceil(self.used * IDLE / (now - self.since)))

    def demand(self, now: float, fleet: int, *, returned: int = 0) -> Demand:
        """What to ask of Redis, from now on: one for everyone who waits, and what is likely to be used soon.

        The latter never more than this process's part of what comes in the time, nor half its part of what is
        left of the day, so that others get theirs. What is given back is given up at once. Where Redis failed,
        and until all have told it what they granted, it is only told what is owed.
        """
        self.tokens -= returned
        elapsed = max(now - self.since, AHEAD_SECONDS / STEEPEST)
        ahead = 0.0 if returned else self.used * AHEAD_SECONDS / elapsed
        rules = self.rules
        if rules.interval:
            ahead = min(ahead, AHEAD_SECONDS / rules.interval / fleet, max(1, rules.burst / (2 * fleet)))
        if rules.most:
            ahead = min(ahead, self.local.day_left(now)[0] / (2 * fleet))
        self.used, self.since = 0, now
        self.late_at = now + PATIENCE
        report = self.local.report(now)
        self.local.fleet = fleet
        tells_only = self.failed or now < self.alone_until
        wanted = 0 if tells_only else len(self.waiting) + max(0, int(ahead) - self.tokens)
        return Demand(wanted, returned, report)

    def receive(self, demand: Demand, grant: Grant, now: float) -> None:
        """Hands out what was granted; where nothing is left, whoever still waits is refused."""
        self.late_at = math.inf
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
        """Redis could not be asked: this process's share decides for a while."""
        self.late_at, self.failed = math.inf, True
        self._keep_to_share(now, AGAIN)

    def waits(self, now: float) -> tuple[float, float]:
        """Seconds until the rate, and the day, have another request."""
        known = self.local.waits(now)
        if max(known) > 0 and not self.alone(now):
            return known
        share = self.local.share_waits(now)
        return max(known[0], share[0]), max(known[1], share[1])

    def told(self, now: float) -> Told:
        """What is left of burst and day, and seconds to midnight UTC: as last heard, and what came back since."""
        left = min(self.local.left(now) + self.tokens, self.rules.burst)
        if self.rules.most:
            day_left, midnight = self.local.day_left(now)
            return standing(self.policy, self.rules, left, day_left + self.tokens, midnight)
        if left != self._left:  # often it is as it was
            self._left, self._told = left, standing(self.policy, self.rules, left)
        return self._told

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
