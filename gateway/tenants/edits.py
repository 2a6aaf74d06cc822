"""Edits to the registry: functions on its parsed document, plain or with comments alike. Pure."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any

from gateway.errors import ConfigurationError
from gateway.tenants.keys import KEY_ID
from gateway.tenants.tables import DIGEST

Document = MutableMapping[str, Any]
Edit = Callable[[Document], None]


def put_tenant(tenant_id: str, name: str | None) -> Edit:
    """Adds a tenant, or gives the one there is a name."""

    def edit(document: Document) -> None:
        if tenant_id not in document.get("tenants", {}):
            row = {"name": tenant_id if name is None else name, "enabled": True}
            _put(document, "tenants", tenant_id, row)
        elif name is not None:
            document["tenants"][tenant_id]["name"] = name

    return edit


def put_credential(tenant_id: str, institution: str, username: str, sealed: str) -> Edit:
    """Adds a tenant's credential for an institution, or replaces the one there is."""
    row = {"username": username, "password": sealed}

    def edit(document: Document) -> None:
        tenant = _tenant(document, tenant_id)
        if institution in tenant.get("institutions", {}):
            tenant["institutions"][institution].update(row)
        else:
            _put(tenant, "institutions", institution, row)

    return edit


def remove_tenant(tenant_id: str) -> Edit:
    """Removes a tenant with all it holds."""

    def edit(document: Document) -> None:
        _tenant(document, tenant_id)
        del document["tenants"][tenant_id]

    return edit


def remove_credential(tenant_id: str, institution: str) -> Edit:
    """Removes a tenant's credential for one institution."""

    def edit(document: Document) -> None:
        institutions = _tenant(document, tenant_id).get("institutions", {})
        if institution not in institutions:
            raise ConfigurationError(f"tenant {tenant_id!r} has no credential for {institution!r}")
        del institutions[institution]

    return edit


def put_key(tenant_id: str, key_id: str, digest: bytes, label: str, created: datetime) -> Edit:
    """Adds a key to a tenant."""
    row = {"digest": DIGEST + digest.hex(), "label": label, "created": created}

    def edit(document: Document) -> None:
        _put(_tenant(document, tenant_id), "keys", key_id, row)

    return edit


def revoke_key(key_id: str, revoked: datetime) -> Edit:
    """Marks a key as revoked; one that was revoked before keeps its date."""

    def edit(document: Document) -> None:
        for tenant in document.get("tenants", {}).values():
            if key_id in tenant.get("keys", {}):
                tenant["keys"][key_id].setdefault("revoked", revoked)
                return
        # What does not look like an id may be a whole key pasted by mistake: never repeated.
        shown = f" {key_id}" if KEY_ID.fullmatch(key_id) else ""
        raise ConfigurationError(f"there is no key with the id{shown}; see: stats-gateway key list TENANT")

    return edit


def _tenant(document: Document, tenant_id: str) -> Any:
    tenants = document.get("tenants", {})
    if tenant_id not in tenants:
        raise ConfigurationError(f"there is no tenant {tenant_id!r}; see: stats-gateway tenant list")
    return tenants[tenant_id]


def _put(table: Any, group: str, name: str, row: dict[str, Any]) -> None:
    # A group is assigned whole where it is new: tomlkit may hand out copies of what was just inserted.
    if group in table:
        table[group][name] = dict(row)
    else:
        table[group] = {name: dict(row)}
