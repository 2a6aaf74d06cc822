"""Edits of tenants' tables as values, and the protocol of the stores that apply them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from msgspec import Struct, structs

from gateway.errors import ConfigurationError, NoSuchRecord
from gateway.tenants.schema import InstitutionTable, KeyTable, TenantTable, TenantTables
from gateway.tenants.tenant import KEY_ID

S = TypeVar("S", bound=Struct)

Edit = Callable[[TenantTable | None], TenantTable | None]
"""A tenant's table after an edit, from the one before it; None stands for no such tenant. A store may call it more
than once, and checks what it returns."""


def existing(tenant_id: str, table: TenantTable | None) -> TenantTable:
    """The table of a tenant. Raises NoSuchRecord where there is none."""
    if table is None:
        raise NoSuchRecord(f"there is no tenant {tenant_id!r}; see: stats-gateway tenant list")
    return table


def with_fields(table: TenantTable, fields: Mapping[str, Any]) -> TenantTable:
    """Set a tenant's own fields; None restores a default. ``limits`` and ``lifetimes`` are mappings, of which each
    name is set by itself."""
    fields = dict(fields)
    if "limits" in fields:
        fields["limits"] = _with(table.limits, fields["limits"])
    if "lifetimes" in fields:
        lifetimes = {**table.lifetimes, **fields["lifetimes"]}
        fields["lifetimes"] = {name: seconds for name, seconds in lifetimes.items() if seconds is not None}
    return _with(table, fields)


def _with(table: S, fields: Mapping[str, Any]) -> S:
    merged = {**structs.asdict(table), **fields}
    return type(table)(**{name: value for name, value in merged.items() if value is not None})


def with_credential(table: TenantTable, institution: str, username: str, sealed: str) -> TenantTable:
    """Add a credential with a sealed password, or replace the one for the same institution."""
    credential = InstitutionTable(username=username, password=sealed)
    return structs.replace(table, institutions={**table.institutions, institution: credential})


def without_credential(tenant_id: str, table: TenantTable, institution: str) -> TenantTable:
    """Remove the credential for one institution. Raises NoSuchRecord where there is none."""
    if institution not in table.institutions:
        raise NoSuchRecord(f"tenant {tenant_id!r} has no credential for {institution!r}")
    left = {name: each for name, each in table.institutions.items() if name != institution}
    return structs.replace(table, institutions=left)


def resealed(table: TenantTable, seal_anew: Callable[[str], str]) -> TenantTable:
    """Replace each sealed password by what ``seal_anew`` makes of it."""
    sealed = {
        name: structs.replace(each, password=seal_anew(each.password)) for name, each in table.institutions.items()
    }
    return structs.replace(table, institutions=sealed)


def with_key(table: TenantTable, key_id: str, key: KeyTable) -> TenantTable:
    """Add a key, or replace the one of the same id."""
    return structs.replace(table, keys={**table.keys, key_id: key})


def revoke_key(table: TenantTable, key_id: str, now: datetime) -> TenantTable:
    """Revoke a key; one that was revoked before keeps its date. Raises NoSuchRecord."""
    key = key_in(table, key_id)
    return with_key(table, key_id, structs.replace(key, revoked=key.revoked or now))


def retire_key(table: TenantTable, key_id: str, expires: datetime, now: datetime) -> TenantTable:
    """Let a key expire at a moment, unless it does so earlier. Raises NoSuchRecord, and ConfigurationError for a
    key that is revoked or expired."""
    key = key_in(table, key_id)
    if key.revoked is not None or (key.expires is not None and key.expires <= now):
        raise ConfigurationError(f"key {key_id} is revoked or expired, and not replaced; make a new one")
    end = expires if key.expires is None else min(key.expires, expires)
    return with_key(table, key_id, structs.replace(key, expires=end))


def key_in(table: TenantTable, key_id: str) -> KeyTable:
    """A tenant's key. Raises NoSuchRecord where it has none of that id."""
    if key_id not in table.keys:
        raise no_such_key(key_id)
    return table.keys[key_id]


def no_such_key(key_id: str) -> NoSuchRecord:
    """The error about an unknown key id."""
    # What does not look like an id may be a whole key pasted by mistake: never repeated.
    shown = f" {key_id}" if KEY_ID.fullmatch(key_id) else ""
    return NoSuchRecord(f"there is no key with the id{shown}; see: stats-gateway key list TENANT")


Mark = Hashable
"""The version of a store's content: it differs whenever the content does."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a store holds at ``mark``: all ``tables`` where it is ``whole``, else those that changed, and the
    tenants ``removed``; the errors of tables that are ``broken``, or of the whole content (``fault``).

    ``commanded``: commands and the admin API alone led here from the version that was asked about.
    """

    tables: TenantTables
    mark: Mark
    whole: bool = True
    commanded: bool = False
    removed: frozenset[str] = frozenset()
    broken: Mapping[str, ConfigurationError] = field(default_factory=dict)
    fault: ConfigurationError | None = None


class TenantStore(Protocol):
    """A place that several processes read and edit. Every method blocks, and raises ConfigurationError with the
    place and the reason where the place or its content cannot be used; RegistryUnavailable where another try may
    succeed. A store caches nothing."""

    @property
    def name(self) -> str:
        """The place for people to read; never a secret."""
        ...

    def read(self) -> TenantTables:
        """All tables, credentials unopened."""
        ...

    def mark(self) -> Mark:
        """The current version; cheap to ask for."""
        ...

    def change(self, since: Mark = None, *, whole: bool = False) -> Change:
        """What changed since a version, or everything where that is unknown or asked for; None stands for
        the version before everything. Unusable content does not raise but is reported in the Change. Raises
        RegistryUnavailable where the content is gone."""
        ...

    def get(self, tenant_id: str) -> TenantTable | None: ...

    def tenant_of_key(self, key_id: str) -> str | None:
        """The id of the tenant that holds a key."""
        ...

    def edit(self, edits: Mapping[str, Edit]) -> None:
        """Apply edits by tenant id, each tenant's all or not at all, without losing concurrent edits."""
        ...

    def notes(self) -> list[str]: ...
