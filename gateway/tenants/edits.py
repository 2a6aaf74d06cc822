"""Edits to the registry: functions on its parsed document, plain or with comments alike. Pure.

TableStore: what a registry asks of the place where its tables lie.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec

from gateway.errors import ConfigurationError, NoSuchRecord, RecordExists
from gateway.tenants.keys import KEY_ID
from gateway.tenants.schema import DIGEST, Tables, TenantTable

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


def new_tenant(tenant_id: str) -> Edit:
    """Adds a tenant. Raises RecordExists where there is one of that id."""

    def edit(document: Document) -> None:
        if tenant_id in document.get("tenants", {}):
            raise RecordExists(f"tenant {tenant_id!r} exists")
        _put(document, "tenants", tenant_id, {"name": tenant_id, "enabled": True})

    return edit


def set_field(tenant_id: str, name: str, value: Any) -> Edit:
    """Sets one of a tenant's own fields; None takes it out, so that the default holds."""

    def edit(document: Document) -> None:
        _set(_tenant(document, tenant_id), name, value)

    return edit


def set_in(tenant_id: str, group: str, name: str, value: Any) -> Edit:
    """Sets one of a tenant's limits or lifetimes; None takes it out."""

    def edit(document: Document) -> None:
        tenant = _tenant(document, tenant_id)
        if group in tenant:
            _set(tenant[group], name, value)
        elif value is not None:
            tenant[group] = {name: value}

    return edit


def put_credential(tenant_id: str, institution: str, username: str, seal: Callable[[], str]) -> Edit:
    """Adds a tenant's credential for an institution, or replaces the one there is.

    The password is sealed when the edit is made, under the registry's lock: by the keys of that moment.
    """
    done: list[str] = []  # an edit may be made twice, and must come to the same

    def edit(document: Document) -> None:
        tenant = _tenant(document, tenant_id)
        if not done:
            done.append(seal())
        row = {"username": username, "password": done[0]}
        if institution in tenant.get("institutions", {}):
            tenant["institutions"][institution].update(row)
        else:
            _put(tenant, "institutions", institution, row)

    return edit


def put_table(tenant_id: str, table: TenantTable) -> Edit:
    """Puts a tenant's whole table in place of any before."""
    row = msgspec.to_builtins(table, builtin_types=(datetime,))

    def edit(document: Document) -> None:
        document.get("tenants", {}).pop(tenant_id, None)
        _put(document, "tenants", tenant_id, copy.deepcopy(row))

    return edit


def reseal(tenant_id: str, sealed_anew: Callable[[str], str]) -> Edit:
    """Replaces each of a tenant's sealed passwords by what a function makes of it."""
    done: dict[str, str] = {}  # an edit may be made twice, and must come to the same

    def edit(document: Document) -> None:
        for institution in _tenant(document, tenant_id).get("institutions", {}).values():
            sealed = str(institution["password"])
            institution["password"] = done.setdefault(sealed, sealed_anew(sealed))

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
            raise NoSuchRecord(f"tenant {tenant_id!r} has no credential for {institution!r}")
        del institutions[institution]

    return edit


def put_key(
    tenant_id: str, key_id: str, digest: bytes, label: str, created: datetime, expires: datetime | None = None
) -> Edit:
    """Adds a key to a tenant."""
    row: dict[str, Any] = {"digest": DIGEST + digest.hex(), "label": label, "created": created}
    if expires is not None:
        row["expires"] = expires

    def edit(document: Document) -> None:
        _put(_tenant(document, tenant_id), "keys", key_id, row)

    return edit


def revoke_key(key_id: str, revoked: datetime) -> Edit:
    """Marks a key as revoked; one that was revoked before keeps its date."""

    def edit(document: Document) -> None:
        _key(document, key_id).setdefault("revoked", revoked)

    return edit


def retire_key(key_id: str, expires: datetime, now: datetime) -> Edit:
    """Lets a key expire at a moment, unless it does so earlier. Raises ConfigurationError for one that is dead."""

    def edit(document: Document) -> None:
        key = _key(document, key_id)
        if "revoked" in key or ("expires" in key and key["expires"] <= now):
            raise ConfigurationError(f"key {key_id} is revoked or expired, and not replaced; make a new one")
        if "expires" not in key or key["expires"] > expires:
            key["expires"] = expires

    return edit


def _key(document: Document, key_id: str) -> Any:
    for tenant in document.get("tenants", {}).values():
        if key_id in tenant.get("keys", {}):
            return tenant["keys"][key_id]
    raise no_such_key(key_id)


def no_such_key(key_id: str) -> NoSuchRecord:
    """The error about a key that is not there."""
    # What does not look like an id may be a whole key pasted by mistake: never repeated.
    shown = f" {key_id}" if KEY_ID.fullmatch(key_id) else ""
    return NoSuchRecord(f"there is no key with the id{shown}; see: stats-gateway key list TENANT")


def _set(table: Any, name: str, value: Any) -> None:
    if value is not None:
        table[name] = value
    elif name in table:
        del table[name]


def _tenant(document: Document, tenant_id: str) -> Any:
    tenants = document.get("tenants", {})
    if tenant_id not in tenants:
        raise NoSuchRecord(f"there is no tenant {tenant_id!r}; see: stats-gateway tenant list")
    return tenants[tenant_id]


def _put(table: Any, group: str, name: str, row: dict[str, Any]) -> None:
    # A group is assigned whole where it is new: tomlkit may hand out copies of what was just inserted.
    if group in table:
        table[group][name] = dict(row)
    else:
        table[group] = {name: dict(row)}


Edits = Mapping[str, Sequence[Edit]]
"""What to do, by the id of the tenant to whom it is done."""
Mark = Hashable
"""What is another whenever the place has changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a look found, at ``mark``: all ``tables`` where it is ``whole``, else those that changed, and the
    tenants ``removed``; what is wrong with those that are ``broken``, or with all of it (``fault``).

    ``commanded``: commands and the admin API alone led here from the state that was asked about.
    """

    tables: Tables
    mark: Mark
    whole: bool = True
    commanded: bool = False
    removed: frozenset[str] = frozenset()
    broken: Mapping[str, ConfigurationError] = field(default_factory=dict)
    fault: ConfigurationError | None = None


class TableStore(Protocol):
    """A place that several processes read and edit. All of it blocks, and raises ConfigurationError with the place
    and the reason where the place, or what lies there, cannot be used; RegistryUnavailable where another try may
    succeed. It remembers nothing of what was read: who follows it does."""

    @property
    def name(self) -> str:
        """What people call the place; never a secret."""
        ...

    def read(self) -> Tables:
        """All tables, credentials unopened."""
        ...

    def mark(self) -> Mark:
        """What tells, at little cost, whether anything has changed."""
        ...

    def change(self, since: Mark = None, *, whole: bool = False) -> Change:
        """What changed since a mark, or everything where that cannot be told, or is asked for; None for a mark is
        before everything. What lies there and cannot be used does not raise, but is in the answer. Raises
        RegistryUnavailable where there is nothing any more."""
        ...

    def get(self, tenant_id: str) -> TenantTable | None:
        """One tenant's table."""
        ...

    def tenant_of_key(self, key_id: str) -> str | None:
        """The id of the tenant that holds a key."""
        ...

    def edit(self, edits: Edits) -> None:
        """Does what is asked, each tenant's all or not at all, and loses nobody else's edits."""
        ...

    def notes(self) -> list[str]:
        """What an operator should know although it is no error."""
        ...
