"""Directory: who may ask, as one immutable snapshot of the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from gateway.tenants import keys
from gateway.tenants.tenant import Key, Tenant


class Holder(NamedTuple):
    """A tenant, and the key by which it is known."""

    tenant: Tenant
    key: Key


class Directory:
    """All tenants by id, the enabled ones by the keys they hold, and the web ``origins`` of all of those.

    Never changes: a registry that changes makes another directory, so that a request sees one state.
    """

    __slots__ = ("_holders", "origins", "tenants")

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        self.tenants: Mapping[str, Tenant] = MappingProxyType({tenant.id: tenant for tenant in tenants})
        self._holders = {
            key.id: Holder(tenant, key)
            for tenant in self.tenants.values()
            for key in tenant.keys.values()
            if tenant.enabled and key.revoked is None
        }
        self.origins = frozenset(
            origin for tenant in self.tenants.values() if tenant.enabled for origin in tenant.origins
        )

    def __repr__(self) -> str:
        return f"Directory(tenants={len(self.tenants)}, keys={len(self._holders)})"

    def holder_of(self, key: bytes, now: float) -> Holder | None:
        """Whose key this is at ``now``, in seconds since the epoch.

        None for one that is no key, unknown, revoked, expired or a disabled tenant's.
        """
        parsed = keys.parse(key)
        if parsed is None:
            return None
        key_id, secret = parsed
        held = self._holders.get(key_id)
        if held is None or not keys.matches(held.key.digest, secret):
            return None
        return held if held.key.live(now) else None
