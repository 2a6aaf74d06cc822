"""Telling: tenants and keys for programs to read, without a secret. Pure."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from gateway.tenants.tables import KeyTable, TenantTable


def told_tenant(tenant_id: str, table: TenantTable) -> dict[str, Any]:
    """A tenant as programs read it: no password, sealed or not, and no digest."""
    return {
        "id": tenant_id,
        "name": table.name or tenant_id,
        "enabled": table.enabled,
        "note": table.note,
        "origins": list(table.origins),
        "networks": list(table.networks),
        "limits": asdict(table.limits),
        "lifetimes": table.lifetimes,
        "institutions": [
            {"institution": institution, "username": stored.username}
            for institution, stored in table.institutions.items()
        ],
        "keys": [told_key(key_id, key) for key_id, key in table.keys.items()],
    }


def told_key(key_id: str, key: KeyTable) -> dict[str, Any]:
    """A key as programs read it: what it is called and its dates, nothing it could be used with."""
    return {
        "id": key_id,
        "label": key.label,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
    }
