"""What the commands ``tenant`` and ``key`` share: the registry at hand, and how its tables are told."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from msgspec.structs import asdict

from gateway.errors import ConfigurationError, NoSuchRecord
from gateway.settings import load_settings
from gateway.tenants import opening
from gateway.tenants.registry import Registry
from gateway.tenants.tables import KeyTable, TenantTable

RegistryPath = Annotated[
    str | None,
    typer.Option(
        "--registry", metavar="PLACE", help="The registry, instead of the settings' one: a file, or a Redis URL."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def open_registry(place: str | None) -> Registry:
    """The registry that the settings name, or the one at ``place``; what is amiss with its keys goes to stderr."""
    settings = load_settings(registry=place_of(place))
    complaint = opening.keyring_of(settings).complaint()
    if complaint is not None:
        tell(f"warning: {complaint}")
    return opening.open_registry(settings)


def place_of(place: str | None) -> str | None:
    """A registry's place as an option may give it. Raises ConfigurationError for a URL with a password."""
    if place is not None and "://" in place and "@" in place:
        raise ConfigurationError(
            "a command line is visible to every user of the machine: "
            "put a registry's URL that holds a password into STATS_GATEWAY_REGISTRY"
        )
    return place


def tell(text: str) -> None:
    """One line to the person at the terminal; stdout stays for what was asked for."""
    print(text, file=sys.stderr)


def one_tenant(registry: Registry, tenant_id: str) -> TenantTable:
    """A tenant's table. Raises NoSuchRecord where there is none."""
    found = registry.store.get(tenant_id)
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
