"""Directory: who may ask, as one immutable snapshot of the registry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

from gateway.tenants import keys
from gateway.tenants.networks import Networks
from gateway.tenants.tenant import Key, Tenant

_serials = count(1)


class Holder(NamedTuple):
    """A tenant, and the key by which it is known."""

    tenant: Tenant
    key: Key


class Difference(NamedTuple):
    """The ids of the tenants in which one directory differs from another, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class Directory:
    """All tenants by id and by the networks they call from, and the enabled ones by the keys they hold.

    Never changes: a registry that changes makes another directory, so that a request sees one state. No two of a
    process have the same ``serial``.
    """

    __slots__ = ("_holders", "networks", "serial", "tenants")

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        all_of_them = {tenant.id: tenant for tenant in tenants}
        self._fill(all_of_them, {}, Networks(all_of_them.values()))
        for tenant in self.tenants.values():
            self._holders.update(_holders(tenant))

    def _fill(self, tenants: dict[str, Tenant], holders: dict[str, Holder], networks: Networks) -> None:
        self.tenants: Mapping[str, Tenant] = MappingProxyType(tenants)
        self.networks = networks
        self._holders = holders
        self.serial = next(_serials)

    def changed(self, tenants: Iterable[Tenant], removed: Collection[str] = ()) -> Directory:
        """Another directory: with these tenants in place of any of the same id, and without those removed.

        A tenant that is as it was stays the same object, by which others know that.
        """
        changes = {tenant.id: tenant for tenant in tenants if tenant != self.tenants.get(tenant.id)}
        after, holders, located = dict(self.tenants), dict(self._holders), False
        for tenant_id in (*changes, *removed):
            before = after.get(tenant_id)
            located = located or (before is not None and bool(before.networks))
            for key_id in () if before is None else before.keys:
                holders.pop(key_id, None)
        for tenant_id in removed:
            after.pop(tenant_id, None)
        after.update(changes)
        for tenant in changes.values():
            located = located or bool(tenant.networks)
            holders.update(_holders(tenant))
        directory = Directory()
        directory._fill(after, holders, Networks(after.values()) if located else self.networks)
        return directory

    def since(self, before: Directory) -> Difference:
        """How it differs from another that was in force before."""
        now, then = self.tenants, before.tenants
        both = now.keys() & then.keys()
        return Difference(
            sorted(now.keys() - both),
            sorted(each for each in both if now[each] is not then[each] and now[each] != then[each]),
            sorted(then.keys() - both),
        )

    def __repr__(self) -> str:
        return f"Directory(tenants={len(self.tenants)}, keys={len(self._holders)})"

    def holder_of(self, key: bytes, now: float) -> Holder | None:
        """Whose key this is at ``now``, in seconds since the epoch.

        None for one that is no key, unknown, revoked, expired or a disabled tenant's.
        """
        presented = keys.identity(key)
        if presented is None:
            return None
        key_id, digest = presented
        held = self._holders.get(key_id)
        if held is None or not keys.matches(held.key.digest, digest):
            return None
        return held if held.key.live(now) else None

    def has(self, tenant: Tenant, key_id: str) -> bool:
        """Whether this very tenant, in which nothing has changed, holds that key."""
        holder = self._holders.get(key_id)
        return holder is not None and holder.tenant is tenant


def _holders(tenant: Tenant) -> dict[str, Holder]:
    """Whom its keys open to, but for those that never will."""
    if not tenant.enabled:
        return {}
    return {key.id: Holder(tenant, key) for key in tenant.keys.values() if key.revoked is None}
