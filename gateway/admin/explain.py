"""Explain: what would become of a request, and why, without making it.

Explore: a request made for real, as one of the tenants, and how it was served.

Telling: header lines as programs and people read them. Pure.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.admin.operations import Call, Operation, Parameter
from gateway.cache.entry import Entry
from gateway.cache.keys import cache_key
from gateway.cache.lifetimes import Lifetimes, rule_of
from gateway.cache.purges import Marked, Marks, purged
from gateway.cache.rules import Asked, Decision, Rules, Serve, decide, overridden
from gateway.cache.store import Store
from gateway.catalogue import posted
from gateway.catalogue.query import Family, Query
from gateway.catalogue.target import parted, pasted_target
from gateway.errors import CacheUnavailable, GatewayError, Headers, InvalidInput, NoSuchRecord
from gateway.observe.outcome import Outcome
from gateway.proxy.methods import TARGET
from gateway.proxy.network import address_of
from gateway.proxy.profiles import Profile
from gateway.proxy.request import Exchange
from gateway.proxy.response import Answer
from gateway.tenants.directory import Claim
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import ANONYMOUS, Access, Sharing, Tenant, authorise, refuses
from gateway.upstream.queue import Queue


def told_headers(headers: Headers) -> dict[str, str]:
    """Header lines by name; those of one name are joined (RFC 9110 §5.3)."""
    told: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        told[name] = f"{told[name]}, {value}" if name in told else value
    return told


REASONS = {
    "closed": "the window has settled: 48 hours have passed since its last day",
    "open": "the window can still change",
    "totals": "totals, overviews, counts, and tops without a closed window, change all the time",
}
JSON = (b"content-type", b"application/json")


class ExplainApi:
    """One operation, which asks the parts that a request would ask; it spends nothing and moves nothing."""

    def __init__(
        self,
        prefix: str,
        registry: Registry,
        profile: Profile,
        store: Store,
        marks: Marks,
        sharing: Sharing,
        queue: Queue,
        lifetimes: Lifetimes,
        rules: Rules,
        now: Callable[[], float],
        *,
        allow_anonymous: bool,
    ) -> None:
        self._allow_anonymous = allow_anonymous
        self._prefix = prefix
        self._registry = registry
        self._profile = profile
        self._store = store
        self._marks = marks
        self._sharing = sharing
        self._queue = queue
        self._lifetimes = lifetimes
        self._rules = rules
        self._now = now

    @property
    def operations(self) -> list[Operation]:
        """The one."""
        query = {
            "path": Parameter("the path and query as a client asks them"),
            "tenant": Parameter("as whose request; as nobody's unless told"),
            "address": Parameter("from which address, without a key, where the tenant is not told"),
            "body": Parameter("the JSON that is asked by POST there"),
        }
        return [Operation("GET", "/api/explain", "What would become of a request, and why", self.explain, query)]

    async def explain(self, call: Call) -> Any:
        if "path" not in call.query:
            raise InvalidInput("The parameter path is needed, percent-encoded")
        query = self._query(call.query["path"], call.query.get("body"))
        claim = self._claim(call.query)
        tenant = (claim and claim.tenant) or self._tenant(call.query.get("tenant"))
        told = {"query": _told_query(query), "tenant": tenant.id}
        if claim is not None:
            told["network"] = claim.network
        if not tenant.enabled or (tenant.anonymous and not self._allow_anonymous):
            why = "nobody may ask without a key" if tenant.anonymous else "the tenant is disabled"
            return told | {"decision": "Refuse", "why": why}
        try:
            access = authorise(tenant, query, self._sharing.covers)
        except GatewayError as error:
            return told | {"decision": "Refuse", "why": error.message}
        decision, found = await self._from(access, query, tenant)
        if access.own is not None and isinstance(decision, Serve) and _is_refused(query, decision.entry):
            _, found = await self._from(access.own, query, tenant)
        return told | found

    def _query(self, target: str, body: str | None) -> Query:
        path, query_string, marked = parted(pasted_target(target))
        query = self._profile.recognise(path, query_string, marked)
        if body is None:
            return query
        if not self._profile.is_posted(path):
            raise InvalidInput("Nothing is asked by POST there")
        return posted.with_content(query, [JSON], body.encode())

    async def _from(self, access: Access, query: Query, tenant: Tenant) -> tuple[Decision, dict[str, Any]]:
        """What would be decided in this scope, and all that is to be told of it."""
        now, key = self._now(), cache_key(self._prefix, access.scope, query.canonical, query.literal)
        marked = self._marks.covering(query)
        try:
            found, cache = await self._store.look_up(key), "answers"
        except CacheUnavailable:
            found, cache = self._store.look_near(key), "does not answer; only what is near is seen"
        entries = _counting(found.entries, tenant, marked)
        error = next(iter(_counting(() if found.error is None else (found.error,), tenant, marked)), None)
        decision = decide(Asked(), entries, error, now=now, rules=self._rules)
        refused = self._queue.breaker.refused_for(access.scope) if access.credential is not None else None
        return decision, {
            "scope": _told_scope(access),
            "lifetime": self._told_lifetime(query, tenant, now),
            "cache": cache,
            "entry": None if not found.entries else _told_entry(found.entries[0], now),
            "error_record": None if found.error is None else _told_entry(found.error, now),
            "purged": None if marked is None else {"soft": _moment(marked.soft), "hard": _moment(marked.hard)},
            "decision": type(decision).__name__,
            "credential_withheld_for": refused,
            "gate_closed_for": self._queue.gate_closed_for,
            "queue": await self._standing(key.flight, marked),
        }

    async def _standing(self, flight: str, marked: Marked | None) -> Any:
        """Where its flight stands, if one is under way."""
        try:
            return await self._queue.position(flight if marked is None else f"{flight}.{marked.latest * 1e6:.0f}")
        except CacheUnavailable:
            return None

    def _claim(self, asked: Mapping[str, str]) -> Claim | None:
        """Whose the network is that holds the address, where one was told in a tenant's place."""
        if "address" not in asked or "tenant" in asked:
            return None
        address = address_of(asked["address"])
        if address is None:
            raise InvalidInput("The parameter address must be an IP address")
        return self._registry.directory.networks.claim_on(address)

    def _tenant(self, tenant_id: str | None) -> Tenant:
        if tenant_id is None:
            return ANONYMOUS
        tenant = self._registry.directory.tenants.get(tenant_id)
        if tenant is None:
            raise NoSuchRecord("there is no such tenant")
        return tenant

    def _told_lifetime(self, query: Query, tenant: Tenant, now: float) -> dict[str, Any]:
        if query.family is Family.UNKNOWN:
            return {
                "rule": None,
                "why": "an unknown request has the lifetime that its answer tells, else a short one",
            }
        rule = rule_of(query, now)
        own = tenant.lifetimes.get(rule)
        return {
            "rule": rule,
            "seconds": self._lifetimes.of(rule) if own is None else own,
            "why": REASONS[rule] + ("" if own is None else "; the tenant has its own lifetime for that"),
            "stale_at_midnight": query.rests_on_today,
        }


