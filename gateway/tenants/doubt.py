"""Doubt: whether a registry may have lost this much at once, and what of it is believed at any rate. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from gateway.tenants.table_store import Change
from gateway.tenants.tables import KeyTable, TenantTable
from gateway.tenants.tenant import Key, Tenant

MANY = 3
"""As many tenants as do not vanish by one person's slip."""


def doubt_of(tenants: Mapping[str, Tenant], change: Change) -> str | None:
    """Why a change is more likely an accident than somebody's will; None where it is not.

    Emptied files, files that were cut, and other registries' files look like that: nobody is left, or most of many
    tenants are gone. What a command wrote is believed, and so is the removal of one tenant beside others.
    """
    if change.commanded or not change.whole:
        return None
    lost = {
        tenant_id
        for tenant_id, tenant in tenants.items()
        if tenant_id not in change.broken and is_lost(tenant, change.tables.get(tenant_id))
    }
    unread = [tenants[tenant_id] for tenant_id in change.broken if tenant_id in tenants]
    left = any(map(_opens, change.tables.values())) or any(map(_opens, unread))
    if not any(map(_opens, tenants.values())):
        left = left or bool(change.tables)
    if not is_many(len(lost), len(tenants), left=left):
        return None
    return f"{len(lost)} of {len(tenants)} tenants are gone from it, or have lost their keys, at once"


def is_many(lost: int, before: int, *, left: bool) -> bool:
    """Whether so many lost of those before are too many; ``left`` says whether anybody is left who may
    ask; where nobody could before, whether anybody is left."""
    return lost > 0 and (not left or (lost >= MANY and 2 * lost > before))


def is_lost(tenant: Tenant, table: TenantTable | None) -> bool:
    """Whether a tenant is gone, or no key of it is listed any more, nor a network where it had no key. A cut
    leaves no keys, and never other ones; those that are revoked are listed."""
    if table is None or (bool(tenant.keys) and not table.keys):
        return True
    return bool(tenant.networks) and not table.networks and not table.keys


def _opens(holder: Tenant | TenantTable) -> bool:
    """Whether anybody may ask as it: it holds a key that is not revoked, or calls from networks of its own."""
    return bool(holder.networks) or any(key.revoked is None for key in holder.keys.values())


def followed(change: Change, step: Change) -> Change:
    """What a look found, as a step that was commanded after it left it."""
    if step.whole:
        return replace(step, commanded=False)
    news = step.tables.keys() | step.removed | step.broken.keys()
    tables = {tenant_id: table for tenant_id, table in change.tables.items() if tenant_id not in news}
    broken = {tenant_id: error for tenant_id, error in change.broken.items() if tenant_id not in news}
    return Change(tables | step.tables, step.mark, broken=broken | dict(step.broken))


def without(tenant: Tenant, before: TenantTable, after: TenantTable | None) -> Tenant | None:
    """The tenant without the keys and networks that a commanded step took from its table; None where that removed
    it."""
    if after is None:
        return None
    gone, left = before.keys.keys() - after.keys.keys(), set(before.networks) - set(after.networks)
    return replace(
        tenant,
        keys={key_id: key for key_id, key in tenant.keys.items() if key_id not in gone},
        networks=tuple(network for network in tenant.networks if str(network) not in left),
    )


def joined(tenant: Tenant | None, found: Tenant, held: Collection[str]) -> Tenant:
    """The tenant with the keys that a doubtful state adds, or a new one; those ``held`` stay whose they are. So do
    networks: a new one's wait, since they may be part of another's."""
    new = {key_id: key for key_id, key in found.keys.items() if key_id not in held}
    return replace(found, keys=new, networks=()) if tenant is None else replace(tenant, keys=tenant.keys | new)


def restricted(tenant: Tenant, table: TenantTable) -> Tenant:
    """The tenant as it was, without what a doubtful table takes from it by name: keys that it revokes or lets
    expire earlier, and everything where it disables the tenant."""
    keys = {key_id: _restricted(key, table.keys.get(key_id)) for key_id, key in tenant.keys.items()}
    return replace(tenant, enabled=tenant.enabled and table.enabled, keys=keys)


def _restricted(key: Key, table: KeyTable | None) -> Key:
    if table is None:
        return key
    ends = [end for end in (key.expires, table.expires) if end is not None]
    return replace(key, revoked=key.revoked or table.revoked, expires=min(ends, default=None))
