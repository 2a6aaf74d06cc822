"""Means: what jobs ask with, as their tenants: lookups, what is stored, and answers as a job keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.cache.entry import Entry
from gateway.cache.keys import PUBLIC
from gateway.cache.purges import PurgeTimes
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.errors import BadTarget, GatewayError, render
from gateway.jobs.asking import How
from gateway.jobs.job import Kept, hidden, withheld
from gateway.observe.job_metrics import JobMetrics
from gateway.observe.outcome import Outcome
from gateway.proxy.callers import Requester
from gateway.proxy.lookup import Lookup, Resolution
from gateway.proxy.resolve import Resolver
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Tenant

OURS = "/-/"
NEVER = PurgeTimes(0.0, 0.0)
NO_ANSWERS: tuple[How, ...] = ("refused", "made")
"""How what is no answer of the service came about."""


class Withdrawn(Exception):
    """The job's tenant is gone or disabled."""


@dataclass(frozen=True, slots=True)
class Means:
    """The parts of the gateway that jobs use. ``recognise`` takes path, query and whether there is a ``?``; it is
    not the one that remembers what dashboards ask, which a long list would displace. ``metrics`` count what jobs
    do."""

    resolver: Resolver
    registry: Registry
    admission: RateLimiter
    recognise: Callable[[bytes, bytes, bool], Query]
    metrics: JobMetrics

    def tenant(self, id: str) -> Tenant:
        """The tenant as it is now. Raises Withdrawn."""
        tenant = self.registry.directory.tenants.get(id)
        if tenant is None or not tenant.enabled:
            raise Withdrawn
        return tenant

    def may_read(self, tenant: Tenant, kept: Kept) -> bool:
        """Whether a tenant may read an answer that a job of its own keeps: what is not public, with the credential
        by which it was found, while the service accepts that."""
        if kept.scope == PUBLIC:
            return True
        credential = tenant.credential_for(kept.institution)
        own = credential is not None and credential.fingerprint == kept.scope
        return own and self.resolver.queue.breaker.refused_for(kept.scope) is None

    def shown(self, tenant: Tenant, kept: Kept) -> Kept:
        """An answer that a job of a tenant keeps, or the error in place of one that it may not read any more, or
        that was purged hard."""
        if not self.may_read(tenant, kept):
            return withheld(kept)
        return hidden(kept) if self.purged(kept).hard else kept

    def purged(self, kept: Kept) -> PurgeTimes:
        """When an answer that a job keeps was purged since it was asked for; 0 means never."""
        newest, order = self.resolver.purges.newest, kept.order or kept.at + self.resolver.clock.skew
        if order > newest.latest or kept.how in NO_ANSWERS:
            return NEVER
        marked = self.resolver.purges.covering(self.recognise(*parted(kept.target.encode()))) or NEVER
        return PurgeTimes(*[at if at >= order else 0.0 for at in (marked.soft, marked.hard)])

    def lookup(self, requester: Requester, target: str, since: float | None = None) -> Lookup:
        """The lookup of a target; of answers asked for after ``since``, in Unix seconds, where that is given.
        Raises Refusal."""
        if target.startswith(OURS):
            raise BadTarget("What is under /-/ is the gateway's own, and no question to the service")
        lookup = self.resolver.lookup(requester, self.recognise(*parted(target.encode())), [])
        if since is None:
            return lookup
        return lookup.after(since + self.resolver.clock.skew)

    async def stored(self, requester: Requester, target: str) -> Kept | None:
        """What is known of a target without asking: its fresh answer, or that it is refused."""
        try:
            lookup = self.lookup(requester, target)
        except GatewayError as error:
            return refused(target, error, self.resolver.clock.now())
        entry = await self.resolver.stored(lookup)
        return None if entry is None else kept_of(target, lookup, entry, "cached")


def kept_of(target: str, lookup: Lookup, entry: Entry, how: How, *, called: bool = False) -> Kept:
    """An entry as a job keeps it. What was asked for all first, and perhaps with the own credential after that,
    counts as the latter."""
    scope = (lookup.access.own or lookup.access).scope
    facts = (target, entry.status, entry.born or entry.received, how, entry.body)
    return Kept(*facts, institution=lookup.query.institution, scope=scope, called=called, order=entry.order)


def refused(target: str, error: GatewayError, at: float) -> Kept:
    """An error in an answer's place, as its client would get it."""
    status, _, body = render(error)
    return Kept(target, status, at, "refused", body, scope=PUBLIC, called=error.forwarded)


def how_of(resolution: Resolution) -> How:
    """How an answer came about."""
    if resolution.outcome is Outcome.STALE:
        return "stale"
    if resolution.forwarded is None:
        return "cached"
    return "joined" if resolution.forwarded.collapsed else "call"