def _counting(entries: Any, tenant: Tenant, marked: Marked | None) -> Any:
    """As the proxy counts them: by the tenant's own lifetimes, and after purges."""
    if entries and tenant.lifetimes:
        entries = overridden(entries, tenant.lifetimes)
    return purged(marked, entries) if entries and marked is not None else entries


def _is_refused(query: Query, entry: Entry) -> bool:
    """As the proxy decides whether to ask with the caller's own credential."""
    return refuses(query, entry.status, entry.headers, entry.body)


def _told_query(query: Query) -> dict[str, Any]:
    return {
        "family": query.family,
        "canonical": query.canonical.decode("utf-8", "backslashreplace"),
        "exact": query.exact.decode("latin-1"),
        "institution": query.institution,
        "counter": query.counter,
        "item": query.item,
        "item_id": query.item_id,
        "protected": query.protected,
        "last_day": query.last_day,
        "rests_on_today": query.rests_on_today,
    }


def _told_scope(access: Access) -> dict[str, Any]:
    if access.own is not None:
        return {"kind": "public", "why": "totals_scope is public"}
    if access.credential is None:
        return {"kind": "public"}
    return {"kind": "credential", "institution": access.credential.institution, "fingerprint": access.scope}


def _told_entry(entry: Entry, now: float) -> dict[str, Any]:
    return {
        "status": entry.status,
        "size": len(entry.body),
        "rule": entry.rule or None,
        "headers": told_headers(entry.headers),
        "fetched": _moment(entry.received),
        "age": round(now - entry.born, 3),
        "fresh_for": round(entry.fresh_until - now, 3),
        "serves_while_refreshed_for": round(entry.serve_until - now, 3),
        "stands_in_for_failures_for": round(entry.keep_until - now, 3),
    }


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


