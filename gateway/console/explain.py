"""Explain: what would become of a request, and why, without making it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.cache.entry import Entry
from gateway.cache.keys import cache_key
from gateway.cache.lifetimes import Lifetimes, rule_of
from gateway.cache.purges import Marked, Marks, purged
from gateway.cache.rules import Asked, Decision, Rules, Serve, decide, overridden
from gateway.cache.store import Store
from gateway.catalogue import posted
from gateway.catalogue.query import Family, Query
from gateway.catalogue.target import parted, pasted_target
from gateway.console.operations import Call, Operation, Parameter
from gateway.console.telling import told_headers
from gateway.errors import CacheUnavailable, GatewayError, InvalidInput, NoSuchRecord
from gateway.proxy.network import address_of
from gateway.proxy.profiles import Profile
from gateway.tenants.networks import Claim
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import ANONYMOUS, Access, Sharing, Tenant, authorise, refuses
from gateway.upstream.queue import Queue

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
            return await self._queue.standing(flight if marked is None else f"{flight}.{marked.latest * 1e6:.0f}")
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
