"""The admin API's operations on tenants, their credentials and their keys."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from gateway.admin.operations import Call, Operation, Parameter
from gateway.cache.lifetimes import Rule
from gateway.errors import CacheUnavailable, ConfigurationError, InvalidInput, NoSuchRecord
from gateway.observe.counters import DayCounters
from gateway.tenants.registry import Registry
from gateway.tenants.schema import (
    Life,
    TenantTable,
    check_origin,
    check_tenant_id,
    credential_of,
    key_view,
    tenant_view,
)
from gateway.tenants.tenant import Count, Pair, Rate, Share, Tenant

PAGE, PAGE_MOST = 100, 1_000
Words = Annotated[str, msgspec.Meta(max_length=200)]
Lines = Annotated[str, msgspec.Meta(max_length=2_000)]
"""Text whose limits the registry itself explains."""


class LimitsBody(msgspec.Struct, forbid_unknown_fields=True):
    """A tenant's limits; null takes one out."""

    requests_per_second: Rate | UnsetType | None = UNSET
    burst: Count | UnsetType | None = UNSET
    requests_per_day: Count | UnsetType | None = UNSET
    queued: Count | UnsetType | None = UNSET
    share: Share | UnsetType | None = UNSET


class TenantBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of a tenant; null restores a default."""

    name: Words | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    note: Lines | UnsetType | None = UNSET
    origins: Annotated[list[str], msgspec.Meta(max_length=100)] | UnsetType | None = UNSET
    networks: Annotated[list[str], msgspec.Meta(max_length=100)] | UnsetType | None = UNSET
    limits: LimitsBody | UnsetType = UNSET
    lifetimes: dict[Rule, Life | None] | UnsetType = UNSET


class NewTenantBody(TenantBody, kw_only=True):
    """A tenant to be."""

    id: Annotated[str, msgspec.Meta(max_length=63)]


class CredentialBody(msgspec.Struct, forbid_unknown_fields=True):
    """An institution's pair; it can be written, never read."""

    username: Words
    password: Annotated[str, msgspec.Meta(max_length=4_096)]


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A key to be."""

    label: Words = ""
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class RotateBody(msgspec.Struct, forbid_unknown_fields=True):
    """How many seconds the old key still works; when the new one ends, else after as long a life as the old."""

    overlap: Annotated[float, msgspec.Meta(ge=0, le=10 * 365 * 86_400)] = 7 * 86_400.0
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class TenantsApi:
    """Operations on a registry; their names are in the API's ``operationId``.

    Blocking work runs in a thread. A single tenant is read from the registry itself, so that changes show at once.
    """

    def __init__(self, registry: Registry, usage: DayCounters) -> None:
        self._registry = registry
        self._usage = usage

    @property
    def operations(self) -> list[Operation]:
        one, pair = "/api/tenants/{tenant}", "/api/tenants/{tenant}/institutions/{institution}"
        page = {
            "after": Parameter("the last id of the page before"),
            "before": Parameter("the first id of the page after"),
            "limit": Parameter(f"tenants in a page, by default {PAGE}"),
            "search": Parameter("only tenants with this in their id or name, whatever its case"),
        }
        return [
            Operation("GET", "/api/tenants", "List tenants, by id", self.list, page),
            Operation("POST", "/api/tenants", "Add a tenant", self.create, body=NewTenantBody, status=201),
            Operation("GET", one, "Show a tenant", self.show),
            Operation("PATCH", one, "Change a tenant", self.change, body=TenantBody),
            Operation("DELETE", one, "Remove a tenant with all it holds", self.remove, status=204),
            Operation("PUT", pair, "Set an institution's credential", self.seal, body=CredentialBody, status=204),
            Operation("DELETE", pair, "Remove an institution's credential", self.unseal, status=204),
            Operation("GET", f"{one}/keys", "List keys, and when each was last used", self.keys),
            Operation("POST", f"{one}/keys", "Make a key, shown this once", self.mint, body=KeyBody, status=201),
            Operation("DELETE", "/api/keys/{key}", "Revoke a key for ever", self.revoke, status=204),
            Operation(
                "POST", "/api/keys/{key}/rotate", "Make a key in another's place", self.rotate,
                body=RotateBody, status=201,
            ),
        ]  # fmt: skip

    async def list(self, call: Call) -> Any:
        limit = _whole(call.query.get("limit", str(PAGE)), "limit", PAGE_MOST)
        tenants = self._registry.directory.tenants
        ids = _found(tenants, call.query.get("search", ""))
        first, last = _slice(ids, call.query.get("after"), call.query.get("before"), limit)
        now = time.time()
        return {
            "tenants": [_summary(tenants[each], now) for each in ids[first:last]],
            "next": ids[last - 1] if last < len(ids) else None,
            "previous": ids[first] if 0 < first < len(ids) else None,
            "first": first,
            "found": len(ids),
            "total": len(tenants),
        }

    async def create(self, call: Call) -> Any:
        body: NewTenantBody = call.body
        check_tenant_id(body.id)
        call.facts["tenant"] = body.id
        await _blocking(lambda: self._registry.create(body.id, **_changes(body)))
        return await self._view(body.id)

    async def show(self, call: Call) -> Any:
        return await self._view(call.path["tenant"])

    async def change(self, call: Call) -> Any:
        changes = _changes(call.body)
        if changes:
            await _blocking(lambda: self._registry.change(call.path["tenant"], **changes))
        return await self._view(call.path["tenant"])

    async def remove(self, call: Call) -> None:
        await _blocking(lambda: self._registry.remove(call.path["tenant"]))

    async def seal(self, call: Call) -> None:
        pair = Pair(call.path["institution"], call.body.username, call.body.password)
        await _blocking(lambda: self._registry.put_credential(call.path["tenant"], pair))

    async def unseal(self, call: Call) -> None:
        await _blocking(lambda: self._registry.remove(call.path["tenant"], call.path["institution"]))

    async def keys(self, call: Call) -> Any:
        table = await self._table(call.path["tenant"])
        used, delay = dict[str, float](), None
        with suppress(CacheUnavailable):  # no reason not to show the rest
            used, delay = await self._usage.last_used(table.keys), self._usage.SECONDS
        keys = [key_view(key, held) | {"last_used": used.get(key)} for key, held in table.keys.items()]
        return {"keys": keys, "delay": delay}

    async def mint(self, call: Call) -> Any:
        text = await _blocking(
            lambda: self._registry.add_key(call.path["tenant"], call.body.label, expires=call.body.expires)
        )
        return _made(call, text)

    async def revoke(self, call: Call) -> None:
        await _blocking(lambda: self._registry.revoke_key(call.path["key"]))

    async def rotate(self, call: Call) -> Any:
        body: RotateBody = call.body
        text = await _blocking(
            lambda: self._registry.rotate_key(call.path["key"], body.overlap, expires=body.expires)
        )
        return _made(call, text)

    async def _view(self, tenant_id: str) -> Any:
        table = await self._table(tenant_id)
        view, fingerprints = tenant_view(tenant_id, table), await _blocking(lambda: self._opened(tenant_id, table))
        for pair in view["institutions"]:
            pair["fingerprint"] = fingerprints.get(pair["institution"])
        return view

    def _opened(self, tenant_id: str, table: TenantTable) -> dict[str, str]:
        """The fingerprint of each credential that opens, by institution."""
        found: dict[str, str] = {}
        with suppress(ConfigurationError):
            vault = self._registry.keyring.vault()
            for institution, stored in table.institutions.items():
                with suppress(ConfigurationError):
                    found[institution] = credential_of(tenant_id, institution, stored, vault).fingerprint
        return found

    async def _table(self, tenant_id: str) -> TenantTable:
        table: TenantTable | None = await _blocking(lambda: self._registry.store.get(tenant_id))
        if table is None:
            raise NoSuchRecord("there is no such tenant")
        return table


def _made(call: Call, text: str) -> dict[str, str]:
    """A new key, shown this once; the audit log has its id."""
    call.facts["new_key"] = text[4:14]
    return {"id": text[4:14], "key": text}


def _summary(tenant: Tenant, now: float) -> dict[str, Any]:
    """A tenant in a list, as this process has it: at most two seconds old. ``keys`` are those that work."""
    return {
        "id": tenant.id,
        "name": tenant.name,
        "enabled": tenant.enabled,
        "institutions": list(tenant.credentials),
        "keys": sum(key.live(now) for key in tenant.keys.values()),
        "requests_per_day": tenant.limits.requests_per_day,
    }


def _found(tenants: Mapping[str, Tenant], search: str) -> list[str]:
    """The sorted ids of tenants with ``search`` in their id or name."""
    wanted = search.casefold()
    return sorted(each for each, tenant in tenants.items() if wanted in each or wanted in tenant.name.casefold())


def _slice(ids: Sequence[str], after: str | None, before: str | None, limit: int) -> tuple[int, int]:
    """The slice of a page of the list, after or before an id."""
    if before is not None:
        last = bisect_left(ids, before)
        return max(0, last - limit), last
    first = 0 if after is None else bisect_right(ids, after)
    return first, min(len(ids), first + limit)


def _changes(body: TenantBody) -> dict[str, Any]:
    """A body's changes, as ``Registry.change`` takes them."""
    found = {name: value for name, value in asdict(body).items() if value is not UNSET and name != "id"}
    if isinstance(body.limits, LimitsBody):
        found["limits"] = {name: value for name, value in asdict(body.limits).items() if value is not UNSET}
    for origin in found.get("origins") or ():
        check_origin(origin)
    return found


def _whole(text: str, name: str, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= most:
        raise InvalidInput(f"{name} must be a number from 1 to {most}")
    return int(text[:6])


async def _blocking(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)
