"""Shadow: compares what could have been derived with what the service says to requests that clients made anyway.

Nothing here is on a request's way: a miss leaves its answer in a list, and one loop looks at them one by one. By
itself it asks for rankings alone: one an hour for each that is in use, and one more where numbers that are served
are in doubt; all together for a small part of the budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import NamedTuple

import structlog
from msgspec import structs

from gateway.cache.entry import Entry
from gateway.cache.keys import PUBLIC
from gateway.cache.lifetimes import Rule as LifetimeRule
from gateway.cache.lifetimes import rule_of
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.derivation.compare import Answer, Sources, compared, settled
from gateway.derivation.plans import plan_of
from gateway.derivation.rules import Rule
from gateway.derivation.trust import State, Trust
from gateway.derivation.trust_book import TrustBook
from gateway.derivation.trust_store import Place
from gateway.errors import BadTarget, CacheUnavailable, GatewayError
from gateway.proxy.callers import Requester
from gateway.proxy.lookup import Lookup
from gateway.proxy.sources import Demand, Derivable, SourceReader
from gateway.tenants.tenant import Tenant
from gateway.upstream.pacing import Priority
from gateway.upstream.tasks import Background

HOUR = 3_600.0
AT_ONCE, A_SECOND = 512, 10.0
"""Answers that may wait to be looked at, or be looked at in a row, and a second after that: neither a flood of
misses nor a slow Redis costs more."""
SHARE = 0.02
"""The part of the budget that rankings for checks alone may take."""
PATIENCE = 120.0
"""Seconds for which a ranking that nobody waits for may take its time."""
REFUSED, FORBIDDEN = frozenset({400, 404}), 403

log = structlog.get_logger("gateway")


class Seen(NamedTuple):
    """An answer of the service to a lookup; ``serves`` says that what is derived instead may be served."""

    lookup: Lookup
    entry: Entry
    serves: bool


class Shadow:
    """Compares answers with derivations, and settles what is in doubt.

    ``tenant`` finds a tenant as it is now, ``spacing`` says how many seconds apart calls at the budget are.
    """

    def __init__(
        self,
        reader: SourceReader,
        book: TrustBook,
        tenant: Callable[[str], Tenant | None],
        spacing: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._book = book
        self._tenant = tenant
        self._spacing = spacing
        self._seen: deque[Seen] = deque()
        self._left, self._counted = float(AT_ONCE), monotonic()
        self._some = asyncio.Event()
        self._demand = Demand()
        self._asked: dict[str, float] = {}
        self._background = Background()

    def __repr__(self) -> str:
        return f"<Shadow {len(self._seen)} to look at>"

    @property
    def busy(self) -> bool:
        """Whether an answer waits to be looked at, or a ranking is asked for."""
        return bool(self._seen) or len(self._background) > 0

    def observed(self, lookup: Lookup, entry: Entry, *, serves: bool) -> None:
        """Leave an answer to be looked at, within bounds; its client's connection is not kept."""
        now = monotonic()
        self._left = min(AT_ONCE, self._left + (now - self._counted) * A_SECOND)
        self._counted = now
        if self._left < 1 or len(self._seen) >= AT_ONCE:
            return
        self._left -= 1
        plain = structs.replace(lookup, requester=Requester(b"derivation", lookup.requester.tenant))
        self._seen.append(Seen(plain, entry, serves))
        self._some.set()

    async def run(self) -> None:
        """Look at what was left, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._seen:
                try:
                    await self._look(self._seen[0])
                except CacheUnavailable:
                    pass  # without Redis nothing is learned
                finally:
                    self._seen.popleft()

    async def stop(self) -> None:
        """End what is under way."""
        for task in [*self._background.tasks]:
            task.cancel()
        await asyncio.gather(*self._background.tasks, return_exceptions=True)

    async def _look(self, seen: Seen) -> None:
        query, asked, now = seen.lookup.query, seen.entry.dispatched, self._book.now()
        if is_source(query):
            await self._settle_all(seen.lookup)
        derivable = self._reader.derivable(seen.lookup)
        if derivable is None or (seen.entry.status == FORBIDDEN and derivable.place.scope != PUBLIC):
            return  # that the credential is refused says nothing of a rule
        entries = await self._reader.known(derivable.sources, asked - HOUR)
        closed = _is_closed(query, [asked, *[entry.dispatched for entry in entries or ()]])
        if entries is None or (not closed and min(entry.received for entry in entries) < asked - HOUR):
            self._want(derivable)
            return
        await self._refused(derivable, entries)
        sources = await self._reader.read(derivable.plan.sources, entries)
        if sources is None:
            return
        answer = Answer(query, seen.entry.status, seen.entry.body, asked, seen.entry.received, closed)
        fresh = all(entry.fresh_until > asked for entry in entries)
        for subject, rule in derivable.plan.rules:
            if rule.derived(query, sources.read) is None:
                continue
            check = _checking(rule, answer, sources, now, fresh)
            after = await self._book.change(derivable.place, subject, check)
            if seen.serves and after is not None and after.state is State.TRUSTED and after.doubts:
                self._ask_again(derivable, answer.at)

    # Doubts

    async def _settle_all(self, source: Lookup) -> None:
        """Judge what is in doubt by a source that has just come, where that concerns it."""
        for place in self._reader.places_of(source):
            for subject, trust in (await self._book.of(place)).copy().items():
                if trust.doubts:
                    await self._settle(place, subject, trust, source)

    async def _settle(self, place: Place, subject: str, trust: Trust, source: Lookup) -> None:
        found = {
            name: self._derivation(name, subject) for name in [doubt.check.question for doubt in trust.doubts]
        }
        concerned = {name: each for name, each in found.items() if each and source.query in each.sources}
        for wanted in {each.sources for each in concerned.values()}:
            sources = await self._sources(source, wanted)
            alike = {name: each for name, each in concerned.items() if each.sources == wanted}
            if sources is not None:
                await self._book.change(place, subject, _settling(alike, sources, self._book.now()))

    def _derivation(self, question: str, subject: str) -> _Derivation | None:
        try:
            query = self._reader.resolver.profile.recognise(*parted(question.encode("latin-1")))
        except BadTarget:
            return None
        plan = plan_of(query)
        rule = None if plan is None else next((rule for name, rule in plan.rules if name == subject), None)
        return None if plan is None or rule is None else _Derivation(query, rule, plan.sources)

    async def _sources(self, source: Lookup, wanted: Sequence[Query]) -> Sources | None:
        try:
            lookups = [self._reader.resolver.lookup(source.requester, each, []) for each in wanted]
        except GatewayError:
            return None
        if any(each.access.scope != source.access.scope for each in lookups):
            return None
        entries = await self._reader.known(lookups, self._book.now() - HOUR)
        return None if entries is None else await self._reader.read(wanted, entries)

    async def _refused(self, derivable: Derivable, entries: Iterable[Entry]) -> None:
        """A source that the service refuses has changed: nothing more is derived from it."""
        status = next((entry.status for entry in entries if entry.status in REFUSED), None)
        if status is None:
            return
        suspend = partial(_suspended, now=self._book.now(), why=f"a source was answered {status}")
        for subject, _ in derivable.plan.rules:
            await self._book.change(derivable.place, subject, suspend)

    # Rankings for checks alone

    def _want(self, derivable: Derivable) -> None:
        """Ask for the rankings that several questions missed for want of, once an hour."""
        for source in derivable.sources:
            key = source.key.entry
            wanted = is_ranking(source.query) and self._demand.noted(key, derivable.lookup.key.entry, HOUR)
            if wanted and self._is_first(f"hourly:{key}"):
                self._background.spawn(self._ask(source, None))

    def _ask_again(self, derivable: Derivable, since: float) -> None:
        """Ask for the sources once more, as soon as the budget's part allows it: until then nothing is served."""
        for source in derivable.sources:
            if self._is_first(f"again:{source.key.entry}"):
                self._background.spawn(self._ask(source, since))

    async def _ask(self, source: Lookup, since: float | None) -> None:
        """Ask for a source, once an hour, or again ``since`` a time, and settle what it tells."""
        key = source.key.entry
        try:
            if since is None and await self._book.store.permit(permit_of(source), HOUR):
                return
            await self._turn()
            now = self._as_of_now(source)
            if now is not None:
                # Until doubts are settled, people are answered by calls, one for each question.
                priority = Priority.REFRESH if since is None else Priority.PEOPLE
                resolution = await self._reader.ask(now, monotonic() + PATIENCE, priority, since)
                if resolution.entry.status == 200:
                    await self._settle_all(now)
        except GatewayError as error:
            log.info("derivation_source_missing", error=type(error).__name__)
        finally:
            self._asked.pop(f"again:{key}", None)

    def _as_of_now(self, source: Lookup) -> Lookup | None:
        """The lookup for its tenant as it is by now; None where that holds the credential no more."""
        tenant = self._tenant(source.requester.tenant.id)
        if tenant is None or not tenant.enabled:
            return None
        try:
            lookup = self._reader.resolver.lookup(Requester(b"derivation", tenant), source.query, [])
        except GatewayError:
            return None
        return lookup if lookup.access.scope == source.access.scope else None

    async def _turn(self) -> None:
        """Wait until these rankings' part of the budget allows another call. Raises CacheUnavailable."""
        seconds = self._spacing() / SHARE
        while True:
            wait = await self._book.store.permit("turn", seconds)
            if not wait:
                return
            await asyncio.sleep(wait)

    def _is_first(self, name: str) -> bool:
        """Whether this is the first time within an hour, as far as this process knows."""
        now = monotonic()
        self._asked = {each: until for each, until in self._asked.items() if until > now}
        first = name not in self._asked
        self._asked.setdefault(name, now + HOUR)
        return first


