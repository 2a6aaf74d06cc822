"""Admission: holds callers to their limits, in the whole fleet, without a round trip for each request."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from gateway.errors import CacheUnavailable, RateLimited
from gateway.redis import Client, Invocation, Script, invoke, invoke_all, redis_errors
from gateway.tenants.lease import PATIENCE, Demand, Lease, LocalLimits
from gateway.tenants.ratelimit import DAY, MICRO, Grant, Rules, Seen, Told, policy, refusal, told
from gateway.tenants.tenant import TenantLimits

ADMIT = Script.load("gateway.tenants.lua", "admit.lua")
MOST = 10_000
"""Callers whose lease this process keeps; the least recently seen go first."""
TIDY = 0.5
BATCH = 500


class Admission:
    """Each process takes requests from the fleet's limits ahead of their use, as a *lease*, and one on credit
    where it has none: so a request waits only where more come at once than one would expect.

    ``fleet`` is the number of processes, by which a lease is bounded, and the share of each while Redis is late or
    gone.
    """

    def __init__(self, client: Client, prefix: str, fleet: Callable[[], int]) -> None:
        self._client = client
        self._prefix = prefix
        self._fleet = fleet
        self._leases: OrderedDict[str, Lease] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Admission {len(self._leases)} leases>"

    def at_once(self, subject: str, limits: TenantLimits, now: float) -> Told | None:
        """As ``admit``, where that takes neither waiting nor a new lease; else None, and nothing is taken. ``now``
        is monotonic."""
        lease = self._leases.get(subject)
        if lease is None or lease.limits is not limits:
            return None
        told = lease.spend(now)
        if told is None:
            if not lease.take(now):
                return None
            if lease.task is None and lease.low(now):
                self._renew(subject, lease)
            told = lease.told(now)
        self._leases.move_to_end(subject)
        return told

    async def admit(self, subject: str, limits: TenantLimits) -> Told:
        """Takes one request of ``subject``, any text, from its limits; what its sender is told of what is left.
        Raises RateLimited."""
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
            return lease.told(now)
        waits = lease.waits(now)
        refused = told(lease.policy, refusal(lease.rules, *waits))
        raise RateLimited("Too many requests.", retry_after=max(waits), headers=list(refused.headers))

    async def run(self) -> None:
        """Gives back what is not used, and reports what is owed, until cancelled."""
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
        """Gives back everything, as far as Redis answers, once nothing is admitted any more."""
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
        """Gives back what a lease holds that is no longer kept."""
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
        """Asks until nobody waits who could be told more."""
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
        told = (report.owed - back, report.spent - back, seen.born, seen.tat, seen.day, seen.count)
        return Invocation(ADMIT, f"{self._prefix}:limit:{{{name}}}", (*limits, *told))
