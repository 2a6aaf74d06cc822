"""Resolver: finds the answer to a query in the near cache, in Redis, or at the service, whoever asks for it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import NamedTuple

from msgspec import structs

from gateway.cache.control import NO_WISHES, WISHING, Lines, wishes_of
from gateway.cache.entry import Entry
from gateway.cache.keys import CacheKey, cache_key
from gateway.cache.purges import Purges, purged
from gateway.cache.rules import (
    Asked,
    Decision,
    Fetch,
    Refuse,
    Revalidate,
    Rules,
    Serve,
    ServeAndRefresh,
    Why,
    decide,
    overridden,
)
from gateway.cache.store import NOTHING, Found
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.errors import (
    CacheUnavailable,
    CredentialRefused,
    DeadlineExceeded,
    GatewayError,
    Headers,
    NotCached,
    ValidatorMismatch,
)
from gateway.observe.outcome import Forwarded, Outcome, clock
from gateway.proxy.callers import Requester, in_time
from gateway.proxy.fetch import Fetcher
from gateway.proxy.lookup import Derivations, Lookup, Resolution, Validity
from gateway.tenants.tenant import Access, Sharing, authorise, refuses
from gateway.upstream.flight import FlightRequest, FlightResult, Reuse, Work
from gateway.upstream.pacing import Priority
from gateway.upstream.queue import Queue
from gateway.upstream.snapshot import QueuePosition

ATTEMPTS = 3
"""Flights that a lookup joins at most: an error may echo another's spelling; the last is for its own alone."""


class Explanation(NamedTuple):
    """What a lookup would come to: the records ``found``, ``shared`` ones if Redis answers, what would be decided,
    for how long the credential is refused, and where a flight under way stands."""

    lookup: Lookup
    found: Found
    shared: bool
    decision: Decision
    refused_for: float | None
    standing: QueuePosition | None


