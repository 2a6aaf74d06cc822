"""Proxy: the way of a request, from its bytes to its answer."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import structlog

from gateway.answer import Answer, Send, answer_of, refusal_of
from gateway.caching.entry import Entry
from gateway.caching.keys import CacheKey, cache_key, encode
from gateway.caching.rules import Fetch, Rules, Serve, ServeAndRefresh, decide, failed, wants_fresh
from gateway.caching.store import Store
from gateway.catalogue.endpoints import recognise
from gateway.catalogue.query import Family, Query
from gateway.clock import Clock
from gateway.errand import Errands
from gateway.errors import (
    BadRequest,
    CacheUnavailable,
    GatewayError,
    Headers,
    MethodNotAllowed,
)
from gateway.lifecycle import Lifecycle
from gateway.observe.metrics import Metrics
from gateway.observe.outcome import Outcome
from gateway.tenants.access import Access, authorise
from gateway.tenants.identify import identify
from gateway.tenants.registry import FileRegistry
from gateway.tenants.tenant import ANONYMOUS, Tenant
from gateway.upstream.flight import Band
from gateway.upstream.landing import Landing
from gateway.upstream.queue import Queue

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
T = TypeVar("T")

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
FORWARDED = frozenset({b"accept", b"accept-language"})
"""Request headers that go upstream with an unknown request; a known one's answer depends on none."""
HOT_TARGETS = 2_048
"""Targets whose query is remembered: dashboards ask the same few again and again."""
ASK_AGAIN = 3
"""Flights a caller joins that may end in an error that echoes another's spelling; then only its own alike join."""

log = structlog.get_logger("gateway")


