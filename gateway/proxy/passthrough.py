"""Passthrough: requests that are no reads, passed on uncached, and what they invalidate (RFC 9111 §4.4)."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace

from gateway.cache.entry import Entry
from gateway.cache.invalidation import LOCATIONS, invalidated, is_unsafe
from gateway.cache.keys import question_of
from gateway.cache.rules import Why
from gateway.catalogue.answers import read
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.errors import BadTarget, CacheUnavailable, GatewayError
from gateway.observe.outcome import Forwarded, Outcome
from gateway.proxy.callers import in_time
from gateway.proxy.fetch import authorization_of
from gateway.proxy.lookup import Lookup, Resolution
from gateway.proxy.request import Request
from gateway.proxy.resolve import Resolver
from gateway.redis import Invocation
from gateway.tenants.tenant import OPEN, Access
from gateway.upstream.client import UpstreamRequest, UpstreamResponse
from gateway.upstream.flight import Confirm, Fetched, FlightResult, Work
from gateway.upstream.pacing import Priority


class Passthrough:
    """Passes requests on, within the same budget as reads.

    ``methods`` are the methods passed on besides GET and HEAD (None: all), ``max_bytes`` the longest content.
    ``authorities`` are the service's own, at which a ``Location`` counts as the same origin.
    """

    def __init__(
        self,
        resolver: Resolver,
        methods: frozenset[str] | None = frozenset(),
        max_bytes: int = 0,
        authorities: frozenset[bytes] = frozenset(),
    ) -> None:
        self.methods = methods
        self.max_bytes = max_bytes
        self._resolver = resolver
        self._fetcher = resolver.fetcher
        self._authorities = authorities

    def methods_at(self, *, posted: bool) -> frozenset[str] | None:
        """The methods where queries may be asked by POST, or may not."""
        return self.methods | {"POST"} if posted and self.methods is not None else self.methods

    async def forward(self, request: Request, query: Query, access: Access) -> Resolution:
        """The service's answer to this very request. Raises BodyTooLarge, GatewayError."""
        lookup = self._resolver.lookup(request, query, request.headers, access, request.method)
        content = await in_time(request.body(self.max_bytes), request.deadline)
        method, flight = request.method.encode(), f"{lookup.flight}.{secrets.token_hex(8)}"
        work = self._work(lookup, request, content)
        question = question_of(method, query.exact, content)
        landing, _ = await request.while_connected(
            self._resolver.fly(lookup, lookup.request(flight, Priority.PEOPLE, question), work, request.deadline)
        )
        request.landed(landing.flown, landing.trace, joined=False)
        if landing.error is not None:
            raise landing.error
        assert landing.entry is not None
        return Resolution(landing.entry, Outcome.BYPASS, Forwarded(Why.METHOD), "method")

    def _work(self, lookup: Lookup, request: Request, content: bytes) -> Work:
        """The work of the flight. A request without a usable answer may have succeeded all the same: once it was
        written, its target is void."""
        fetcher, clock, exact = self._fetcher, self._fetcher.clock, lookup.query.exact
        authorization, method = authorization_of(lookup.access), request.method.encode()
        upstream = UpstreamRequest(exact, authorization, [*lookup.asked.headers], method, content)
        asker, unsafe = request.asker, is_unsafe(request.method)
        authorities = self._authorities | {value.lower() for name, value in request.headers if name == b"host"}

        async def work(confirm: Confirm) -> Fetched:
            call, order, written = fetcher.call(asker, lookup.key.flight), clock.order(), False

            async def confirmed() -> None:
                nonlocal written
                await confirm()
                written = True

            try:
                answer = await fetcher.ask(upstream, confirmed, call)
            except CacheUnavailable:
                raise
            except GatewayError as error:
                failure = fetcher.failure(lookup, error, call)
                return replace(failure, stores=self._void(lookup, [exact])) if written and unsafe else failure
            now = clock.now()
            entry = _unstored(lookup, answer, min(order - clock.skew, now), now)
            landing = FlightResult(lookup.key.exact, entry, flown=call.seconds, trace=call.trace)
            stores = self._void(lookup, self._changed(exact, answer, authorities)) if unsafe else []
            speaks = read(Family.UNKNOWN, answer.status, answer.headers, answer.body).speaks
            return fetcher.result(landing, stores, answer, speaks=speaks)

        return work

    def _changed(self, exact: bytes, answer: UpstreamResponse, authorities: Collection[bytes]) -> list[bytes]:
        """The targets that an answer says have changed."""
        # What the origin names at a place of its own is meant here without its prefix.
        relative = self._fetcher.client.relative
        here = [(name, relative(value)) for name, value in answer.headers if name in LOCATIONS]
        return invalidated(exact, answer.status, [*answer.headers, *here], authorities)

    def _void(self, lookup: Lookup, targets: Sequence[bytes]) -> list[Invocation]:
        """The script calls that invalidate the records of these targets."""
        store, clock = self._fetcher.store, self._fetcher.clock
        keys = dict.fromkeys(key for target in targets for key in self._keys_of(lookup, target))
        return [store.invalidate(key, clock.order()) for key in keys]

    def _keys_of(self, lookup: Lookup, target: bytes) -> list[str]:
        """The records of a target, in the requester's scope and in the public one."""
        try:
            query = self._resolver.profile.recognise(*parted(target))
        except BadTarget:
            return []
        keys = [self._resolver.key(query, access) for access in (lookup.access, OPEN)]
        return [each for key in keys for each in (key.entry, key.error)]


def _unstored(lookup: Lookup, answer: UpstreamResponse, dispatched: float, received: float) -> Entry:
    etag = next((value for name, value in answer.headers if name == b"etag"), b"")
    content = answer.status, answer.headers, answer.body, etag
    return Entry(lookup.key.entry, *content, dispatched, received, 0.0, 0.0, 0.0, received)
