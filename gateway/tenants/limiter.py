"""Rate limiter: holds callers to their limits in the whole fleet, without a round trip for each request."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

from gateway.errors import CacheUnavailable, RateLimited
from gateway.redis import Client, Invocation, Script, invoke, redis_errors
from gateway.redis_cluster import ClusterClient
from gateway.tenants.lease import PATIENCE, Demand, Lease
from gateway.tenants.ratelimit import (
    DAY,
    MICRO,
    Grant,
    LocalLimits,
    RateLimitFields,
    Rules,
    Seen,
    policy,
    refusal,
    render_fields,
)
from gateway.tenants.tenant import TenantLimits

ADMIT = Script.load("gateway.tenants.lua", "admit.lua")
MOST = 10_000
"""Leases that this process keeps; the least recently used go first."""
TICK = 0.02
"""Seconds for which an exchange that nobody waits for collects the leases that fall due."""
TIDY = 0.5
SLICE = 1_000
"""Leases that are looked at in one turn of the event loop."""
BATCH = 100
"""Leases of one command: Redis does nothing else for as long as it runs, a millisecond."""


class Due(NamedTuple):
    """A subject's lease that is to be renewed, and the tokens that it returns."""

    subject: str
    lease: Lease
    returned: int = 0


class Exchange:
    """Leases that are renewed together, at once where that is ``urgent``."""

    def __init__(self) -> None:
        self.leases: list[Due] = []
        self.urgent = asyncio.Event()
        self.task: asyncio.Task[None]


class RateLimiter:
    """Each process takes requests from the fleet's limits ahead of their use, as a *lease*, and one on credit
    where it has none, so that a request waits only in a burst beyond the recent use. Leases that fall due together
    are renewed together, so that it takes as few commands for ten thousand callers as for one.

    ``fleet`` is the number of processes. It bounds a lease, and the share of each process while Redis is late or
    gone.
    """

    def __init__(self, client: Client, prefix: str, fleet: Callable[[], int]) -> None:
        self._client = client
        self._prefix = prefix
        self._fleet = fleet
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        self._next: Exchange | None = None
        # In a Cluster, keys of different callers are on different servers.
        self._batch = 1 if isinstance(client, ClusterClient) else BATCH

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
            subjects = list(self._leases)
            turns = range(0, max(1, len(subjects)), SLICE)
            for first in turns:
                await asyncio.sleep(TIDY / len(turns))
                self._tidy(subjects[first : first + SLICE], time.monotonic())

    async def stop(self) -> None:
        """Return every token, as far as Redis answers, once nothing is admitted any more."""
        if self._next is not None:
            self._next.urgent.set()
        tasks = {lease.task for lease in self._leases.values() if lease.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
        held = [
            Due(subject, lease, lease.tokens)
            for subject, lease in self._leases.items()
            if lease.tokens or lease.local.owed
        ]
        self._leases.clear()
        await self._renewed(held)

    def _tidy(self, subjects: Sequence[str], now: float) -> None:
        for subject in subjects:
            lease = self._leases.get(subject)
            if lease is not None and lease.task is None and not lease.is_cut_off(now):
                surplus = lease.surplus(now)
                if surplus or lease.local.owed:
                    self._renew(subject, lease, returned=surplus)

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
        self._renew(subject, lease)
        try:
            await asyncio.wait((waiter,), timeout=PATIENCE)
        except asyncio.CancelledError:
            lease.tokens += waiter.done() and waiter.result()
            raise
        finally:
            lease.waiting.pop(waiter, None)
        return waiter.result() if waiter.done() else lease.take_alone(time.monotonic())

    def _renew(self, subject: str, lease: Lease, *, returned: int = 0) -> None:
        """Have the lease renewed, together with others that fall due: soon, and at once where somebody waits."""
        if lease.task is None:
            if self._next is None:
                self._next = Exchange()
                self._next.task = asyncio.create_task(self._collect(self._next))
            self._next.leases.append(Due(subject, lease, returned))
            lease.task, lease.due_at = self._next.task, time.monotonic()
        if lease.waiting and self._next is not None and lease.task is self._next.task:
            self._next.urgent.set()

    async def _collect(self, exchange: Exchange) -> None:
        """Renew what falls due meanwhile."""
        timer = asyncio.get_running_loop().call_later(TICK, exchange.urgent.set)
        try:
            await exchange.urgent.wait()
        finally:
            timer.cancel()
            self._next = None
        await self._renewed(exchange.leases)

    async def _renewed(self, leases: Sequence[Due]) -> None:
        batches = [leases[first : first + self._batch] for first in range(0, len(leases), self._batch)]
        await asyncio.gather(*map(self._exchange, batches))

    async def _exchange(self, leases: Sequence[Due]) -> None:
        """Send the demands of some leases, and hand out what Redis grants to each; those that it does not answer
        are alone. Leases that somebody waits for by then are renewed once more."""
        now, fleet = time.monotonic(), max(1, self._fleet())
        try:
            demands = [lease.demand(now, fleet, returned=min(back, lease.tokens)) for _, lease, back in leases]
            rules = [lease.rules for _, lease, _ in leases]
            grants = await self._ask([due.subject for due in leases], rules, demands)
            now = time.monotonic()
            for (_, lease, _), demand, grant in zip(leases, demands, grants, strict=True):
                if grant is None:
                    lease.go_alone(now)
                else:
                    lease.receive(demand, grant, now)
        finally:
            for subject, lease, _ in leases:
                lease.task, lease.late_at = None, math.inf
                if lease.waiting:
                    self._renew(subject, lease)

    async def _ask(
        self, subjects: Sequence[str], rules: Sequence[Rules], demands: Sequence[Demand]
    ) -> list[Grant | None]:
        """The grants of demands, by one command; None where Redis does not answer, or a record is none."""
        keys = [self._key(subject) for subject in subjects]
        numbers = tuple(chain.from_iterable(map(arguments, rules, demands)))
        try:
            with redis_errors(self._client):
                admit = Invocation(ADMIT, keys[0], numbers, more_keys=tuple(keys[1:]))
                replies = await invoke(self._client, admit, list)
                answers = zip(demands, replies, strict=True)
                return [grant_of(reply) if isinstance(reply, list) else None for _, reply in answers]
        except CacheUnavailable:
            return [None] * len(demands)

    def _key(self, subject: str) -> str:
        name = blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._prefix}:limit:{{{name}}}"


def arguments(rules: Rules, demand: Demand) -> tuple[int, ...]:
    """What the script takes for one caller."""
    report, back, seen = demand.report, demand.returned, demand.report.seen
    limits = (round(rules.interval / MICRO), rules.burst, rules.most, demand.wanted)
    return (*limits, report.owed - back, report.spent - back, seen.born, seen.tat, seen.day, seen.count)


def grant_of(reply: Sequence[Any]) -> Grant:
    """What the script answers for one caller."""
    granted, level, midnight, *seen = (int(part) for part in reply)
    return Grant(granted, level * MICRO, midnight * MICRO, Seen(*seen))
