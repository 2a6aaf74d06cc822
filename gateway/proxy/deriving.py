"""Deriving: answers that follow from other answers by rules that are trusted, in place of a call.

What is derived is stored nowhere: it is made of its source for each request, and is as old as that. So there is
nothing to take back once a rule is suspended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from time import monotonic

from gateway.cache.entry import Entry
from gateway.cache.lifetimes import Lifetimes, rule_of
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.derivation.compare import Sources
from gateway.derivation.plans import FAMILIES
from gateway.derivation.rules import Rule
from gateway.derivation.trust import State, Trust
from gateway.derivation.trust_book import TrustBook
from gateway.derivation.trust_store import Subjects
from gateway.errors import CacheUnavailable, DeadlineExceeded, GatewayError
from gateway.observe.outcome import Forwarded, Outcome
from gateway.proxy.callers import in_time
from gateway.proxy.lookup import Lookup, Resolution
from gateway.proxy.shadow import SHARE, Shadow
from gateway.proxy.sources import Demand, Derivable, SourceReader
from gateway.setting_values import Derive
from gateway.upstream.pacing import Priority
from gateway.upstream.tasks import Background

ONE_IN = 50
"""Of so many derived answers one is asked for instead, and compared."""
CHECKED_SECONDS = 3_600.0
"""After which the next one is, however few there were."""
FAILED_SECONDS = 60.0
"""For so long nobody waits for a source that could not be had."""
PART = 0.5
"""The part of a caller's patience that a source may take before its question is asked for itself."""
RANKING, ASSEMBLED = "ranking", "assembled"
"""What ``Cache-Status`` says of answers out of rankings, and of sums of days."""
SERVED = frozenset({Priority.PEOPLE, Priority.JOBS})
"""Who may get a derived answer. Warming wants answers stored, and none of these is."""
KEPT = frozenset({b"content-type", b"date"})
"""The headers of a source that its derivations have, too."""


@dataclass(frozen=True, slots=True)
class Modes:
    """How far derivation goes: for a tenant, else for a family, else for all."""

    derive: Derive = "shadow"
    by_family: Mapping[str, Derive] = field(default_factory=dict)
    by_tenant: Mapping[str, Derive] = field(default_factory=dict)

    @property
    def never(self) -> bool:
        """Whether it is off for all."""
        return {self.derive, *self.by_family.values(), *self.by_tenant.values()} == {"off"}

    def of(self, tenant: str, family: Family) -> Derive:
        """The mode of a tenant's queries of a family."""
        return self.by_tenant.get(tenant) or self.by_family.get(family) or self.derive


class Checks:
    """Says which derived answers are asked for instead, to be compared: one of so many of a subject, and one an
    hour, all of them within a small part of the budget. ``spacing`` is between two of this process's own, in
    seconds."""

    def __init__(self, spacing: Callable[[], float]) -> None:
        self._spacing = spacing
        self._next = 0.0
        self._since: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Checks of {len(self._since)} subjects>"

    def due(self, name: str, trust: Trust, now: float) -> bool:
        """Whether an answer is to be checked; ``name`` is the subject's, with its place."""
        count = self._since[name] = self._since.get(name, 0) + 1
        if (count < ONE_IN and now - trust.checked_at < CHECKED_SECONDS) or monotonic() < self._next:
            return False
        self._since[name] = 0
        self._next = monotonic() + self._spacing() / SHARE
        return True


