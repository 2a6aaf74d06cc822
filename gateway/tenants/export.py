"""Exports: all tenants of a registry as TOML, for another one to import. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import datetime

import tomlkit
from msgspec import to_builtins

from gateway.errors import ConfigurationError, located
from gateway.tenants.edits import resealed
from gateway.tenants.schema import TenantTables, read_tables
from gateway.tenants.vault import Vault

HEAD = """\
# Tenants of a stats-gateway, exported on {day}.
# The passwords open with the encryption keys of then; the newest was {mark}.
"""


def export_text(tables: TenantTables, mark: str, now: datetime) -> str:
    """The tables as TOML, with the day, and the mark of the newest encryption key, before them."""
    parts = [HEAD.format(day=f"{now:%Y-%m-%d}", mark=mark or "not at hand")]
    for tenant_id, table in tables.items():
        one = {tenant_id: to_builtins(table, builtin_types=(datetime,))}
        parts.append("\n" + tomlkit.dumps({"tenants": one}))
    return "".join(parts)


def read_export(text: str) -> TenantTables:
    """The tables of an export. Raises ConfigurationError for what is none."""
    try:
        return read_tables(tomllib.loads(text.removeprefix("\ufeff")))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"not TOML: {error}") from None


def resealed_export(text: str, vault: Vault, now: datetime) -> str:
    """An export with its passwords sealed with the vault's newest key. Raises ConfigurationError, with the tenant,
    where one does not open."""
    sealed: TenantTables = {}
    for tenant_id, table in read_export(text).items():
        with located(f"tenant {tenant_id!r}"):
            sealed[tenant_id] = resealed(table, _anew(vault))
    return export_text(sealed, vault.mark, now)


def _anew(vault: Vault) -> Callable[[str], str]:
    return lambda password: vault.seal(vault.open(password))
