"""Admission: holds callers to their limits, in the whole fleet, without a round trip for each request."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from gateway.admission.grant import Grant, Rules
from gateway.admission.lease import Lease
from gateway.admission.policy import told
from gateway.errors import CacheUnavailable, Headers, RateLimited
from gateway.redis_client import Client, redis_errors
from gateway.scripts import Invocation, Script, invoke
from gateway.tenants.tenant import TenantLimits

ADMIT = Script.load("gateway.admission", "admit.lua")
MOST = 10_000
"""Callers whose lease this process keeps; the least recently seen go first."""
PATIENCE = 0.25
"""Seconds that a request may wait to hear what is left; then this process's own share decides."""
IDLE = 1.0
"""Seconds after which what is left of a lease goes back."""
TIDY = 0.5
MICRO = 1e-6

rules_of = lru_cache(4_096)(Rules.of)


@dataclass(frozen=True, slots=True)
class Standing:
    """An admitted request: the ``headers`` that tell its sender what is left."""

    headers: Headers


class Admission:
    """Each process takes requests from the fleet's limits ahead of their use, as a *lease*, and one on credit
    where it has none: so a request waits only where more come at once than one would expect.

    ``fleet`` is the number of processes, by which a lease is bounded, and the share of each where Redis is gone.
    """

    def __init__(self, client: Client, prefix: str, fleet: Callable[[], int]) -> None:
        self._client = client
        self._prefix = prefix
        self._fleet = fleet
        self._leases: OrderedDict[str, Lease] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Admission {len(self._leases)} leases>"

    async def admit(self, subject: str, limits: TenantLimits) -> Standing:
        """Takes one request of ``subject``, any text, from its limits. Raises RateLimited."""
        rules = rules_of(limits)
        lease = self._lease(subject, rules)
        now = time.monotonic()
        granted = lease.take(now)
        if not granted and now >= lease.refused_until:
            granted = await self._wait(subject, lease)
        if lease.task is None and lease.low():
            self._renew(subject, lease)
        headers = self._told(lease)
        if not granted:
            left = max(0.0, lease.refused_until - time.monotonic())
            raise RateLimited("Too many requests.", retry_after=left, headers=headers)
        return Standing(headers)

    async def run(self) -> None:
        """Gives back what is not used, until cancelled."""
        while True:
            await asyncio.sleep(TIDY)
            now = time.monotonic()
            for subject, lease in list(self._leases.items()):
                if lease.tokens > 0 and lease.task is None and now - lease.last > IDLE:
                    lease.owed, lease.tokens = lease.owed - lease.tokens, 0
                    lease.used = 0
                    self._renew(subject, lease)

    def _lease(self, subject: str, rules: Rules) -> Lease:
        lease = self._leases.get(subject)
        if lease is None or lease.rules != rules:
            lease = self._leases[subject] = Lease(rules, since=time.monotonic())
            if len(self._leases) > MOST:
                self._leases.popitem(last=False)
        self._leases.move_to_end(subject)
        return lease

    async def _wait(self, subject: str, lease: Lease) -> bool:
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        lease.waiting.append(waiter)
        if lease.task is None:
            self._renew(subject, lease)
        try:
            async with asyncio.timeout(PATIENCE):
                return await waiter
        except TimeoutError:
            granted = self._alone(lease, wanted=1, owed=0).granted
            lease.owed += granted  # Redis may only be slow, and is to know
            return granted > 0

    def _renew(self, subject: str, lease: Lease) -> None:
        lease.task = asyncio.create_task(self._exchange(subject, lease))

    async def _exchange(self, subject: str, lease: Lease) -> None:
        """Asks until nobody waits who could be told more."""
        try:
            while True:
                owed, lease.owed = lease.owed, 0
                wanted = lease.wanted(time.monotonic(), max(1, self._fleet()))
                try:
                    grant = await self._ask(subject, lease.rules, wanted, owed)
                except CacheUnavailable:
                    grant = self._alone(lease, wanted, max(0, owed))
                lease.receive(grant, time.monotonic())
                if not lease.waiting:
                    return
        finally:
            lease.task = None

    async def _ask(self, subject: str, rules: Rules, wanted: int, owed: int) -> Grant:
        name = blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        arguments = (round(rules.interval / MICRO), rules.burst, rules.most, wanted, owed)
        with redis_errors(self._client):
            reply: Any = await invoke(
                self._client, Invocation(ADMIT, f"{self._prefix}:limit:{{{name}}}", arguments)
            )
            granted, wait, left, day_left, midnight = (int(part) for part in reply)
        return Grant(granted, wait * MICRO, left, day_left, midnight * MICRO)

    def _alone(self, lease: Lease, wanted: int, owed: int) -> Grant:
        share = lease.rules.share(max(1, self._fleet()))
        return lease.local.take(share, time.time(), wanted=wanted, owed=owed)

    def _told(self, lease: Lease) -> Headers:
        return told(lease.rules, *lease.left(time.monotonic()))
