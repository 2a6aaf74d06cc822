"""Explain and explore: what would become of a request, and a request made as a tenant."""

from __future__ import annotations

import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.admin.operations import Call, Operation, Parameter
from gateway.cache.entry import Entry
from gateway.cache.lifetimes import Lifetimes, rule_of
from gateway.catalogue.endpoints import why_unknown, with_content
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted, pasted_target
from gateway.errors import CacheUnavailable, GatewayError, Headers, InvalidInput, NoSuchRecord
from gateway.observe.outcome import Outcome
from gateway.proxy.callers import Requester, address_of
from gateway.proxy.lookup import Lookup
from gateway.proxy.request import Request
from gateway.proxy.resolve import Explanation, Resolver
from gateway.proxy.response import Response
from gateway.tenants.directory import Claim
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import ANONYMOUS, Access, Tenant


def header_view(headers: Headers) -> dict[str, str]:
    """Headers by name; the values of one name are joined (RFC 9110 §5.3)."""
    view: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        view[name] = f"{view[name]}, {value}" if name in view else value
    return view


JSON = (b"content-type", b"application/json")
ANSWERS = "Redis answers"
SILENT = "Redis does not answer; only the near cache of this process was looked into"


class ExplainApi:
    """The operation that explains a request; it spends nothing and moves nothing."""

    def __init__(
        self, resolver: Resolver, registry: Registry, lifetimes: Lifetimes, *, allow_anonymous: bool
    ) -> None:
        self._resolver = resolver
        self._registry = registry
        self._lifetimes = lifetimes
        self._allow_anonymous = allow_anonymous

    @property
    def operations(self) -> list[Operation]:
        query = {
            "path": Parameter("the path and query as a client asks them"),
            "tenant": Parameter("the tenant that asks; by default none"),
            "address": Parameter("the address of a caller without a key; instead of a tenant"),
            "body": Parameter("the JSON that is asked by POST there"),
        }
        return [Operation("GET", "/api/explain", "What would become of a request, and why", self.explain, query)]

    async def explain(self, call: Call) -> Any:
        if "path" not in call.query:
            raise InvalidInput("The parameter path is needed, percent-encoded")
        query = self._query(call.query["path"], call.query.get("body"))
        claim = self._claim(call.query)
        tenant = (claim and claim.tenant) or self._tenant(call.query.get("tenant"))
        view = {"query": self._query_view(query), "tenant": tenant.id}
        if claim is not None:
            view["network"] = claim.network
        if not tenant.enabled or (tenant.anonymous and not self._allow_anonymous):
            why = "nobody may ask without a key" if tenant.anonymous else "the tenant is disabled"
            return view | {"decision": "Refuse", "why": why}
        try:
            lookup = self._resolver.lookup(Requester(b"", tenant), query, [])
        except GatewayError as error:
            return view | {"decision": "Refuse", "why": error.message}
        view["derivation"] = await self._derivation(lookup)
        return view | self._view(await self._resolver.explain(lookup))

    async def _derivation(self, lookup: Lookup) -> Any:
        """The rules by which other answers may answer this one; None while Redis does not say."""
        derivations = self._resolver.derivations
        try:
            return [] if derivations is None else await derivations.explain(lookup)
        except CacheUnavailable:
            return None

    def _query(self, target: str, body: str | None) -> Query:
        path, query_string, marked = parted(pasted_target(target))
        query = self._resolver.profile.recognise(path, query_string, marked)
        if body is None:
            return query
        if not self._resolver.profile.is_posted(path):
            raise InvalidInput("Nothing is asked by POST there")
        return with_content(query, [JSON], body.encode())

    def _query_view(self, query: Query) -> dict[str, Any]:
        """The query as it was recognised; where every target is its own meaning, none has to be explained."""
        return _query_view(query, why_unknown(query) if self._resolver.profile.by_meaning else "")

    def _view(self, explanation: Explanation) -> dict[str, Any]:
        lookup, found, now = explanation.lookup, explanation.found, self._resolver.clock.now()
        marked, queue = lookup.marked, self._resolver.queue
        return {
            "scope": _scope_view(lookup.access),
            "lifetime": self._lifetime_view(lookup.query, lookup.requester.tenant, now),
            "cache": ANSWERS if explanation.shared else SILENT,
            "entry": None if not found.entries else _entry_view(found.entries[0], now),
            "error_record": None if found.error is None else _entry_view(found.error, now),
            "purged": None if marked is None else {"soft": _moment(marked.soft), "hard": _moment(marked.hard)},
            "decision": type(explanation.decision).__name__,
            "credential_withheld_for": explanation.refused_for,
            "credential_held": queue.breaker.is_held(lookup.access.scope),
            "gate_closed_for": queue.gate_closed_for,
            "gate_held": queue.gate.held,
            "queue": explanation.standing,
        }

    def _claim(self, asked: Mapping[str, str]) -> Claim | None:
        """The network that holds the address, where one is given instead of a tenant."""
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

    def _lifetime_view(self, query: Query, tenant: Tenant, now: float) -> dict[str, Any]:
        if query.family is Family.UNKNOWN:
            return {
                "rule": None,
                "why": "an unknown request has the lifetime that its answer names, else a short one",
            }
        rule = rule_of(query, now)
        own = tenant.lifetimes.get(rule)
        return {
            "rule": rule,
            "seconds": self._lifetimes.of(rule) if own is None else own,
            "why": rule.reason + ("" if own is None else "; the tenant has its own lifetime for that"),
            "stale_at_midnight": query.rests_on_today,
        }


