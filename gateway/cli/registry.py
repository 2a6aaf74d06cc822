"""What the commands ``tenant`` and ``key`` share: the registry at hand, and how its tables are told."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from gateway.errors import ConfigurationError, NoSuchRecord
from gateway.settings import load_settings
from gateway.tenants import registry as opening
from gateway.tenants.registry import Registry
from gateway.tenants.schema import KeyTable, TenantTable

RegistryPath = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="PLACE",
        help="The registry, instead of the settings' one: a file, or a Redis URL.",
        rich_help_panel="Where",
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


def print_json(value: Any) -> None:
    """For programs: dates as in RFC 3339."""
    print(json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2, ensure_ascii=False))


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


def is_live(key: KeyTable) -> bool:
    """Whether a key works, as far as it goes: neither revoked nor expired."""
    return key.revoked is None and (key.expires is None or key.expires > datetime.now(UTC))


def _status(key: KeyTable) -> str:
    if key.revoked is not None:
        return f"revoked {_moment(key.revoked)}"
    return "active" if is_live(key) else "expired"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")
