"""``stats-gateway tenant``: who may ask, and with which institutions' credentials."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec.structs import asdict

from gateway.admin.doctor.finding import counted
from gateway.cache.lifetimes import Rule
from gateway.cli.format import aligned
from gateway.cli.key import is_live, key_lines
from gateway.cli.options import (
    AsJson,
    Commands,
    RegistryPlace,
    examples,
    flag,
    institutions,
    note,
    open_registry,
    option,
    print_json,
    tenant_ids,
    tenant_in,
)
from gateway.errors import ConfigurationError, located
from gateway.tenants.export import export_text, read_export
from gateway.tenants.registry import Registry
from gateway.tenants.schema import TenantTable, TenantTables, tenant_view
from gateway.tenants.tenant import Pair, TenantLimits

app = Commands(name="tenant", help="Manage tenants: who may ask, and with whose credentials.")
NewTenantId = Annotated[
    str, typer.Argument(metavar="ID", help="The tenant's id: a-z, 0-9 and -.", autocompletion=tenant_ids)
]
TenantId = Annotated[
    str, typer.Argument(metavar="ID", help="The tenant's id; see: tenant list.", autocompletion=tenant_ids)
]
PASSWORD_MAX_BYTES = 4_096


@app.command(
    epilog=examples(
        'stats-gateway tenant add reports --name "Report scripts"',
        "stats-gateway tenant add reports --institution lboro --username lboro",
        "stats-gateway tenant add reports --institution monash \\",
        "    --username monash --password-stdin < password.txt",
    )
)
def add(
    tenant_id: NewTenantId,
    name: Annotated[str | None, option("--name", "TEXT", "What people call the tenant.")] = None,
    institution: Annotated[
        str | None, option("--institution", "NAME", "The institution, as in the service's URLs.")
    ] = None,
    username: Annotated[
        str | None, option("--username", "NAME", "The institution's username at the service.")
    ] = None,
    password_stdin: Annotated[
        bool, flag("--password-stdin", "Read the password from stdin instead of asking for it.")
    ] = False,
    registry: RegistryPlace = None,
) -> None:
    """Add a tenant, or another institution to the one there is.

    The password is asked for, or read from stdin; it is never an argument,
    which other users of the machine could see. It is encrypted before it is
    stored. Running gateways follow within a second or two.
    """
    place = open_registry(registry)
    before = place.store.get(tenant_id)
    if before is not None and name is None and institution is None:
        raise ConfigurationError(f"tenant {tenant_id!r} exists; give --institution or --name to change it")
    place.add(tenant_id, name, _pair(institution, username, password_stdin))
    _note_added(tenant_id, institution, before)


@app.command("list")
def list_tenants(as_json: AsJson = False, registry: RegistryPlace = None) -> None:
    """List all tenants."""
    tables = open_registry(registry).store.read()
    if as_json:
        print_json([tenant_view(tenant_id, table) for tenant_id, table in tables.items()])
    elif tables:
        rows = [_row(tenant_id, table) for tenant_id, table in tables.items()]
        print(aligned(["ID", "NAME", "STATUS", "INSTITUTIONS", "KEYS"], rows))
    else:
        note("There are no tenants yet; add one: stats-gateway tenant add ID --name NAME")


@app.command(epilog=examples("stats-gateway tenant show reports --json", title="Example"))
def show(tenant_id: TenantId, as_json: AsJson = False, registry: RegistryPlace = None) -> None:
    """Show one tenant: its institutions and its keys, never a secret."""
    table = tenant_in(open_registry(registry), tenant_id)
    if as_json:
        print_json(tenant_view(tenant_id, table))
        return
    print(aligned(["ID", "NAME", "STATUS", "INSTITUTIONS", "KEYS"], [_row(tenant_id, table)]))
    for field, value in _own_rows(table):
        print(f"{field}: {value}")
    if table.institutions:
        rows = [[institution, stored.username] for institution, stored in table.institutions.items()]
        print("\n" + aligned(["INSTITUTION", "USERNAME"], rows))
    if table.keys:
        print("\n" + key_lines(table.keys))


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """What is to be changed of a tenant, but for its limits; the value ``none`` takes it out."""

    name: Annotated[str | None, option("--name", "TEXT", "What people call the tenant.")] = None
    enabled: Annotated[bool | None, flag("--enable/--disable", "Whether its keys work.")] = None
    note: Annotated[str | None, option("--note", "TEXT", "Anything to remember.")] = None
    origin: Annotated[
        list[str] | None, option("--origin", "URL", "A web origin whose pages may call; may be given again.")
    ] = None
    network: Annotated[
        list[str] | None, option("--network", "PREFIX", "A network that calls without a key; may be given again.")
    ] = None

    def given(self) -> dict[str, Any]:
        """The fields that were given, by the names that the registry has for them."""
        typed: dict[str, Any] = {
            "name": self.name,
            "enabled": self.enabled,
            "note": self.note,
            "origins": self.origin,
            "networks": self.network,
        }
        given = {field: value for field, value in typed.items() if value not in (None, [])}
        return {field: None if value in ("none", ["none"]) else value for field, value in given.items()}


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """A tenant's own limits, as they are typed; the value ``none`` takes one out."""

    requests_per_second: Annotated[
        str | None, option("--requests-per-second", "N", "How many requests a second it may make.")
    ] = None
    burst: Annotated[str | None, option("--burst", "N", "How many of those may come at once.")] = None
    requests_per_day: Annotated[str | None, option("--requests-per-day", "N", "How many a day, by UTC.")] = None
    queued: Annotated[str | None, option("--queued", "N", "Calls of its that may wait at once.")] = None
    share: Annotated[
        str | None, option("--share", "N", "Its weight in the upstream budget, beside others' 1.")
    ] = None
    lifetime: Annotated[
        list[str] | None, option("--lifetime", "NAME=N", "Its own lifetime, like open=60, in seconds.")
    ] = None

    def changes(self) -> dict[str, Any]:
        """The limits and lifetimes that were given. Raises ConfigurationError."""
        typed = {name: getattr(self, name) for name in TenantLimits.__struct_fields__}
        return {
            "limits": {field: _number(field, text) for field, text in typed.items() if text is not None},
            "lifetimes": dict(_lifetime(text) for text in self.lifetime or ()),
        }