OURS = b"/-/"
"""Paths of the public listener that never reach the proxy."""
KEY = "$GATEWAY_KEY"
"""Stands for the key in a line to paste: no key is known here."""

Answering = Callable[[Exchange], Awaitable[Answer | None]]
As = Callable[[Tenant | None], Answering]
"""The way of a request for a tenant, or for callers without a key."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """One request and its answer, as that tenant would have got it; ``tenant`` is None for a caller without a key.

    ``body`` is the answer's as text, ``json`` the same where it is JSON, byte for byte; ``seconds`` is how long it
    took. ``curl`` is the same request as a line to paste, with a variable in the key's place.
    """

    path: str
    tenant: str | None
    status: int
    headers: Mapping[str, str]
    body: str
    json: msgspec.Raw | None
    cache_status: str
    outcome: Outcome
    detail: str
    seconds: float
    curl: str


class ExploreApi:
    """One operation, which spends what the tenant's own request would: its limit, its usage, its part of the
    budget."""

    def __init__(self, registry: Registry, ask_as: As, base_url: str) -> None:
        self._registry = registry
        self._ask_as = ask_as
        self._base_url = base_url

    @property
    def operations(self) -> list[Operation]:
        """The one."""
        query = {
            "path": Parameter("the path and query as a client asks them"),
            "tenant": Parameter("as whose request; as a caller's without a key unless told"),
        }
        summary = "Make a request as a tenant, and show its answer"
        return [Operation("GET", "/api/explore", summary, self.explore, query, reveals=True)]

    async def explore(self, call: Call) -> Exploration:
        if "path" not in call.query:
            raise InvalidInput("The parameter path is needed, percent-encoded")
        written = pasted_target(call.query["path"])
        if written.startswith(OURS):
            raise InvalidInput("What is under /-/ is the gateway's own, and no question to the service")
        tenant = self._tenant(call.query.get("tenant"))
        exchange = Exchange.of(_scope(written), _connected)
        call.facts["request_id"] = exchange.id.decode()
        if tenant is not None:
            call.facts["tenant"] = tenant.id
        began = time.perf_counter()
        answer = await self._ask_as(tenant)(exchange)
        seconds = time.perf_counter() - began
        if answer is None:
            raise GatewayError("The request ended without an answer.")
        headers = told_headers([*answer.headers, *exchange.told])
        target = written.decode()
        return Exploration(
            path=target,
            tenant=None if tenant is None else tenant.id,
            status=answer.status,
            headers=headers,
            body=answer.body.decode("utf-8", "replace"),
            json=_json(answer.body),
            cache_status=headers.get("cache-status", ""),
            outcome=answer.outcome,
            detail=answer.detail,
            seconds=round(seconds, 6),
            curl=curl_line(self._base_url + target, keyed=tenant is not None),
        )

    def _tenant(self, tenant_id: str | None) -> Tenant | None:
        if tenant_id is None:
            return None
        tenant = self._registry.directory.tenants.get(tenant_id)
        if tenant is None:
            raise NoSuchRecord("there is no such tenant")
        return tenant


def curl_line(url: str, *, keyed: bool) -> str:
    """A request as a line to paste into a shell that has the key in a variable."""
    return f'curl -H "X-API-Key: {KEY}" {shlex.quote(url)}' if keyed else f"curl {shlex.quote(url)}"


def _scope(target: bytes) -> dict[str, Any]:
    return {"type": "http", "method": "GET", TARGET: target, "headers": []}


async def _connected() -> Any:
    """The connection of a client that stays."""
    await asyncio.get_running_loop().create_future()


def _json(body: bytes) -> msgspec.Raw | None:
    """The body for other JSON to hold as it is: its order and its numbers are not ours to change."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.Raw(body)