def _query_view(query: Query, why: str) -> dict[str, Any]:
    return {
        "family": query.family,
        "unknown_because": why or None,
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


def _scope_view(access: Access) -> dict[str, Any]:
    if access.own is not None:
        return {"kind": "public", "why": "totals_scope is public"}
    if access.credential is None:
        return {"kind": "public"}
    return {"kind": "credential", "institution": access.credential.institution, "fingerprint": access.scope}


def _entry_view(entry: Entry, now: float) -> dict[str, Any]:
    return {
        "status": entry.status,
        "size": len(entry.body),
        "rule": entry.rule or None,
        "headers": header_view(entry.headers),
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

Ask = Callable[[Request, Tenant | None], Awaitable[Response | None]]
"""Makes a request as a tenant, or as a caller without a key."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """A request and its response, as the tenant would have got it; ``tenant`` is None for a caller without a key.

    ``body`` is the content as text, ``json`` the same byte for byte where it is JSON; ``seconds`` is how long it
    took. ``curl`` is the request as a line to paste, with a variable in the key's place.
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
    """The operation that makes a request; it spends what the tenant's own would: its limit, its usage, its share
    of the budget."""

    def __init__(self, registry: Registry, ask: Ask, base_url: str) -> None:
        self._registry = registry
        self._ask = ask
        self._base_url = base_url

    @property
    def operations(self) -> list[Operation]:
        query = {
            "path": Parameter("the path and query as a client asks them"),
            "tenant": Parameter("the tenant that asks; by default a caller without a key"),
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
        request = Request.get(written)
        call.facts["request_id"] = request.id.decode()
        if tenant is not None:
            call.facts["tenant"] = tenant.id
        began = time.perf_counter()
        response = await self._ask(request, tenant)
        seconds = time.perf_counter() - began
        if response is None:
            raise GatewayError("The request ended without an answer.")
        headers = header_view([*response.headers, *request.extra_headers])
        target = written.decode()
        return Exploration(
            path=target,
            tenant=None if tenant is None else tenant.id,
            status=response.status,
            headers=headers,
            body=response.body.decode("utf-8", "replace"),
            json=_json(response.body),
            cache_status=headers.get("cache-status", ""),
            outcome=response.outcome,
            detail=response.detail,
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
    """The shell command that makes a request, with the key in a variable."""
    return f'curl -H "X-API-Key: {KEY}" {shlex.quote(url)}' if keyed else f"curl {shlex.quote(url)}"


def _json(body: bytes) -> msgspec.Raw | None:
    """The body as JSON to embed, its order and its numbers unchanged; None where it is none."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.Raw(body)
