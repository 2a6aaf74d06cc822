"""The registry's tables: what each may hold, tenants made of them, and how programs see them. Pure.

``[tenants.<id>]`` holds ``name``, ``enabled``, ``note``, ``origins``, ``networks``, ``limits`` and ``lifetimes``;
``[tenants.<id>.institutions.<institution>]`` a username and a sealed password; ``[tenants.<id>.keys.<key id>]`` a
key's digest, label and dates. Nothing else is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec.structs import asdict

from gateway.cache.lifetimes import Rule
from gateway.catalogue.families import FIRST_SEGMENTS
from gateway.catalogue.target import canonical_authority
from gateway.errors import ConfigurationError, located
from gateway.tenants.tenant import (
    ANONYMOUS,
    DIGEST,
    KEY_ID,
    UNLIMITED,
    Credential,
    Key,
    Pair,
    Tenant,
    TenantLimits,
    id_within,
    network_of,
)
from gateway.tenants.vault import SEALED, Vault

TENANT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
INSTITUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,62}")
ORIGIN = re.compile(
    r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?"
)

CONTROLS = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
"""Characters that no name may hold: controls, and what is not UTF-8 on the command line."""

NOTE = rf"^(?:[^{CONTROLS}]|[\t\n]|\r\n)*\Z"
"""Text with tabs and lines. Nothing is printed that a terminal would obey."""

Text = Annotated[str, msgspec.Meta(max_length=200, pattern=rf"^[^{CONTROLS}]*\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=rf"^{DIGEST}[0-9a-f]{{64}}\Z")]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Life = Annotated[float, msgspec.Meta(gt=0, le=10 * 365 * 86_400)]
Note = Annotated[str, msgspec.Meta(max_length=2_000, pattern=NOTE)]


class InstitutionTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A credential as it is stored."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"InstitutionTable(username={self.username!r})"


class KeyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A key as it is stored; any ``revoked`` date means now."""

    digest: Digest
    label: Text = ""
    created: Moment | None = None
    expires: Moment | None = None
    revoked: Moment | None = None

    def __repr__(self) -> str:
        return f"KeyTable(label={self.label!r}, created={self.created}, revoked={self.revoked})"


class TenantTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tenant as it is stored; ``lifetimes`` are seconds by the settings' names without ``lifetime_``."""

    name: Text = ""
    enabled: bool = True
    note: Note = ""
    origins: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    limits: TenantLimits = UNLIMITED
    lifetimes: dict[Rule, Life] = {}
    institutions: dict[str, InstitutionTable] = {}
    keys: dict[str, KeyTable] = {}


TenantTables = dict[str, TenantTable]
Table = TypeVar("Table", InstitutionTable, KeyTable, TenantTable)


def read_tables(document: Mapping[str, Any]) -> TenantTables:
    """Check a parsed registry file; its tables by tenant id.

    Raises ConfigurationError that names the tenant, the institution or key, and what is wrong; never a value.
    """
    for name in document:
        if name != "tenants":
            raise ConfigurationError(f"unknown table or field {name!r}; only [tenants.…] tables belong here")
    tables = {
        tenant_id: _tenant_table(tenant_id, raw)
        for tenant_id, raw in _mapping(document.get("tenants", {}), "tenants").items()
    }
    _refuse_shared_keys(tables)
    return tables


def plain(table: TenantTable) -> dict[str, Any]:
    """A table as in a parsed registry file; defaults are left out."""
    found: dict[str, Any] = msgspec.to_builtins(table, builtin_types=(datetime,))
    return found


def checked(tables: Mapping[str, TenantTable]) -> TenantTables:
    """TenantTables as a store would read them. Raises ConfigurationError as ``read_tables``."""
    return read_tables({"tenants": {tenant_id: plain(table) for tenant_id, table in tables.items()}})


def tenants_of(tables: TenantTables, vault: Vault) -> list[Tenant]:
    """The tenants of tables, their credentials opened.

    Raises ConfigurationError that names tenant and institution where a password is in clear or does not open.
    """
    found = []
    for tenant_id, table in tables.items():
        tenant, fault = salvaged(tenant_id, table, vault, {})
        if fault is not None:
            raise fault
        found.append(tenant)
    return found


def salvaged(
    tenant_id: str, table: TenantTable, vault: Vault, before: Mapping[str, Credential]
) -> tuple[Tenant, ConfigurationError | None]:
    """The tenant as far as its credentials open, and the error of the first that does not.

    A credential that does not open is replaced by the one of the same username from ``before``, the last that
    opened. The keys, limits and state are the table's all the same: a revocation never waits for a password.
    """
    credentials, fault = {}, None
    for institution, stored in table.institutions.items():
        try:
            credentials[institution] = credential_of(tenant_id, institution, stored, vault)
        except ConfigurationError as error:
            fault = fault or error
            last = before.get(institution)
            if last is not None and last.username == stored.username:
                credentials[institution] = last
    return _tenant(tenant_id, table, credentials), fault