class _Derivation(NamedTuple):
    """A question that a rule could have answered, and from which sources."""

    query: Query
    rule: Rule
    sources: tuple[Query, ...]


def permit_of(source: Lookup) -> str:
    """The name of the permit to ask for a source by ourselves, which one process gets an hour."""
    return blake2b(source.key.entry.encode(), digest_size=12).hexdigest()


def is_ranking(query: Query) -> bool:
    """Whether it asks for a top: as a source, a ranking."""
    return query.family is Family.TOPS


def is_source(query: Query) -> bool:
    """Whether others may be derived from its answer."""
    return query.family is Family.TOPS or (query.family is Family.TIMELINE and query.granularity == "day")


def _is_closed(query: Query, asked: Sequence[float]) -> bool:
    """Whether the window had settled when the answer and its sources were asked for."""
    return rule_of(query, min(asked)) is LifetimeRule.CLOSED


def _checking(rule: Rule, answer: Answer, sources: Sources, now: float, fresh: bool) -> Callable[[Trust], Trust]:
    def check(trust: Trust) -> Trust:
        """What is trusted is compared with what would have been served: from fresh sources alone, and not while
        something is in doubt."""
        trust = trust.settled({}, now, rule.needed)
        if trust.state is State.TRUSTED and (trust.doubts or not fresh):
            return trust
        return compared(rule, answer, sources, trust)

    return check


def _settling(concerned: Mapping[str, _Derivation], sources: Sources, now: float) -> Callable[[Trust], Trust]:
    rule = next(iter(concerned.values())).rule

    def settle(trust: Trust) -> Trust:
        questions = [doubt.check.question for doubt in trust.doubts]
        places = {place: concerned[name].query for place, name in enumerate(questions) if name in concerned}
        return settled(rule, sources, places, trust, now)

    return settle


def _suspended(trust: Trust, now: float, why: str) -> Trust:
    return trust if trust.state is State.SUSPENDED else trust.suspended(now, why)