class ClientGone(Exception):
    """The client disconnected; there is nobody to answer."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One request on its way: what it brought, and what was found out about it."""

    method: str
    path: bytes
    query_string: bytes
    headers: Headers
    id: bytes
    receive: Receive
    tenant: Tenant = ANONYMOUS
    query: Query | None = None

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Exchange:
        """The exchange of an ASGI HTTP scope."""
        headers = scope["headers"] if isinstance(scope["headers"], list) else list(scope["headers"])
        given = next((value for name, value in headers if name == b"x-request-id"), b"")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()
        path = scope.get("raw_path") or scope["path"].encode()
        return cls(scope["method"], path, scope["query_string"], headers, request_id, receive)


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What the proxy needs of the settings."""

    prefix: str
    allow_anonymous: bool
    ignored_parameters: frozenset[str]
    target_max_bytes: int
    caller_timeout: float
    rules: Rules


class Proxy:
    """The ASGI app behind the public listener, but for ``/-/``."""

    def __init__(
        self,
        rules: ProxyRules,
        registry: FileRegistry,
        store: Store,
        queue: Queue,
        errands: Errands,
        clock: Clock,
        metrics: Metrics,
        lifecycle: Lifecycle,
    ) -> None:
        self.rules = rules
        self.registry = registry
        self.store = store
        self.queue = queue
        self.errands = errands
        self.clock = clock
        self.metrics = metrics
        self.lifecycle = lifecycle
        self._recognise = lru_cache(HOT_TARGETS)(
            partial(recognise, ignored=rules.ignored_parameters, max_bytes=rules.target_max_bytes)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, whatever happens on its way."""
        exchange = Exchange.of(scope, receive)
        try:
            answer = await self.answer(exchange)
        except GatewayError as error:
            answer = refusal_of(error)
        except ClientGone:
            return
        except Exception:
            log.exception("internal_error", request_id=exchange.id.decode())
            answer = refusal_of(GatewayError("The gateway failed on this request; its log says why."))
        self._tell(exchange, answer)
        extra: Headers = [(b"x-request-id", exchange.id)]
        if self.lifecycle.draining:
            extra.append((b"connection", b"close"))
        await answer.send(send, head=exchange.method == "HEAD", extra=extra)

    async def answer(self, exchange: Exchange) -> Answer:
        """The way of a request. Raises what refuses it, and what fails it with nothing to fall back on."""
        check_method(exchange)
        tenant = exchange.tenant = identify(exchange.headers, self.registry.directory, self.rules.allow_anonymous)
        query = exchange.query = self._recognise(exchange.path, exchange.query_string)
        access = authorise(tenant, query)
        key = self._key(query, access, exchange.headers)
        decision = await self._look_up(key, wants_fresh(exchange.headers))
        match decision:
            case Serve(entry):
                return self._answer(entry, Outcome.HIT, tenant)
            case ServeAndRefresh(entry):
                self._refresh(query, access, key, tenant, exchange.headers)
                return self._answer(entry, Outcome.STALE, tenant, detail="refreshing")
            case Fetch(fallback):
                return await self._fetch(query, access, key, exchange, fallback)

    async def _look_up(self, key: CacheKey, fresher: bool) -> Serve | ServeAndRefresh | Fetch:
        """Near cache, then Redis: at most one round trip. Without Redis, what is near has to do."""
        found = self.store.look_near(key)
        decision = self._decide(found.entry, found.error, fresher)
        if isinstance(decision, Serve):
            return decision
        try:
            shared = await self.store.look_up(key)
        except CacheUnavailable:
            return decision
        return self._decide(shared.entry or found.entry, shared.error or found.error, fresher)

    async def _fetch(
        self, query: Query, access: Access, key: CacheKey, exchange: Exchange, fallback: Entry | None
    ) -> Answer:
        """The flight's landing, or what stands in for a failed one (RFC 5861 §4)."""
        tenant = exchange.tenant
        try:
            landing, led = await while_connected(
                exchange.receive, self._land(query, access, key, tenant, exchange.headers)
            )
            if landing.error is not None:
                raise landing.error
            assert landing.entry is not None
        except GatewayError as error:
            if fallback is None:
                raise
            return self._answer(fallback, Outcome.STALE, tenant, detail=type(error).__name__)
        if fallback is not None and failed(landing.entry):
            return self._answer(fallback, Outcome.STALE, tenant, detail=f"upstream-{landing.entry.status}")
        outcome = Outcome.MISS if led else Outcome.COLLAPSED
        if query.family is Family.UNKNOWN and not landing.stored:
            return self._answer(landing.entry, Outcome.BYPASS, tenant, detail="unknown-endpoint")
        return self._answer(landing.entry, outcome, tenant, stored=landing.stored and led)

    async def _land(
        self, query: Query, access: Access, key: CacheKey, tenant: Tenant, headers: Headers
    ) -> tuple[Landing, bool]:
        """Joins flights until one answers this very request: an error answer echoes its leader's spelling."""
        work = self.errands.errand(query, access, key, forwarded(query, headers))
        time = asyncio.get_running_loop().time
        deadline = time() + self.rules.caller_timeout

        async def join(flight: str) -> tuple[Landing, bool]:
            left = deadline - time()
            return await self.queue.land(
                flight, key.exact, tenant.id, Band.PEOPLE, work, self._recheck(key, wants_fresh(headers)), left
            )

        for _ in range(ASK_AGAIN - 1):
            landing, led = await join(key.id)
            if landing.answers(key.exact):
                return landing, led
        return await join(f"{key.id}.{key.exact}")

    def _refresh(self, query: Query, access: Access, key: CacheKey, tenant: Tenant, headers: Headers) -> None:
        work = self.errands.errand(query, access, key, forwarded(query, headers))
        self.queue.refresh(key.id, key.exact, tenant.id, work, self._recheck(key))

    def _recheck(self, key: CacheKey, fresher: bool = False) -> Callable[[], Awaitable[Landing | None]]:
        async def recheck() -> Landing | None:
            found = await self.store.look_up(key)
            match self._decide(found.entry, found.error, fresher):
                case Serve(entry):
                    return Landing(key.exact, entry, stored=True)
            return None

        return recheck

    def _decide(self, entry: Entry | None, error: Entry | None, fresher: bool) -> Serve | ServeAndRefresh | Fetch:
        return decide(entry, error, now=self.clock.now(), wants_fresh=fresher, rules=self.rules.rules)

    def _key(self, query: Query, access: Access, headers: Headers) -> CacheKey:
        canonical, exact = query.canonical, query.exact
        if query.family is Family.UNKNOWN:
            sent = [part for header in forwarded(query, headers) for part in header]
            canonical, exact = encode(canonical, *sent), encode(exact, *sent)
        return cache_key(self.rules.prefix, access.scope, canonical, exact)

    def _answer(
        self, entry: Entry, outcome: Outcome, tenant: Tenant, *, stored: bool = False, detail: str = ""
    ) -> Answer:
        public = tenant is ANONYMOUS
        return answer_of(entry, outcome, now=self.clock.now(), public=public, stored=stored, detail=detail)

    def _tell(self, exchange: Exchange, answer: Answer) -> None:
        family = Family.UNKNOWN if exchange.query is None else exchange.query.family
        self.metrics.requests.labels(family=family, outcome=answer.outcome, status=answer.status).inc()
        if answer.outcome is not Outcome.HIT:
            log.info(
                "request",
                request_id=exchange.id.decode(),
                tenant=exchange.tenant.id,
                family=family,
                outcome=answer.outcome,
                status=answer.status,
                **({"detail": answer.detail} if answer.detail else {}),
            )


def check_method(exchange: Exchange) -> None:
    """Raises MethodNotAllowed for all but GET and HEAD, BadRequest for a body on one of these."""
    if exchange.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(f"Method not allowed: {exchange.method[:20]}")
    for name, value in exchange.headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t")):
            raise BadRequest("A GET or HEAD request must not have a body.")


def forwarded(query: Query, headers: Headers) -> Headers:
    """The client's headers that go upstream with this query, sorted."""
    if query.family is not Family.UNKNOWN:
        return []
    return sorted((name, value) for name, value in headers if name in FORWARDED)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, unless the client disconnects first. Raises ClientGone."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