def _tenant(tenant_id: str, table: TenantTable, credentials: dict[str, Credential]) -> Tenant:
    return Tenant(
        id=tenant_id,
        name=table.name or tenant_id,
        enabled=table.enabled,
        limits=table.limits,
        lifetimes={str(rule): life for rule, life in table.lifetimes.items()},
        origins=tuple(map(_as_browsers_write, table.origins)),
        networks=tuple(map(network_of, table.networks)),
        note=table.note,
        credentials=credentials,
        keys={key_id: _key(key_id, stored) for key_id, stored in table.keys.items()},
    )


def check_no_key(text: str, what: str) -> None:
    """Raise ConfigurationError, which does not repeat it, for a gateway key where ``what`` belongs: names and
    texts are shown to others."""
    key_id = id_within(text)
    if key_id is not None:
        raise ConfigurationError(
            f"a gateway key was given where {what} belongs, the one with the id {key_id}; "
            "if others could see it, revoke it"
        )


def check_texts(tenant_id: str, table: TenantTable) -> None:
    """Raise ConfigurationError for a tenant with a gateway key in its names, note or labels."""
    check_no_key(table.name, f"the name of tenant {tenant_id!r}")
    check_no_key(table.note, f"the note of tenant {tenant_id!r}")
    for stored in table.institutions.values():
        check_no_key(stored.username, f"a username of tenant {tenant_id!r}")
    for key_id, key in table.keys.items():
        check_no_key(key.label, f"the label of key {key_id}")


def check_tenant_id(tenant_id: str) -> None:
    """Raise ConfigurationError for an id that no tenant may have."""
    check_no_key(tenant_id, "a tenant's id")
    if TENANT_ID.fullmatch(tenant_id) is None:
        raise ConfigurationError(
            f"tenant {tenant_id!r}: an id is 1 to 63 of a-z, 0-9 and -, and does not begin with -"
        )
    if tenant_id == ANONYMOUS.id:
        raise ConfigurationError(f"tenant {tenant_id!r}: the id stands for callers without a key")


def check_institution(institution: str) -> None:
    """Raise ConfigurationError for a name that cannot be an institution's path segment."""
    check_no_key(institution, "an institution")
    if INSTITUTION.fullmatch(institution) is None:
        raise ConfigurationError(
            f"{institution!r} cannot be an institution: it must be one path segment of letters, digits, "
            "'.', '_', '~' and '-', beginning with a letter or digit"
        )
    if institution in FIRST_SEGMENTS:
        raise ConfigurationError(f"{institution!r} cannot be an institution: it begins other paths")


def check_origin(origin: str) -> None:
    """Raise ConfigurationError for what is neither ``*`` nor an origin as browsers write it (RFC 6454 §6.2)."""
    check_no_key(origin, "a web origin")
    if origin != "*" and ORIGIN.fullmatch(origin) is None:
        raise ConfigurationError(
            f"{origin!r} is no origin: it must be like https://dashboard.example.org, without a path, or *"
        )