@app.command(
    "set",
    epilog=examples(
        "stats-gateway tenant set reports --requests-per-second 20 --burst 40",
        "stats-gateway tenant set reports --share 3 --queued 50 --lifetime open=60",
        "stats-gateway tenant set reports --origin https://dashboard.example.org",
        "stats-gateway tenant set intranet --network 10.1.0.0/16 --network 2001:db8:1::/48",
        "stats-gateway tenant set reports --requests-per-second none --disable",
    ),
)
def change(
    tenant_id: TenantId, changes: ChangeOptions, limits: LimitOptions, registry: RegistryPlace = None
) -> None:
    """Change a tenant's name, state, limits, origins, networks and more.

    The value none takes a limit, a lifetime or a text out. Networks count only
    for requests to one of the setting public_hosts; see docs/security.md.
    Running gateways follow within a second or two.
    """
    wanted = changes.given() | limits.changes()
    if not any(value != {} for value in wanted.values()):
        raise ConfigurationError("there is nothing to change; see: stats-gateway tenant set --help")
    open_registry(registry).change(tenant_id, **wanted)
    note(f"Changed tenant {tenant_id}.")


@app.command(
    epilog=examples(
        "stats-gateway tenant remove reports",
        "stats-gateway tenant remove reports --institution monash",
    )
)
def remove(
    tenant_id: TenantId,
    institution: Annotated[
        str | None,
        option("--institution", "NAME", "Remove only this institution's credential.", complete=institutions),
    ] = None,
    registry: RegistryPlace = None,
) -> None:
    """Remove a tenant, or one institution from it.

    Its keys and credentials go with it. Running gateways refuse the keys within a second or two.
    """
    open_registry(registry).remove(tenant_id, institution)
    if institution is None:
        note(f"Removed tenant {tenant_id}; its keys no longer work.")
    else:
        note(f"Removed the credential for {institution} from tenant {tenant_id}.")


@app.command("export", epilog=examples("stats-gateway tenant export > tenants-2030-01-31.toml", title="Example"))
def export_tenants(registry: RegistryPlace = None) -> None:
    """Print all tenants as TOML, for another registry to import.

    Passwords stay encrypted, and keys are digests.
    """
    place = open_registry(registry)
    tables = place.store.read()
    print(export_text(tables, _mark_of(place), datetime.now(UTC)), end="")
    note(f"Exported {counted(len(tables), 'tenant')}.")


