"""Sources: the answers that others can be derived from, as they are stored for whoever asks."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

from gateway.cache.entry import Entry
from gateway.cache.keys import PUBLIC
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.derivation.compare import Sources
from gateway.derivation.plans import Plan, plan_of
from gateway.derivation.rules import Source, source_of
from gateway.derivation.trust_store import Place
from gateway.errors import GatewayError
from gateway.proxy.callers import Requester
from gateway.proxy.lookup import Lookup, Resolution
from gateway.proxy.resolve import Resolver
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Tenant
from gateway.upstream.pacing import Priority

MOST_READ = 64
"""Sources that are kept as they were read; a ranking of 10,000 places takes some 300 KB."""
APART_FROM = 16_384
"""Bytes from which on a source is read off the event loop."""
ENOUGH = 3
"""Different questions that make a source worth asking for."""
MOST_WANTED = 4_096


class Derivable(NamedTuple):
    """A lookup that may be answered from sources, each as it is looked up in the same scope."""

    lookup: Lookup
    plan: Plan
    sources: tuple[Lookup, ...]
    place: Place


class Demand:
    """Which sources cover how many different questions that were asked a short while ago, in this process."""

    def __init__(self) -> None:
        self._wanted: OrderedDict[str, dict[str, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Demand for {len(self._wanted)} sources>"

    def noted(self, source: str, question: str, life: float) -> bool:
        """Notes that a question was asked; whether it is one of several within ``life`` seconds."""
        now = monotonic()
        recent = {each: at for each, at in self._wanted.get(source, {}).items() if now - at < life}
        recent.pop(question, None)
        recent[question] = now
        if len(recent) > ENOUGH:
            del recent[next(iter(recent))]
        self._wanted[source] = recent
        self._wanted.move_to_end(source)
        if len(self._wanted) > MOST_WANTED:
            self._wanted.popitem(last=False)
        return len(recent) >= ENOUGH


class Holders:
    """Tenants that hold the credential of an institution: of several, the first by id."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._serial = -1
        self._found: dict[str, Tenant] = {}

    def __repr__(self) -> str:
        return f"<Holders of {len(self._found)} institutions>"

    def holder(self, institution: str) -> Tenant | None:
        """The tenant as it is now; None where nobody holds it."""
        directory = self._registry.directory
        if directory.serial != self._serial:
            tenants = sorted(directory.tenants.values(), key=lambda tenant: tenant.id, reverse=True)
            self._found = {each: tenant for tenant in tenants if tenant.enabled for each in tenant.credentials}
            self._serial = directory.serial
        return self._found.get(institution)


class SourceReader:
    """Finds and reads sources.

    ``holder`` finds a tenant that holds an institution's credential. Where it is given, public totals are derived
    from rankings that this tenant may ask for: the operator says that those list nothing that is not public.
    """

    def __init__(self, resolver: Resolver, holder: Callable[[str], Tenant | None] | None = None) -> None:
        self.resolver = resolver
        self._holder = holder
        self._read: OrderedDict[tuple[str, float], asyncio.Future[Source | None]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SourceReader {len(self._read)} read>"

    def derivable(self, lookup: Lookup) -> Derivable | None:
        """The sources of a lookup's answer; None where no rule applies, or its caller may not ask for them in the
        very same scope, or the service refuses the credential that they need."""
        plan = plan_of(lookup.query)
        asker = None if plan is None else self._asker(lookup)
        if plan is None or asker is None:
            return None
        try:
            sources = tuple(self.resolver.lookup(asker, each, []) for each in plan.sources)
        except GatewayError:
            return None
        scope, place = lookup.access.scope, Place(lookup.access.scope, lookup.query.institution or "")
        alike = all(each.access.scope == scope for each in sources)
        if not alike and not (self._holder is not None and _is_public_total(lookup)):
            return None
        if any(self.resolver.is_withheld(each) for each in sources):
            return None
        return Derivable(lookup, plan, sources, place)

    def places_of(self, source: Lookup) -> list[Place]:
        """Where a source's answer may settle what is in doubt."""
        institution = source.query.institution or ""
        scopes = [source.access.scope, *([PUBLIC] if self._holder is not None else [])]
        return [Place(scope, institution) for scope in dict.fromkeys(scopes)]

    def _asker(self, lookup: Lookup) -> Requester | None:
        """Who asks for the sources of a lookup: its tenant, or for public totals one that holds the credential."""
        tenant: Tenant | None = lookup.requester.tenant
        institution = lookup.query.institution
        if self._holder is not None and _is_public_total(lookup) and tenant and institution:
            tenant = tenant if tenant.credential_for(institution) is not None else self._holder(institution)
        return None if tenant is None else Requester(lookup.requester.id, tenant)

    async def known(self, sources: Sequence[Lookup], since: float) -> list[Entry] | None:
        """The newest stored answer to each, fresh or not, as ``Resolver.known``; None where one is missing."""
        found = [await self.resolver.known(each, since) for each in sources]
        return None if None in found else [entry for entry in found if entry is not None]

    async def fresh(self, sources: Sequence[Lookup]) -> list[Entry | None]:
        """The fresh stored answer to each, None where there is none."""
        return [await self.resolver.stored(each) for each in sources]

    async def ask(
        self, source: Lookup, deadline: float, priority: Priority, since: float | None = None
    ) -> Resolution:
        """A source's answer, at the service where need be; none that was asked for before ``since``, in seconds
        since the epoch. Raises GatewayError."""
        if since is not None:
            source = source.after(since + self.resolver.clock.skew)
        return await self.resolver.resolve(source, deadline, priority)

    async def read(self, queries: Sequence[Query], entries: Sequence[Entry]) -> Sources | None:
        """The sources in these answers; None where one is an error, or cannot be read."""
        read = [await self._source(query, entry) for query, entry in zip(queries, entries, strict=True)]
        if not read or None in read:
            return None
        found = [source for source in read if source is not None]
        oldest, newest = min(entry.dispatched for entry in entries), max(entry.received for entry in entries)
        return Sources(found, oldest, newest)

    async def _source(self, query: Query, entry: Entry) -> Source | None:
        """A source as it was read once, however many ask for it at a time."""
        name = entry.key, entry.dispatched
        reading = self._read.get(name)
        if reading is None or reading.cancelled():
            reading = self._read[name] = asyncio.ensure_future(_read(query, entry))
            if len(self._read) > MOST_READ:
                self._read.popitem(last=False)
        self._read.move_to_end(name)
        return await asyncio.shield(reading)


async def _read(query: Query, entry: Entry) -> Source | None:
    if entry.status != 200:
        return None
    apart = len(entry.body) >= APART_FROM
    return await asyncio.to_thread(source_of, query, entry.body) if apart else source_of(query, entry.body)


def _is_public_total(lookup: Lookup) -> bool:
    """Whether it asks for totals without a credential."""
    return lookup.access.credential is None and lookup.query.family in (Family.TOTALS, Family.OVERVIEW)