class Resolver:
    """Finds answers for whoever asks; a look into Redis takes ``look_up_timeout`` seconds at most."""

    def __init__(
        self,
        fetcher: Fetcher,
        purges: Purges,
        sharing: Sharing,
        queue: Queue,
        rules: Rules,
        prefix: str,
        look_up_timeout: float,
    ) -> None:
        self.fetcher = fetcher
        self.profile = fetcher.profile
        self.store = fetcher.store
        self.clock = fetcher.store.clock
        self.purges = purges
        self.sharing = sharing
        self.queue = queue
        self._rules = rules
        self._prefix = prefix
        self._look_up_timeout = look_up_timeout
        self.derivations: Derivations | None = None

    def lookup(
        self,
        requester: Requester,
        query: Query,
        headers: Headers,
        access: Access | None = None,
        method: str = "GET",
    ) -> Lookup:
        """The lookup of a query for a request with these headers, in the requester's scope, or in that of
        ``access``. Raises Forbidden, Unauthenticated."""
        access = access or authorise(requester.tenant, query, self.sharing.covers)
        sent = self.profile.forwarded(query, method, headers)
        wishes = NO_WISHES if WISHING.isdisjoint([name for name, _ in headers]) else wishes_of(headers)
        key, marked = self.key(query, access, sent), self.purges.covering(query)
        return Lookup(requester, query, key, access, Asked(wishes, sent), marked)

    def key(self, query: Query, access: Access, sent: Lines = ()) -> CacheKey:
        """Where the answers to a query live in a scope; ``sent`` are the headers that go upstream."""
        return cache_key(self._prefix, access.scope, query.canonical, query.literal, tuple(sent))

    async def resolve(self, lookup: Lookup, deadline: float, priority: Priority = Priority.PEOPLE) -> Resolution:
        """The answer to a read, by ``deadline`` in monotonic seconds.

        What the service refuses to callers without a credential is looked up again with the caller's own. Raises
        the GatewayError that stands in an answer's way where nothing stored may stand in for it.
        """
        resolution = await self._resolve(lookup, deadline, priority)
        own = lookup.access.own
        if own is None or not _is_refusal(lookup, resolution.entry):
            return resolution
        await self.sharing.withdraw(lookup.query)
        lookup.requester.stages.near = False
        return await self._resolve(self._within(lookup, own), deadline, priority)

    async def stored(self, lookup: Lookup) -> Entry | None:
        """The fresh stored answer, without spending or moving anything; None where ``resolve`` would ask."""
        withheld = self.is_withheld(lookup)
        near, now = self.store.look_near(lookup.key), self.clock.now()
        decision = self._decide(lookup, near, now, withheld=withheld)
        if not isinstance(decision, Serve):
            decision = await self._decide_shared(lookup, math.inf)
        if not isinstance(decision, Serve) or (withheld and lookup.query.protected):
            return None
        return None if lookup.access.own is not None and _is_refusal(lookup, decision.entry) else decision.entry

    async def known(self, lookup: Lookup, since: float) -> Entry | None:
        """The newest stored answer, error records too, fresh or not; nothing that is purged or withheld. Redis is
        asked only where none is near that was dispatched ``since``, in seconds since the epoch."""
        if self.is_withheld(lookup):
            return None
        near = self._newest(lookup, self.store.look_near(lookup.key))
        if near is not None and near.dispatched >= since:
            return near
        try:
            return self._newest(lookup, await self.store.look_up(lookup.key))
        except CacheUnavailable:
            return near

    async def explain(self, lookup: Lookup) -> Explanation:
        """What ``resolve`` would do, without spending or moving anything."""
        explanation = await self._explain(lookup)
        own, decision = lookup.access.own, explanation.decision
        if own is None or not isinstance(decision, Serve) or not _is_refusal(lookup, decision.entry):
            return explanation
        return await self._explain(self._within(lookup, own))

    async def fly(
        self,
        lookup: Lookup,
        request: FlightRequest,
        work: Work,
        deadline: float,
        reuse: Callable[[], Reuse] | None = None,
    ) -> tuple[FlightResult, bool]:
        """The result of a flight, and whether this lookup led it. Without ``reuse`` its answer is for this lookup
        alone."""
        return await self.queue.land(
            request,
            work,
            _nothing if reuse is None else partial(self._recheck, lookup),
            max(0.0, deadline - monotonic()),
            reuse=reuse or (lambda: Reuse.NOBODY),
            ending=lookup.requester.ending,
        )

    async def _resolve(self, lookup: Lookup, deadline: float, priority: Priority) -> Resolution:
        """The answer from within one scope. What a refused credential's scope holds is withheld: one request is
        let through to see whether the service accepts it again (docs/decisions.md, 7)."""
        stages, withheld = lookup.requester.stages, self.is_withheld(lookup)
        if withheld and lookup.query.protected:
            decision = await self._probe(lookup, deadline)
        else:
            near = self.store.look_near(lookup.key)
            if near is not NOTHING:
                now = self.clock.now()
                decision = self._decide(lookup, near, now, withheld=withheld)
                if isinstance(decision, Serve):
                    stages.near, stages.looked_up = True, clock()
                    return self._stored(lookup, decision.entry, now)
            decision = await self._decide_shared(lookup, deadline)
        stages.looked_up = clock()
        match decision:
            case Serve(entry):
                return self._stored(lookup, entry, self.clock.now())
            case ServeAndRefresh(entry) if priority is not Priority.PEOPLE:
                decision = Revalidate((entry,), entry)  # nobody waits for it, and a job's calls are counted
            case Refuse():
                raise NotCached("Nothing stored answers this request, and only that was asked for.")
        derived = await self._derived(lookup, decision, deadline, priority)
        if derived is not None:
            return derived
        if isinstance(decision, ServeAndRefresh):
            self._refresh(lookup, decision.entry)
            return Resolution(decision.entry, Outcome.STALE, detail="refreshing")
        return await self._fetch(lookup, decision, deadline, priority)

    async def _derived(
        self, lookup: Lookup, decision: Fetch | Revalidate | ServeAndRefresh, deadline: float, priority: Priority
    ) -> Resolution | None:
        """What follows from other answers, instead of asking; None where nothing does, or the client insists."""
        if self.derivations is None or lookup.literal or lookup.asked.wishes is not NO_WISHES:
            return None
        if isinstance(decision, ServeAndRefresh):
            entry = decision.entry
            return await self.derivations.instead(lookup, (entry,), deadline, priority, stale=entry)
        stored = () if decision.fallback is None else (decision.fallback,)
        return await self.derivations.instead(lookup, stored, deadline, priority, stale=None)

    def _stored(self, lookup: Lookup, entry: Entry, now: float) -> Resolution:
        if entry.fresh_until <= now:
            return Resolution(entry, Outcome.STALE, detail="max-stale")
        if not lookup.requester.stages.near or lookup.asked.wishes is not NO_WISHES:
            return Resolution(entry, Outcome.HIT)
        key, access, serial = lookup.key, lookup.access, self.store.near.serial
        scope = access.scope if access.credential is not None and lookup.query.may_be_protected else None
        records, shared = (serial(key.entry), serial(key.error)), access.own is not None
        validity = Validity(lookup.query, lookup.marked, key, records, entry, scope, shared)
        return Resolution(entry, Outcome.HIT, validity=validity)

    def _within(self, lookup: Lookup, access: Access) -> Lookup:
        query = lookup.query
        key, marked = self.key(query, access, lookup.asked.headers), self.purges.covering(query)
        return structs.replace(lookup, access=access, key=key, marked=marked)

    # What is stored, and what to do about it

    async def _probe(self, lookup: Lookup, deadline: float) -> Decision:
        probing = self.queue.breaker.probe(lookup.access.scope, lookup.key.entry, lookup.requester.tenant.id)
        if not await in_time(probing, deadline):
            raise CredentialRefused("Unauthorized request")
        return Fetch(why=Why.MISS)

    async def _decide_shared(self, lookup: Lookup, deadline: float) -> Decision:
        """What to do by what Redis has, in one round trip."""
        try:
            shared = await in_time(self.store.look_up(lookup.key), deadline, self._look_up_timeout)
        except (CacheUnavailable, DeadlineExceeded):
            shared = NOTHING
        if not shared.entries or self.store.near.serial(lookup.key.error) is not None:
            near = self.store.look_near(lookup.key)  # it may have landed here while Redis took its time
            shared = Found(shared.entries or near.entries, shared.error or near.error)
        return self._decide(lookup, shared, self.clock.now(), withheld=self.is_withheld(lookup))

    def _decide(self, lookup: Lookup, found: Found, now: float, *, withheld: bool) -> Decision:
        entries: Sequence[Entry] = () if withheld else found.entries
        error = found.error
        if lookup.marked is not None or lookup.requester.tenant.lifetimes:
            entries = self._valid(lookup, entries)
            error = next(iter(self._valid(lookup, () if error is None else (error,))), None)
        return decide(lookup.asked, entries, error, now=now, rules=self._rules)

    def _valid(self, lookup: Lookup, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Stored entries with the tenant's own lifetimes, and after purges."""
        lifetimes = lookup.requester.tenant.lifetimes
        if entries and lifetimes:
            entries = overridden(entries, lifetimes)
        if entries and lookup.marked is not None:
            entries = purged(lookup.marked, entries)
        return entries

    def _newest(self, lookup: Lookup, found: Found) -> Entry | None:
        entries = [*found.entries, *([] if found.error is None else [found.error])]
        return max(self._valid(lookup, entries), key=lambda entry: entry.dispatched, default=None)

    def is_withheld(self, lookup: Lookup) -> bool:
        """Whether no stored answer counts, since the service refuses the credential that brought it. For an
        unknown endpoint that is no probe: it may be open as well."""
        access = lookup.access
        needed = access.credential is not None and lookup.query.may_be_protected
        return needed and self.queue.breaker.refused_for(access.scope) is not None

    async def _explain(self, lookup: Lookup) -> Explanation:
        shared = True
        try:
            found = await self.store.look_up(lookup.key)
        except CacheUnavailable:
            found, shared = self.store.look_near(lookup.key), False
        access, decision = lookup.access, self._decide(lookup, found, self.clock.now(), withheld=False)
        refused = None if access.credential is None else self.queue.breaker.refused_for(access.scope)
        try:
            standing = await self.queue.position(lookup.flight)
        except CacheUnavailable:
            standing = None
        return Explanation(lookup, found, shared, decision, refused, standing)

    # Flights

    async def _fetch(
        self, lookup: Lookup, decision: Fetch | Revalidate, deadline: float, priority: Priority
    ) -> Resolution:
        """The flight's landing, or what stands in for a failed one (RFC 5861 §4)."""
        requester, fallback, why = lookup.requester, decision.fallback, decision.why
        entries = decision.entries if isinstance(decision, Revalidate) else ()
        requester.flight = lookup.key.flight
        try:
            landing, led = await requester.while_connected(self._land(lookup, entries, deadline, priority))
            requester.landed(landing.flown, landing.trace, joined=not led)
            if landing.error is not None:
                raise landing.error
            assert landing.entry is not None
        except GatewayError as error:
            if fallback is None:
                raise
            forwarded = Forwarded(why, collapsed=requester.joined) if error.forwarded else None
            return Resolution(fallback, Outcome.STALE, forwarded, type(error).__name__)
        if led:
            self._observe(lookup, landing)
        (entry,) = overridden([landing.entry], requester.tenant.lifetimes)
        served = fallback if fallback is not None and landing.failed else entry
        forwarded = None
        if landing.asked:
            status = 304 if landing.revalidated else entry.status
            other = None if status == served.status else status
            forwarded = Forwarded(why, other, collapsed=not led, stored=landing.stored)
        if served is not entry:
            return Resolution(served, Outcome.STALE, forwarded, f"upstream-{entry.status}")
        if landing.revalidated:
            return Resolution(entry, Outcome.REVALIDATED, forwarded)
        if lookup.query.family is Family.UNKNOWN and not landing.stored:
            return Resolution(entry, Outcome.BYPASS, forwarded, "unknown-endpoint")
        return Resolution(entry, Outcome.MISS if led else Outcome.COLLAPSED, forwarded)

    async def _land(
        self, lookup: Lookup, entries: Sequence[Entry], deadline: float, priority: Priority
    ) -> tuple[FlightResult, bool]:
        """Join flights until one answers this very request: an error answer echoes its leader's spelling, and
        what may not be stored is, in front of any origin, for its own requester alone (RFC 9111 §4)."""
        work, exact = self.fetcher.fetch(lookup, entries), lookup.key.exact
        flight, shares = self._flight(lookup), self.profile.shares_unstored
        reuse = partial(self.fetcher.reuse, lookup)

        async def join(flight: str) -> tuple[FlightResult, bool]:
            request = lookup.request(flight, priority)
            landing, led = await self.fly(lookup, request, work, deadline, reuse)
            if isinstance(landing.error, ValidatorMismatch):
                return await self.fly(lookup, request, self.fetcher.fetch(lookup), deadline, reuse)
            return landing, led

        for _ in range(ATTEMPTS - 1):
            landing, led = await join(flight)
            if landing.answers(exact) and (led or landing.stored or shares):
                return landing, led
            if not shares:
                return await join(f"{flight}.{secrets.token_hex(8)}")
        return await join(f"{flight}.{exact}")

    def _observe(self, lookup: Lookup, landing: FlightResult) -> None:
        """Let derivations learn from what the service said."""
        if self.derivations is not None and landing.asked and landing.stored and landing.entry is not None:
            self.derivations.observed(lookup, landing.entry)

    def _refresh(self, lookup: Lookup, entry: Entry) -> None:
        """Begin a background flight that refreshes a stale entry."""
        work, recheck = self.fetcher.fetch(lookup, (entry,)), partial(self._recheck, lookup)

        def again(landing: FlightResult) -> Work | None:
            self._observe(lookup, landing)
            return self.fetcher.fetch(lookup) if isinstance(landing.error, ValidatorMismatch) else None

        self.queue.refresh(lookup.request(self._flight(lookup), Priority.REFRESH), work, recheck, again)

    def _flight(self, lookup: Lookup) -> str:
        """The flight to join. A lookup made after an invalidation never joins one that set out before."""
        invalidated = self.store.invalidated(lookup.key.entry)
        return f"{lookup.flight}.{invalidated}" if invalidated else lookup.flight

    async def _recheck(self, lookup: Lookup) -> FlightResult | None:
        """The answer that has been stored since, before a flight asks for it; None where there is none."""
        if lookup.query.protected and self.is_withheld(lookup):
            return None  # what the scope holds is withheld, from its probe too
        found = await self.store.look_up(lookup.key)
        decision = self._decide(lookup, found, self.clock.now(), withheld=self.is_withheld(lookup))
        return FlightResult(lookup.key.exact, decision.entry, stored=True) if isinstance(decision, Serve) else None


def _is_refusal(lookup: Lookup, entry: Entry) -> bool:
    return refuses(lookup.query, entry.status, entry.headers, entry.body)


async def _nothing() -> FlightResult | None:
    return None
