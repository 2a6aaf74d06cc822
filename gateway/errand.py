"""Errand: what a flight does: ask the service, judge the answer, keep it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from gateway.caching.entry import Entry
from gateway.caching.keys import CacheKey
from gateway.caching.store import Store
from gateway.catalogue import lifetimes
from gateway.catalogue.lifetimes import Kind, Lifetime, Lifetimes
from gateway.catalogue.query import Query
from gateway.clock import Clock
from gateway.errors import CacheUnavailable, GatewayError, Headers
from gateway.observe.metrics import Metrics
from gateway.scripts import Invocation
from gateway.tenants.access import Access
from gateway.upstream.client import UpstreamClient, UpstreamRequest, UpstreamResponse
from gateway.upstream.flight import Confirm, Work
from gateway.upstream.landing import Landing

REPLACED = frozenset({b"age", b"cache-control", b"date", b"etag", b"expires", b"pragma", b"vary"})
"""Headers of the service's answer in whose place the gateway puts its own."""


@dataclass(frozen=True, slots=True)
class Errands:
    """The parts that every errand needs."""

    client: UpstreamClient
    store: Store
    lifetimes: Lifetimes
    clock: Clock
    metrics: Metrics
    jitter: Callable[[], float] = lambda: random.uniform(-1, 1)  # noqa: S311 (jitter)

    def errand(self, query: Query, access: Access, key: CacheKey, headers: Headers) -> Work:
        """The work of a flight for this query. ``headers`` are the client's that may go upstream."""
        authorization = None if access.credential is None else access.credential.authorization
        request = UpstreamRequest(target=query.exact, authorization=authorization, headers=headers)

        async def work(confirm: Confirm) -> tuple[Landing, list[Invocation]]:
            dispatched = self.clock.now()
            try:
                response = await self.client.fetch(request, confirm)
            except CacheUnavailable:
                raise
            except GatewayError as error:
                self.metrics.upstream_calls.labels(result=type(error).__name__).inc()
                return Landing(key.exact, error=error), []
            self.metrics.upstream_calls.labels(result=f"{response.status // 100}xx").inc()
            return self._land(query, access, key, response, dispatched)

        return work

    def _land(
        self, query: Query, access: Access, key: CacheKey, response: UpstreamResponse, dispatched: float
    ) -> tuple[Landing, list[Invocation]]:
        received = self.clock.now()
        life = lifetimes.lifetime(
            query,
            lifetimes.Answer(response.status, response.headers, response.body, dispatched, received),
            self.lifetimes,
            jitter=self.jitter(),
            private_scope=access.credential is not None,
        )
        entry = _entry(key, response, life, dispatched, received)
        if life is None:
            return Landing(key.exact, entry), []
        return Landing(key.exact, entry, stored=True), [self.store.put(entry, received)]


def _entry(
    key: CacheKey, response: UpstreamResponse, life: Lifetime | None, dispatched: float, received: float
) -> Entry:
    times = (0.0, 0.0, 0.0)
    if life is not None:
        times = (life.fresh_until, life.serve_until, life.keep_until)
    return Entry(
        key.error if life is not None and life.kind is Kind.ERROR else key.entry,
        response.status,
        [(name, value) for name, value in response.headers if name not in REPLACED],
        response.body,
        _etag(response),
        dispatched,
        received,
        *times,
    )


def _etag(response: UpstreamResponse) -> bytes:
    """The service's own, else a strong one over the body (RFC 9110 §8.8.3); none for errors."""
    own = next((value for name, value in response.headers if name == b"etag"), b"")
    if own or response.status != 200:
        return own
    return b'"' + blake2b(response.body, digest_size=12).hexdigest().encode() + b'"'
