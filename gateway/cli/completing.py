"""What a shell may complete besides commands and options: ids of the registry's file.

Nothing here may fail, print or wait: a shell is waiting. A registry in Redis is not asked.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer

from gateway.settings import load_settings
from gateway.tenants.file_store import FileTables
from gateway.tenants.schema import TenantTable

MAX_BYTES = 4 * 1024 * 1024
"""A larger file takes longer to read than anybody wants to wait at a prompt."""
PLAIN = re.compile(r"[\w .,/-]*")
"""What a description may hold: zsh evaluates more of it than it should."""

Suggestions = list[tuple[str, str]]


def tenant_ids(ctx: typer.Context, incomplete: str) -> Suggestions:
    """The ids of the tenants, with their names."""
    return [
        (tenant_id, _bare(table.name)) for tenant_id, table in _tables(ctx) if tenant_id.startswith(incomplete)
    ]


def key_ids(ctx: typer.Context, incomplete: str) -> Suggestions:
    """The ids of the keys that are not revoked, with their tenants and labels."""
    return [
        (key_id, _bare(f"{tenant_id} {key.label}".strip()))
        for tenant_id, table in _tables(ctx)
        for key_id, key in table.keys.items()
        if key.revoked is None and key_id.startswith(incomplete)
    ]


def institutions(ctx: typer.Context, incomplete: str) -> Suggestions:
    """The institutions that any tenant has a credential for."""
    found = sorted({institution for _, table in _tables(ctx) for institution in table.institutions})
    return [(institution, "") for institution in found if institution.startswith(incomplete)]


def _tables(ctx: typer.Context) -> list[tuple[str, TenantTable]]:
    try:
        path = _registry_file(ctx)
        small = path is not None and path.is_file() and path.stat().st_size <= MAX_BYTES
        return list(FileTables(path).read().items()) if path is not None and small else []
    except Exception:
        return []


def _registry_file(ctx: typer.Context) -> Path | None:
    return load_settings(registry=ctx.params.get("registry")).registry_file


def _bare(text: str) -> str:
    return text if PLAIN.fullmatch(text) else ""
