"""``stats-gateway tenant``: who may ask, and with which institutions' credentials."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from gateway.cli.registry import AsJson, RegistryPath, key_rows, one_tenant, open_registry, tell, told_tenant
from gateway.cli.table import aligned
from gateway.errors import ConfigurationError
from gateway.tenants.tables import TenantTable
from gateway.tenants.tenant import Pair

app = typer.Typer(
    name="tenant",
    help="Manage tenants: who may ask, and with which institutions' credentials.",
    no_args_is_help=True,
)
TenantId = Annotated[str, typer.Argument(metavar="ID", help="The tenant's id: a-z, 0-9 and -.")]
PASSWORD_MAX_BYTES = 4_096


@app.command()
def add(
    tenant_id: TenantId,
    name: Annotated[str | None, typer.Option("--name", help="What people call the tenant.")] = None,
    institution: Annotated[
        str | None, typer.Option("--institution", help="The institution, as in the service's URLs.")
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", help="The institution's username at the service.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin instead of asking for it.")
    ] = False,
    registry: RegistryPath = None,
) -> None:
    """Add a tenant, or another institution to the one there is.

    The password is asked for, or read from stdin; it is never an argument,
    which other users of the machine could see. It is encrypted before it is
    stored. Running gateways follow within a second or two.

    Examples:

      stats-gateway tenant add reports --name "Report scripts"

      stats-gateway tenant add reports --institution lboro --username lboro

      … --institution monash --username monash --password-stdin < password.txt
    """
    place = open_registry(registry)
    before = place.tables().get(tenant_id)
    if before is not None and name is None and institution is None:
        raise ConfigurationError(f"tenant {tenant_id!r} exists; give --institution or --name to change it")
    place.add(tenant_id, name, _pair(institution, username, password_stdin))
    _tell_added(tenant_id, institution, before)


@app.command("list")
def list_tenants(as_json: AsJson = False, registry: RegistryPath = None) -> None:
    """List all tenants."""
    tables = open_registry(registry).tables()
    if as_json:
        _print_json([told_tenant(tenant_id, table) for tenant_id, table in tables.items()])
    elif tables:
        rows = [_row(tenant_id, table) for tenant_id, table in tables.items()]
        print(aligned(["ID", "NAME", "STATUS", "INSTITUTIONS", "KEYS"], rows))
    else:
        tell("There are no tenants yet; add one: stats-gateway tenant add ID --name NAME")


@app.command()
def show(tenant_id: TenantId, as_json: AsJson = False, registry: RegistryPath = None) -> None:
    """Show one tenant: its institutions and its keys, never a secret."""
    table = one_tenant(open_registry(registry), tenant_id)
    if as_json:
        _print_json(told_tenant(tenant_id, table))
        return
    print(aligned(["ID", "NAME", "STATUS", "INSTITUTIONS", "KEYS"], [_row(tenant_id, table)]))
    if table.institutions:
        rows = [[institution, stored.username] for institution, stored in table.institutions.items()]
        print("\n" + aligned(["INSTITUTION", "USERNAME"], rows))
    if table.keys:
        print("\n" + aligned(["KEY", "LABEL", "CREATED", "STATUS"], key_rows(table.keys)))


@app.command()
def remove(
    tenant_id: TenantId,
    institution: Annotated[
        str | None, typer.Option("--institution", help="Remove only this institution's credential.")
    ] = None,
    registry: RegistryPath = None,
) -> None:
    """Remove a tenant with its keys and credentials, or one institution from it.

    Examples:

      stats-gateway tenant remove reports

      stats-gateway tenant remove reports --institution monash
    """
    open_registry(registry).remove(tenant_id, institution)
    if institution is None:
        tell(f"Removed tenant {tenant_id}; its keys no longer work.")
    else:
        tell(f"Removed the credential for {institution} from tenant {tenant_id}.")


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
    """All of stdin but one line end."""
    try:
        text = sys.stdin.buffer.read(PASSWORD_MAX_BYTES).decode()
    except UnicodeDecodeError:
        raise ConfigurationError("the password on stdin is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _password_asked_for(institution: str, username: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask for the password on; use --password-stdin")
    answer: str = typer.prompt(f"Password of {username} at {institution}", hide_input=True, err=True)
    return answer


def _tell_added(tenant_id: str, institution: str | None, before: TenantTable | None) -> None:
    if institution is None:
        tell(f"Added tenant {tenant_id}." if before is None else f"Renamed tenant {tenant_id}.")
    elif before is None:
        tell(f"Added tenant {tenant_id} with the credential for {institution}.")
    elif institution in before.institutions:
        tell(f"Replaced the credential for {institution} of tenant {tenant_id}.")
    else:
        tell(f"Added the credential for {institution} to tenant {tenant_id}.")
    if before is None:
        tell(f"Next, make a key: stats-gateway key add {tenant_id}")


def _row(tenant_id: str, table: TenantTable) -> list[str]:
    active = sum(key.revoked is None for key in table.keys.values())
    return [
        tenant_id,
        table.name or tenant_id,
        "enabled" if table.enabled else "disabled",
        ", ".join(table.institutions) or "-",
        str(active),
    ]


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