@app.command(
    "import",
    epilog=examples(
        "stats-gateway tenant export > all.toml",
        "export STATS_GATEWAY_ENCRYPTION_KEYS=$(paste -sd, tenants.toml.key)",
        "export STATS_GATEWAY_REGISTRY=redis://127.0.0.1:6379/1",
        "stats-gateway tenant import all.toml",
    ),
)
def import_tenants(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What export printed; - reads stdin.")],
    replace: Annotated[
        bool, flag("--replace", "Replace the tenants of the same id that are there already.")
    ] = False,
    registry: RegistryPlace = None,
) -> None:
    """Take in the tenants that another registry exported.

    They come with their keys and credentials. The same encryption keys must be available: those of a registry file
    lie beside it, in FILE.key. Nothing is written when a password does not open.
    """
    tables = _tables_from(file)
    open_registry(registry).import_tables(tables, replace=replace)
    note(f"Imported {counted(len(tables), 'tenant')}.")


def _mark_of(place: Registry) -> str:
    """The mark of the newest encryption key; empty where that is not at hand, which an export does not need."""
    with suppress(ConfigurationError):
        return place.keyring.vault().mark
    return ""


def _tables_from(file: str) -> TenantTables:
    """Raises ConfigurationError for what is no export."""
    try:
        text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: not UTF-8") from None
    with located(file):
        return read_export(text)


def _number(name: str, text: str) -> float | None:
    """A number, whole where it is written so; None for ``none``."""
    if text == "none":
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a number, or none, not {text!r}") from None


def _lifetime(text: str) -> tuple[str, float | None]:
    rule, equals, value = text.partition("=")
    if not equals or rule not in set(Rule):
        raise ConfigurationError(f"--lifetime must be like open=60, with one of {', '.join(sorted(Rule))}")
    return rule, _number(f"lifetime {rule}", value)


def _pair(institution: str | None, username: str | None, password_stdin: bool) -> Pair | None:
    if institution is None:
        if username is not None or password_stdin:
            raise ConfigurationError("--username and --password-stdin need --institution")
        return None
    if username is None:
        raise ConfigurationError("--institution needs --username")
    password = _password_from_stdin() if password_stdin else _password_asked_for(institution, username)
    return Pair(institution, username, password)


def _password_from_stdin() -> str:
    """All of stdin but a byte order mark and one line end."""
    try:
        text = sys.stdin.buffer.read(PASSWORD_MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError("the password on stdin is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _password_asked_for(institution: str, username: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask for the password on; use --password-stdin")
    answer: str = typer.prompt(f"Password of {username} at {institution}", hide_input=True, err=True)
    return answer


def _note_added(tenant_id: str, institution: str | None, before: TenantTable | None) -> None:
    if institution is None:
        note(f"Added tenant {tenant_id}." if before is None else f"Renamed tenant {tenant_id}.")
    elif before is None:
        note(f"Added tenant {tenant_id} with the credential for {institution}.")
    elif institution in before.institutions:
        note(f"Replaced the credential for {institution} of tenant {tenant_id}.")
    else:
        note(f"Added the credential for {institution} to tenant {tenant_id}.")
    if before is None:
        note(f"Next, make a key: stats-gateway key add {tenant_id}")


def _row(tenant_id: str, table: TenantTable) -> list[str]:
    active = sum(is_live(key) for key in table.keys.values())
    return [
        tenant_id,
        table.name or tenant_id,
        "enabled" if table.enabled else "disabled",
        ", ".join(table.institutions) or "-",
        str(active),
    ]


def _own_rows(table: TenantTable) -> list[tuple[str, object]]:
    """The tenant's own limits, lifetimes, origins, networks and note, for people."""
    limits = {field: value for field, value in asdict(table.limits).items() if value not in (None, 1.0)}
    rows = [*limits.items(), *((f"lifetime {rule}", life) for rule, life in table.lifetimes.items())]
    rows += [("origin", origin) for origin in table.origins]
    rows += [("network", network) for network in table.networks]
    return rows + ([("note", table.note)] if table.note else [])
