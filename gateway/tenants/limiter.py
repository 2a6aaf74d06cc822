"""Rate limiter: holds callers to their limits in the whole fleet, without a round trip for each request."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from gateway.errors import CacheUnavailable, RateLimited
from gateway.redis import Client, Invocation, Script, invoke, invoke_all, redis_errors
from gateway.tenants.ratelimit import (
    DAY,
    MICRO,
    NO_FIELDS,
    Grant,
    LocalLimits,
    RateLimitFields,
    Report,
    Rules,
    Seen,
    fields_left,
    policy,
    refusal,
    render_fields,
)
from gateway.tenants.tenant import TenantLimits

AHEAD_SECONDS = 0.5
"""The use for which a lease is taken in advance, in seconds."""
STEEPEST = 4
"""How many times larger a lease may be than the use of the last."""
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
    seconds.
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
        if now - self.last > IDLE:
            return self.tokens
        if now - self.since <= IDLE:
            return 0
        return max(0, self.tokens - math.ceil(self.used * IDLE / (now - self.since)))

    def demand(self, now: float, fleet: int, *, returned: int = 0) -> Demand:
        """The next demand: one request for each caller that waits, and what is likely to be used soon.

        The latter is never more than this process's part of what accrues in the time, nor half its part of what is
        left of the day, so that other processes get theirs. What is returned is given up at once. After a failure
        of Redis, and until all processes have reported, nothing is wanted and only what is owed is reported.
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
        reports_only = self.failed or now < self.alone_until
        wanted = 0 if reports_only else len(self.waiting) + max(0, int(ahead) - self.tokens)
        return Demand(wanted, returned, report)

    def receive(self, demand: Demand, grant: Grant, now: float) -> None:
        """Hand out a grant; where nothing is left, the callers that still wait are refused."""
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


ADMIT = Script.load("gateway.tenants.lua", "admit.lua")
MOST = 10_000
"""Leases that this process keeps; the least recently used go first."""
TIDY = 0.5
BATCH = 500


