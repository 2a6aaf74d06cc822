"""Directory: who may ask, as one immutable snapshot of the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from gateway.tenants import keys
from gateway.tenants.tenant import Tenant


class Directory:
    """All tenants by id, and the tenants that hold a live key by that key.

    Never changes: a registry that changes makes another directory, so that a request sees one state.
    """

    __slots__ = ("_holders", "tenants")

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        self.tenants: Mapping[str, Tenant] = MappingProxyType({tenant.id: tenant for tenant in tenants})
        self._holders = {
            key.id: (key.digest, tenant)
            for tenant in self.tenants.values()
            for key in tenant.keys.values()
            if tenant.enabled and key.revoked is None
        }

    def __repr__(self) -> str:
        return f"Directory(tenants={len(self.tenants)}, keys={len(self._holders)})"

    def tenant_of(self, key: bytes) -> Tenant | None:
        """The tenant that holds a key; None for one that is no key, unknown, revoked or a disabled tenant's."""
        parsed = keys.parse(key)
        if parsed is None:
            return None
        key_id, secret = parsed
        held = self._holders.get(key_id)
        return held[1] if held is not None and keys.matches(held[0], secret) else None