def networks_in(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks in canonical form, each once. Raises ConfigurationError as ``network_of``."""
    found: dict[str, None] = {}
    for text in texts:
        check_no_key(text, "a network")
        found[str(network_of(text))] = None
    return tuple(found)


def check_unclaimed(before: TenantTables, after: TenantTables) -> None:
    """Raise ConfigurationError for a network that an edit gives to a second tenant. Networks that two had before
    do not prevent an edit: it may be the one that ends the dispute."""
    owners: dict[str, list[str]] = {}
    for tenant_id, table in after.items():
        for network in table.networks:
            owners.setdefault(network, []).append(tenant_id)
    for tenant_id, table in after.items():
        old = before.get(tenant_id)
        for network in sorted(set(table.networks) - set(() if old is None else old.networks)):
            others = [other for other in owners[network] if other != tenant_id]
            if others:
                raise claimed(tenant_id, network, others[0])


def claimed(tenant_id: str, network: str, owner: str) -> ConfigurationError:
    """The error about a network that already belongs to another tenant."""
    return ConfigurationError(f"tenant {tenant_id!r}: the network {network} belongs to {owner!r} already")


def _as_browsers_write(origin: str) -> str:
    """An origin without its scheme's default port (RFC 6454 §6.2)."""
    scheme, mark, authority = origin.partition("://")
    return scheme + mark + canonical_authority(scheme.encode(), authority.encode()).decode()


def check_text(text: str, what: str) -> None:
    """Raise ConfigurationError for a name or label that would not fit on one line, or holds a gateway key."""
    check_no_key(text, f"the {what}")
    check_line(text, what)


def check_line(text: str, what: str) -> None:
    """Raise ConfigurationError for text that would not fit on one line."""
    if len(text) > 200 or re.search(f"[{CONTROLS}]", text):
        raise ConfigurationError(f"the {what} must be at most 200 characters, without control characters")


def check_note(note: str) -> None:
    """Raise ConfigurationError for a note that is too long, not plain text, or holds a gateway key."""
    check_no_key(note, "the note")
    if len(note) > 2_000 or not re.match(NOTE, note):
        raise ConfigurationError("the note must be at most 2000 characters, without control characters")


def check_username(username: str) -> None:
    """Raise ConfigurationError for a username that Basic auth cannot carry (RFC 7617 §2)."""
    if not username or ":" in username:
        raise ConfigurationError("the username must not be empty nor have a colon in it")
    check_line(username, "username")


def check_pair(pair: Pair) -> None:
    """Raise ConfigurationError for an institution, username or password that cannot be used."""
    check_institution(pair.institution)
    check_no_key(pair.username, "the username")
    check_username(pair.username)
    if not pair.password:
        raise ConfigurationError("the password is empty")
    check_line(pair.password, "password")  # it may be another gateway's key


def _tenant_table(tenant_id: str, raw: Any) -> TenantTable:
    check_tenant_id(tenant_id)
    where = f"tenant {tenant_id!r}"
    fields = dict(_mapping(raw, where))
    institutions = _mapping(fields.pop("institutions", {}), f"{where}: institutions")
    keys = _mapping(fields.pop("keys", {}), f"{where}: keys")
    for key_id in keys:
        if KEY_ID.fullmatch(key_id) is None:
            raise ConfigurationError(f"{where}: a key's id is 10 letters and digits")
    table = _convert(fields, TenantTable, where)
    with located(where):
        networks = networks_in(table.networks)
        for origin in table.origins:
            check_origin(origin)
    return msgspec.structs.replace(
        table,
        networks=networks,
        institutions={name: _institution_table(table, name, where) for name, table in institutions.items()},
        keys={name: _convert(table, KeyTable, f"{where}, key {name}") for name, table in keys.items()},
    )


def _institution_table(raw: Any, institution: str, where: str) -> InstitutionTable:
    where = f"{where}, institution {institution!r}"
    table = _convert(raw, InstitutionTable, where)
    with located(where):
        check_institution(institution)
        check_username(table.username)
    return table


def _convert(raw: Any, kind: type[Table], where: str) -> Table:
    try:
        return msgspec.convert(_mapping(raw, where), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {_said(error)}") from None


def _said(error: msgspec.ValidationError) -> str:
    """The error's message, with words in place of a pattern."""
    wanted = "like sha256: and 64 hexadecimal digits" if DIGEST in str(error) else "without control characters"
    return re.sub("matching regex '.*'", wanted, str(error))


def _mapping(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"{where}: must be a table")
    return raw


def _refuse_shared_keys(tables: TenantTables) -> None:
    holders: dict[str, str] = {}
    for tenant_id, table in tables.items():
        for key_id in table.keys:
            if key_id in holders:
                raise ConfigurationError(f"tenant {tenant_id!r}: key {key_id} also belongs to {holders[key_id]!r}")
            holders[key_id] = tenant_id


def credential_of(tenant_id: str, institution: str, stored: InstitutionTable, vault: Vault) -> Credential:
    """The credential of a table, opened.

    Raises ConfigurationError that names tenant and institution where its password is in clear or does not open.
    """
    where = f"tenant {tenant_id!r}, institution {institution!r}"
    if not stored.password.startswith(SEALED):
        raise ConfigurationError(
            f"{where}: the password is stored in clear; encrypt it with: "
            f"stats-gateway tenant add {tenant_id} --institution {institution} --username {stored.username}"
        )
    with located(where):
        return vault.credential(institution, stored.username, stored.password)


def _key(key_id: str, stored: KeyTable) -> Key:
    digest = bytes.fromhex(stored.digest.removeprefix(DIGEST))
    return Key(key_id, digest, stored.label, stored.created, stored.expires, stored.revoked)


def tenant_view(tenant_id: str, table: TenantTable) -> dict[str, Any]:
    """A tenant for programs to read: no password, sealed or not, and no digest."""
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
        "keys": [key_view(key_id, key) for key_id, key in table.keys.items()],
    }


def key_view(key_id: str, key: KeyTable) -> dict[str, Any]:
    """A key for programs to read: its id, label and dates, but no digest."""
    return {"id": key_id, **{name: value for name, value in asdict(key).items() if name != "digest"}}
