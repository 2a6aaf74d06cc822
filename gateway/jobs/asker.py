"""JobAsker: asks for one job, through the resolver and as its tenant, and keeps what it is answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeVar

from msgspec import structs

from gateway.cache.keys import PUBLIC
from gateway.errors import DeadlineExceeded, GatewayError, Overload, RateLimited, TargetRefused
from gateway.jobs.asking import Answered, CallsExceeded
from gateway.jobs.job import Kept, Look, Plan
from gateway.jobs.log import JobLog
from gateway.jobs.means import Means, how_of, kept_of, refused
from gateway.proxy.callers import Requester
from gateway.tenants.tenant import Tenant
from gateway.upstream.pacing import Priority

T = TypeVar("T")

MOST_OUTSTANDING = 16
"""Calls of one job that may be outstanding, however fast the service may be asked."""
PATIENCE = 30.0
"""Seconds for which a call waits in the queue before it is asked for again, which keeps its place."""
SHORTEST, LONGEST = 0.2, 30.0
"""Seconds after which what could not be asked is tried again, whatever was said of it."""
LITERAL = frozenset({"report"})
"""Kinds of jobs that check answers against each other: what follows from one of them would prove nothing."""
LATENCY_WEIGHT = 0.2
"""The weight of the newest call in the mean time that calls take."""


class Outstanding:
    """The calls of one job that are outstanding: as many as rate × latency asks for, so that the budget is never
    idle for want of a question, and one more. ``rate`` is in calls per second.

    Once it is ``closed``, no call begins any more.
    """

    def __init__(self, rate: Callable[[], float], most: int = MOST_OUTSTANDING) -> None:
        self.closed = False
        self.count = 0
        self._rate = rate
        self._most = most
        self._latency = 0.0
        self._freed = asyncio.Condition()

    def __repr__(self) -> str:
        return f"<Outstanding {self.count} of {self.limit}>"

    @property
    def limit(self) -> int:
        asked_for = self._rate() * self._latency if self._latency else 0.0
        return 1 + int(min(asked_for, self._most - 1))

    def took(self, seconds: float) -> None:
        """Note how long the service took for a call."""
        weight = LATENCY_WEIGHT if self._latency else 1.0
        self._latency += (seconds - self._latency) * weight

    async def __aenter__(self) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: not self.closed and self.count < self.limit)
            self.count += 1

    async def idle(self) -> None:
        """Return once no call is outstanding."""
        async with self._freed:
            await self._freed.wait_for(lambda: not self.count)

    async def __aexit__(self, *_: object) -> None:
        self.count -= 1  # at once, as the caller may be cancelled while it waits for the lock
        async with self._freed:
            self._freed.notify_all()


class JobAsker:
    """The ``Asker`` of one job, whose calls have a ``priority``. Only answers with ``bodies`` are kept whole.

    The tenant is looked at anew for each question. Against its limit each call counts as a request; what is over
    the limit waits. So does what the gateway cannot ask now: a closed gate or a full queue is no answer.
    """

    def __init__(self, means: Means, log: JobLog, priority: Priority, *, bodies: bool = True) -> None:
        queue = means.resolver.queue
        self.outstanding = Outstanding(lambda: queue.budget.rate)
        self.log = log
        self._means = means
        self._queue = queue
        self._priority = priority
        self._bodies = bodies
        self._apart = asyncio.Lock()
        self._looks = 0
        self._called_for = log.standing.calls  # those that are not written yet, too
        self.scopes: set[tuple[str | None, str]] = set()  # institution and scope of all answers but public ones
        self._paid = 0  # requests taken from the tenant's limit, and not used yet

    def __repr__(self) -> str:
        return f"<JobAsker {self.log!r}, {self.outstanding!r}>"

    async def ask(self, target: str, *, since: float | None = None) -> Answered:
        """What comes of a target. Raises CallsExceeded, Withdrawn."""
        replayed = self._replayed(target, since)
        if replayed is not None:
            return self._noted(replayed).answered
        kept = await self._stored(target) if since is None else None
        if kept is None:
            kept = await self._called(target, since)
        await self.log.add([self._to_keep(kept, since)], durable=kept.called)
        self._count([kept])
        return self._noted(kept).answered

    async def stored(self, targets: Sequence[str]) -> list[Answered | None]:
        """What is known of these targets without asking; a refusal is known, too. Raises Withdrawn."""
        self._looks += 1
        looked = self.log.looked(self._looks)
        if looked is not None and len(looked) == len(targets):  # else it was a look of another version
            found = [
                self._replayed(each, None) if was == "1" else None
                for each, was in zip(targets, looked, strict=True)
            ]
        else:
            found = await asyncio.gather(*map(self._stored, targets))
            look = Look(self._looks, "".join(["0" if each is None else "1" for each in found]))
            known = [each for each in found if each is not None]
            await self.log.add([*[self._to_keep(each, None) for each in known], look])
            self._count(known)
        return [None if each is None else self._noted(each).answered for each in found]

    async def apart(self, function: Callable[[], T]) -> T:
        """The result of work that takes the processor, done in a thread, one piece at a time: side by side they
        would take no less, and keep the event loop waiting."""
        async with self._apart:
            return await asyncio.to_thread(function)

    def plan(self, cached: int, refused: int, calls: int) -> None:
        """Note what the job will take, unless a former leader has."""
        if self.log.standing.plan is None:
            self.log.plan(Plan(cached, refused, calls, calls * self.interval))

    def progress(self, done: int, total: int, calls_left: int) -> None:
        """Note that at most so many calls are left."""
        self.log.standing.calls_left = calls_left

    @property
    def interval(self) -> float:
        """Seconds between two calls at the budget; 0: unlimited."""
        return self._queue.budget.spacing

    def _tenant(self) -> Tenant:
        return self._means.tenant(self.log.job.tenant)

    def _requester(self) -> Requester:
        return Requester(f"job-{self.log.job.id}".encode(), self._tenant())

    def _replayed(self, target: str, since: float | None) -> Kept | None:
        """What a former leader was answered, where the tenant may still read that and it was not purged since."""
        kept = self.log.replayed(target, since)
        if kept is None or not self._means.may_read(self._tenant(), kept) or self._means.purged(kept).latest:
            return None
        return kept

    def _noted(self, kept: Kept) -> Kept:
        if kept.scope != PUBLIC:
            self.scopes.add((kept.institution, kept.scope))
        return kept

    def _count(self, new: Sequence[Kept]) -> None:
        hows = Counter([each.how for each in new])
        self._means.metrics.answered(self.log.job.kind, hows.items(), sum([each.called for each in new]))

    def _to_keep(self, kept: Kept, since: float | None) -> Kept:
        if since is None and self._bodies:
            return kept
        return structs.replace(kept, since=since, body=kept.body if self._bodies else b"")

    async def _stored(self, target: str) -> Kept | None:
        return await self._means.stored(self._requester(), target)

    # Calls

    async def _called(self, target: str, since: float | None) -> Kept:
        """What the service says, however long it takes until it may be asked."""
        begun = False  # whether a flight of ours is under way already
        while True:
            async with self.outstanding:
                if self._is_spent():
                    break
                await self._pay()
                try:
                    kept = await self._resolved(target, since, begun=begun)
                    self._called_for += kept.called
                    return kept
                except TargetRefused as error:
                    return refused(target, error, self._means.resolver.clock.now())
                except Overload as error:
                    begun = isinstance(error, DeadlineExceeded)
                    self._paid += 1
                    wait = min(max(error.retry_after or 0.0, SHORTEST), LONGEST)
            if not begun:
                await asyncio.sleep(wait)
        await self.outstanding.idle()  # what is under way counts, and its answers are kept
        raise CallsExceeded

    async def _resolved(self, target: str, since: float | None, *, begun: bool) -> Kept:
        requester = self._requester()
        try:
            lookup = self._means.lookup(requester, target, since)
            if self.log.job.kind in LITERAL:
                lookup = structs.replace(lookup, literal=True)
            resolution = await self._means.resolver.resolve(lookup, monotonic() + PATIENCE, self._priority)
        except Overload:
            raise
        except GatewayError as error:
            return refused(target, error, self._means.resolver.clock.now())
        how = how_of(resolution)
        if how == "joined" and begun:
            how = "call"
        if requester.stages.flown:
            self.outstanding.took(requester.stages.flown)
        called = how == "call" or (resolution.forwarded is not None and not resolution.forwarded.collapsed)
        self._paid += not called
        return kept_of(target, lookup, resolution.entry, how, called=called)

    def _is_spent(self) -> bool:
        """Whether one more call would be more than the job may make."""
        most = self.log.job.max_calls
        return most is not None and self._called_for + self.outstanding.count > most

    async def _pay(self) -> None:
        """Take one request from the tenant's limit, unless one is left over; wait until there is one."""
        while not self._paid:
            tenant = self._tenant()
            if tenant.limits.requests_per_second is None and tenant.limits.requests_per_day is None:
                return
            try:
                await self._means.admission.admit(tenant.id, tenant.limits)
            except RateLimited as error:
                await asyncio.sleep(min(error.retry_after or 0.0, LONGEST))
            else:
                return
        self._paid -= 1