class Deriver:
    """Derives answers where that is on; ``report`` is called with the rule of each that is served."""

    def __init__(
        self,
        modes: Modes,
        reader: SourceReader,
        book: TrustBook,
        shadow: Shadow,
        lifetimes: Lifetimes,
        report: Callable[[str], object],
    ) -> None:
        queue = reader.resolver.queue
        self.modes = modes
        self.book = book
        self.shadow = shadow
        self._reader = reader
        self._lifetimes = lifetimes
        self._report = report
        self._demand = Demand()
        self._checks = Checks(lambda: queue.budget.spacing * queue.fleet.processes)
        self._background = Background()
        self._refreshing: set[str] = set()
        self._failed: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Deriver {self.modes.derive}>"

    async def stop(self) -> None:
        """End what is under way."""
        await self.shadow.stop()
        for task in [*self._background.tasks]:
            task.cancel()
        await asyncio.gather(*self._background.tasks, return_exceptions=True)

    def observed(self, lookup: Lookup, entry: Entry) -> None:
        """Have an answer of the service compared with what could have been derived."""
        mode = self.modes.of(lookup.requester.tenant.id, lookup.query.family)
        if mode != "off" and lookup.query.family in FAMILIES:
            self.shadow.observed(lookup, entry, serves=mode == "on")

    async def instead(
        self, lookup: Lookup, stored: Sequence[Entry], deadline: float, priority: Priority, *, stale: Entry | None
    ) -> Resolution | None:
        """What follows from fresh sources by a trusted rule, before the ``deadline``. Sources that several
        questions miss, or a batch wants, are asked for first; meanwhile, what is ``stale`` is served."""
        if priority not in SERVED or self.modes.of(lookup.requester.tenant.id, lookup.query.family) != "on":
            return None
        try:
            return await in_time(self._instead(lookup, stored, deadline, priority, stale), deadline)
        except DeadlineExceeded:  # Redis took what was left
            return None

    async def _instead(
        self, lookup: Lookup, stored: Sequence[Entry], deadline: float, priority: Priority, stale: Entry | None
    ) -> Resolution | None:
        derivable = self._reader.derivable(lookup)
        trusted = None if derivable is None else await self._trusted(derivable)
        if derivable is None or not trusted:
            return None
        wanted, entries = self._wanted(derivable, priority), await self._reader.fresh(derivable.sources)
        if None not in entries:
            return await self._derived(derivable, trusted, _present(entries), stored, None)
        if not wanted:
            return None
        missing = [source for source, entry in zip(derivable.sources, entries, strict=True) if entry is None]
        if stale is not None:
            self._refresh(missing)
            return Resolution(stale, Outcome.STALE, detail="refreshing")
        asking = self._ask(missing, monotonic() + PART * (deadline - monotonic()), priority)
        forwarded = await lookup.requester.while_connected(asking)
        entries = await self._reader.fresh(derivable.sources)
        if None in entries:
            return None
        return await self._derived(derivable, trusted, _present(entries), stored, forwarded)

    async def explain(self, lookup: Lookup) -> list[Mapping[str, str]]:
        """The rules that may answer a lookup, with their trust. Raises CacheUnavailable."""
        mode = self.modes.of(lookup.requester.tenant.id, lookup.query.family)
        derivable = None if mode == "off" else self._reader.derivable(lookup)
        if derivable is None:
            return []
        known = await self.book.of(derivable.place)
        return [
            {"rule": rule.name, "subject": subject, "state": known.get(subject, Trust()).state, "mode": mode}
            for subject, rule in derivable.plan.rules
        ]

    async def _trusted(self, derivable: Derivable) -> Subjects:
        """The trusted subjects of its rules; none while Redis does not answer."""
        try:
            known = await self.book.of(derivable.place)
        except CacheUnavailable:
            return {}
        subjects = [subject for subject, _ in derivable.plan.rules]
        return {each: known[each] for each in subjects if each in known and known[each].state is State.TRUSTED}

    def _wanted(self, derivable: Derivable, priority: Priority) -> bool:
        """Whether the missing sources are worth asking for, and none of them failed a moment ago."""
        if any(monotonic() < self._failed.get(each.key.entry, 0.0) for each in derivable.sources):
            return False
        if priority is Priority.JOBS and len(derivable.sources) == 1:
            return True
        question, now = derivable.lookup.key.entry, self.book.now()
        lives = [self._lifetimes.of(rule_of(each.query, now)) for each in derivable.sources]
        noted = [
            self._demand.noted(each.key.entry, question, life)
            for each, life in zip(derivable.sources, lives, strict=True)
        ]
        return all(noted)

    async def _ask(self, sources: Sequence[Lookup], deadline: float, priority: Priority) -> Forwarded | None:
        """Ask for sources side by side; why the service was asked, None where it was not, or failed."""
        asked = [self._reader.ask(source, deadline, priority) for source in sources]
        found = await asyncio.gather(*asked, return_exceptions=True)
        for source, each in zip(sources, found, strict=True):
            if isinstance(each, Resolution):
                if each.entry.status != 200 or each.outcome is Outcome.STALE:
                    self._fails(source)
            elif isinstance(each, GatewayError):
                self._fails(source)
            else:
                raise each
        return next((each.forwarded for each in found if isinstance(each, Resolution)), None)

    def _fails(self, source: Lookup) -> None:
        """Do without a source for a while, since nobody should wait for it in vain."""
        now = monotonic()
        self._failed = {each: until for each, until in self._failed.items() if until > now}
        self._failed[source.key.entry] = now + FAILED_SECONDS

    def _refresh(self, sources: Sequence[Lookup]) -> None:
        """Have sources asked for that nobody waits for, each once at a time."""
        for source in sources:
            if source.key.entry not in self._refreshing:
                self._refreshing.add(source.key.entry)
                self._background.spawn(self._refreshed(source))

    async def _refreshed(self, source: Lookup) -> None:
        try:
            await self._ask([source], monotonic() + self._lifetimes.totals, Priority.REFRESH)
        finally:
            self._refreshing.discard(source.key.entry)

    async def _derived(
        self,
        derivable: Derivable,
        trusted: Mapping[str, Trust],
        entries: Sequence[Entry],
        stored: Sequence[Entry],
        forwarded: Forwarded | None,
    ) -> Resolution | None:
        sources = await self._reader.read(derivable.plan.sources, entries)
        if sources is None or self._is_outdated(derivable.lookup, entries, stored):
            return None
        query = derivable.lookup.query
        for subject, rule in derivable.plan.rules:
            body = None if subject not in trusted else _body(rule, query, sources, trusted[subject])
            if body is None:
                continue
            if self._checks.due(f"{derivable.place.name}:{subject}", trusted[subject], self.book.now()):
                return None
            self._report(rule.name)
            entry = _entry(derivable.lookup, entries, body)
            detail = ASSEMBLED if query.family is Family.TIMELINE else RANKING
            if forwarded is None:
                return Resolution(entry, Outcome.HIT, detail=detail)
            outcome = Outcome.COLLAPSED if forwarded.collapsed else Outcome.MISS
            return Resolution(entry, outcome, forwarded, detail)
        return None

    def _is_outdated(self, lookup: Lookup, sources: Sequence[Entry], stored: Sequence[Entry]) -> bool:
        """Whether the sources are from before what is stored of the question itself, though that is stale, or from
        before it was purged or may have been changed."""
        oldest = min(entry.order for entry in sources)
        if lookup.marked is not None and oldest <= lookup.marked.latest:
            return True
        changed = self._reader.resolver.store.invalidated(lookup.key.entry) != ""
        return changed or any(entry.order > oldest for entry in stored)


def _present(entries: Sequence[Entry | None]) -> list[Entry]:
    return [entry for entry in entries if entry is not None]


def _body(rule: Rule, query: Query, sources: Sources, trust: Trust) -> bytes | None:
    """What follows by a rule that is trusted in this kind of answers."""
    derived = rule.derived(query, sources.read)
    if derived is None or not trust.serves(derived.kind):
        return None
    return rule.layout.written(trust.styles, derived.numbers)


def _entry(lookup: Lookup, entries: Sequence[Entry], body: bytes) -> Entry:
    """A derived answer: as old as the oldest of its sources, and fresh for as long as all of them."""
    oldest = min(entries, key=lambda entry: entry.born or entry.received)
    digest = blake2b(body, digest_size=12).hexdigest()
    return Entry(
        f"{lookup.key.entry}:{digest}",
        200,
        [pair for pair in oldest.headers if pair[0] in KEPT],
        body,
        b'"' + digest.encode() + b'"',
        min(entry.dispatched for entry in entries),
        oldest.received,
        min(entry.fresh_until for entry in entries),
        serve_until=0.0,
        keep_until=0.0,
        born=oldest.born or oldest.received,
        rule=oldest.rule,
        target=lookup.query.exact,
    )
