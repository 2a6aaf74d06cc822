"""What the commands ``tenant`` and ``key`` share: the registry at hand, and how its tables are told."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import asdict

from gateway.errors import NoSuchRecord
from gateway.settings import load_settings
from gateway.tenants.keyring import Keyring
from gateway.tenants.registry import FileRegistry
from gateway.tenants.tables import KeyTable, TenantTable

RegistryPath = Annotated[
    Path | None,
    typer.Option("--registry", metavar="FILE", help="The registry file, instead of the settings' one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def open_registry(path: Path | None) -> FileRegistry:
    """The registry that the settings name, or the one at ``path``; what is amiss with it goes to stderr."""
    settings = load_settings(registry=path)
    place = settings.registry
    keyring = Keyring(settings.encryption_keys.get_secret_value(), place)
    complaint = keyring.complaint()
    if complaint is not None:
        tell(f"warning: {complaint}")
    return FileRegistry(place, keyring)


def tell(text: str) -> None:
    """One line to the person at the terminal; stdout stays for what was asked for."""
    print(text, file=sys.stderr)


def one_tenant(registry: FileRegistry, tenant_id: str) -> TenantTable:
    """A tenant's table. Raises NoSuchRecord where there is none."""
    found = registry.tables().get(tenant_id)
    if found is None:
        raise NoSuchRecord(f"there is no tenant {tenant_id!r}; see: stats-gateway tenant list")
    return found


def told_tenant(tenant_id: str, table: TenantTable) -> dict[str, Any]:
    """A tenant for ``--json``: no password, sealed or not, and no digest."""
    return {
        "id": tenant_id,
        "name": table.name or tenant_id,
        "enabled": table.enabled,
        "note": table.note,
        "origins": list(table.origins),
        "limits": asdict(table.limits),
        "lifetimes": table.lifetimes,
        "institutions": [
            {"institution": institution, "username": stored.username}
            for institution, stored in table.institutions.items()
        ],
        "keys": [told_key(key_id, key) for key_id, key in table.keys.items()],
    }


def told_key(key_id: str, key: KeyTable) -> dict[str, Any]:
    """A key for ``--json``: what it is called and its dates, nothing it could be used with."""
    return {
        "id": key_id,
        "label": key.label,
        "created": _moment(key.created) or None,
        "expires": _moment(key.expires) or None,
        "revoked": _moment(key.revoked) or None,
    }


def key_rows(keys: dict[str, KeyTable]) -> list[list[str]]:
    """Keys as rows of a table: id, label, created, expires, status."""
    return [
        [
            key_id,
            key.label or "-",
            _moment(key.created) or "-",
            _moment(key.expires) or "-",
            _status(key),
        ]
        for key_id, key in keys.items()
    ]


def _status(key: KeyTable) -> str:
    if key.revoked is not None:
        return f"revoked {_moment(key.revoked)}"
    return "expired" if key.expires is not None and key.expires <= datetime.now(UTC) else "active"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")
