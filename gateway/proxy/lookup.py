"""Lookup: a query as one requester asks it, and Resolution: the answer to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import msgspec
from msgspec import structs

from gateway.cache.entry import Entry
from gateway.cache.keys import CacheKey, question_of
from gateway.cache.purges import PurgeTimes
from gateway.cache.rules import Asked
from gateway.catalogue.query import Query
from gateway.observe.outcome import Forwarded, Outcome
from gateway.proxy.callers import Requester
from gateway.tenants.tenant import Access
from gateway.upstream.flight import FlightRequest, Flow, flow_of
from gateway.upstream.pacing import Priority


class Lookup(msgspec.Struct, frozen=True):
    """A query as one requester asks it: where its answers live, in which scope, and with which wishes and headers.

    ``marked`` is what was purged of its answers. A purge also begins new flights: a lookup made after it never
    joins a flight that set out before. ``literal``: only the service's answer to this very question will do, none
    that follows from others.
    """

    requester: Requester
    query: Query
    key: CacheKey
    access: Access
    asked: Asked
    marked: PurgeTimes | None
    literal: bool = False

    @property
    def flight(self) -> str:
        """The flight's name, but for invalidations."""
        flight = self.key.flight
        return flight if self.marked is None else f"{flight}.{self.marked.latest * 1e6:.0f}"

    @property
    def question(self) -> str:
        """The name of what a read asks the service, without negotiated headers."""
        posted = self.query.posted
        method, content = (b"GET", b"") if posted is None else (b"POST", posted.content)
        return question_of(method, self.query.exact, content)

    @property
    def flow(self) -> Flow:
        """The flow whose turn of the budget its flight takes."""
        return flow_of(self.requester.tenant, self.requester.subject, self.access.credential)

    def request(self, flight: str, priority: Priority, question: str = "") -> FlightRequest:
        """What a flight of this lookup asks; a read, unless ``question`` names another request."""
        return FlightRequest(flight, self.flow, priority, self.key.exact, question or self.question)

    def after(self, order: float) -> Lookup:
        """The same, but for what was asked for up to then, by the fleet's own time."""
        marked = self.marked or PurgeTimes(0.0, 0.0)
        return structs.replace(self, marked=replace(marked, hard=max(marked.hard, order)))

    @property
    def credential_needed(self) -> bool:
        """Whether the service answers it with a credential only."""
        return self.access.credential is not None and self.query.protected


class Validity(msgspec.Struct, frozen=True):
    """What a hit on the near cache rests on: while that is unchanged, its answer may be given again.

    ``records`` are the serials of the records under both keys, ``entry`` is the one that answered, ``marked`` what
    had been purged of the answers to the ``query``. ``scope`` is that of the credential whose refusal would
    withhold it, None where there is none; ``shared`` says that it is one answer for all, though its caller holds a
    credential.
    """

    query: Query
    marked: PurgeTimes | None
    key: CacheKey
    records: tuple[int | None, int | None]
    entry: Entry
    scope: str | None
    shared: bool = False


class Resolution(msgspec.Struct, frozen=True):
    """The answer to a lookup, and how it came about: ``forwarded`` where the service was asked."""

    entry: Entry
    outcome: Outcome
    forwarded: Forwarded | None = None
    detail: str = ""
    validity: Validity | None = None


class Derivations(Protocol):
    """Answers that follow from other answers, in place of the service's own."""

    async def instead(
        self, lookup: Lookup, stored: Sequence[Entry], deadline: float, priority: Priority, *, stale: Entry | None
    ) -> Resolution | None:
        """The derived answer to a lookup that would ask the service; None where it has to. ``stored`` is what is
        stored of its own answers, ``stale`` what may be served while a source is refreshed."""

    async def explain(self, lookup: Lookup) -> Sequence[Mapping[str, str]]:
        """The rules that may answer a lookup: their names, their subjects, the state of their trust, and the mode.
        Raises CacheUnavailable."""

    def observed(self, lookup: Lookup, entry: Entry) -> None:
        """The service answered this lookup. Costs next to nothing."""