class RateLimiter:
    """Each process takes requests from the fleet's limits ahead of their use, as a *lease*, and one on credit
    where it has none, so that a request waits only in a burst beyond the recent use.

    ``fleet`` is the number of processes. It bounds a lease, and the share of each process while Redis is late or
    gone.
    """

    def __init__(self, client: Client, prefix: str, fleet: Callable[[], int]) -> None:
        self._client = client
        self._prefix = prefix
        self._fleet = fleet
        self._leases: OrderedDict[str, Lease] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RateLimiter {len(self._leases)} leases>"

    def at_once(self, subject: str, limits: TenantLimits, now: float) -> RateLimitFields | None:
        """``admit`` where that takes neither waiting nor a new lease; else None, and nothing is taken. ``now`` is
        in monotonic seconds."""
        lease = self._leases.get(subject)
        if lease is None or lease.limits is not limits:
            return None
        fields = lease.spend(now)
        if fields is None:
            if not lease.take(now):
                return None
            if lease.task is None and lease.low(now):
                self._renew(subject, lease)
            fields = lease.fields(now)
        self._leases.move_to_end(subject)
        return fields

    async def admit(self, subject: str, limits: TenantLimits) -> RateLimitFields:
        """Take one request of ``subject``, any text, from its limits; return the fields of its response. Raises
        RateLimited."""
        now = time.monotonic()
        lease = self._leases.get(subject)
        if lease is None or lease.limits is not limits:
            lease = self._lease(subject, limits, now)
        self._leases.move_to_end(subject)
        granted = lease.take(now)
        if not granted and lease.hopeful(now):
            granted = await self._wait(subject, lease)
            now = time.monotonic()
        if lease.task is None and lease.low(now):
            self._renew(subject, lease)
        if granted:
            return lease.fields(now)
        waits = lease.waits(now)
        refused = render_fields(lease.policy, refusal(lease.rules, *waits))
        raise RateLimited("Too many requests.", retry_after=max(waits), headers=list(refused.headers))

    async def run(self) -> None:
        """Return what is not used, and report what is owed, until cancelled."""
        while True:
            await asyncio.sleep(TIDY)
            for subject, lease in list(self._leases.items()):
                now = time.monotonic()
                surplus = lease.surplus(now)
                if lease.task is None and (surplus or lease.local.owed):
                    await asyncio.wait({self._renew(subject, lease, returned=surplus)})
                    if lease.failed:
                        break

    async def stop(self) -> None:
        """Return every token, as far as Redis answers, once nothing is admitted any more."""
        tasks = [lease.task for lease in self._leases.values() if lease.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
        now, fleet = time.monotonic(), max(1, self._fleet())
        held = [(s, lease) for s, lease in self._leases.items() if lease.tokens or lease.local.owed]
        back = [self._invocation(s, each.rules, each.demand(now, fleet, returned=each.tokens)) for s, each in held]
        self._leases.clear()
        try:
            for start in range(0, len(back), BATCH):
                await invoke_all(self._client, back[start : start + BATCH])
        except CacheUnavailable:
            return

    def _lease(self, subject: str, limits: TenantLimits, now: float) -> Lease:
        """The subject's lease; a new one where it has none, or its limits were changed."""
        lease, rules = self._leases.get(subject), Rules.of(limits)
        if lease is not None and lease.rules == rules:
            lease.limits = limits
            return lease
        if lease is not None:
            self._drop(subject, lease)
        local = LocalLimits(rules, now + DAY - time.time() % DAY, max(1, self._fleet()))
        lease = self._leases[subject] = Lease(limits, rules, local, policy(rules), since=now)
        if len(self._leases) > MOST:
            self._drop(*self._leases.popitem(last=False))
        return lease

    def _drop(self, subject: str, lease: Lease) -> None:
        """Return the tokens of a lease that is no longer kept."""
        if lease.task is None and (lease.tokens or lease.local.owed) and not lease.alone(time.monotonic()):
            self._renew(subject, lease, returned=lease.tokens)

    async def _wait(self, subject: str, lease: Lease) -> bool:
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        lease.waiting[waiter] = None
        if lease.task is None:
            self._renew(subject, lease)
        try:
            await asyncio.wait((waiter,), timeout=PATIENCE)
        except asyncio.CancelledError:
            lease.tokens += waiter.done() and waiter.result()
            raise
        finally:
            lease.waiting.pop(waiter, None)
        return waiter.result() if waiter.done() else lease.take_alone(time.monotonic())

    def _renew(self, subject: str, lease: Lease, *, returned: int = 0) -> asyncio.Task[None]:
        lease.task = asyncio.create_task(self._exchange(subject, lease, returned))
        return lease.task

    async def _exchange(self, subject: str, lease: Lease, returned: int) -> None:
        """Send demands until nobody waits."""
        try:
            while True:
                demand = lease.demand(
                    time.monotonic(), max(1, self._fleet()), returned=min(returned, lease.tokens)
                )
                try:
                    grant = await self._ask(subject, lease.rules, demand)
                except CacheUnavailable:
                    lease.go_alone(time.monotonic())
                else:
                    lease.receive(demand, grant, time.monotonic())
                if not lease.waiting:
                    return
                returned = 0
        finally:
            lease.task, lease.late_at = None, float("inf")

    async def _ask(self, subject: str, rules: Rules, demand: Demand) -> Grant:
        with redis_errors(self._client):
            reply: Any = await invoke(self._client, self._invocation(subject, rules, demand))
            granted, level, midnight, *seen = (int(part) for part in reply)
            return Grant(granted, level * MICRO, midnight * MICRO, Seen(*seen))

    def _invocation(self, subject: str, rules: Rules, demand: Demand) -> Invocation:
        name = blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        report, back, seen = demand.report, demand.returned, demand.report.seen
        limits = (round(rules.interval / MICRO), rules.burst, rules.most, demand.wanted)
        reported = (report.owed - back, report.spent - back, seen.born, seen.tat, seen.day, seen.count)
        return Invocation(ADMIT, f"{self._prefix}:limit:{{{name}}}", (*limits, *reported))
