"""``stats-gateway key``: the keys that applications send in a password's place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.format import moment_of, seconds_of
from gateway.cli.options import Commands, examples, key_ids, tenant_ids
from gateway.cli.registry import AsJson, RegistryPath, key_rows, one_tenant, open_registry, print_json, tell
from gateway.cli.screen import aligned
from gateway.tenants.schema import check_tenant_id, told_key

app = Commands(name="key", help="Manage gateway keys: what applications send in a password's place.")
TenantId = Annotated[
    str,
    typer.Argument(metavar="TENANT", help="The id of the tenant that holds the key.", autocompletion=tenant_ids),
]
KeyId = Annotated[
    str,
    typer.Argument(
        metavar="KEYID", help="The key's id: what follows sgw_; see: key list.", autocompletion=key_ids
    ),
]


@app.command(
    epilog=examples(
        "stats-gateway key add reports --label cron --expires 365d",
        "KEY=$(stats-gateway key add reports)",
    )
)
def add(
    tenant_id: TenantId,
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="What the key is for, to tell keys apart.")
    ] = "",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="WHEN", help="When it ends: a span like 90d, or a date like 2030-01-31."
        ),
    ] = None,
    registry: RegistryPath = None,
) -> None:
    """Make a key and print it, alone, on stdout.

    It is shown this once: only its digest is stored.
    """
    end = None if expires is None else moment_of(expires, datetime.now(UTC)).replace(microsecond=0)
    print(open_registry(registry).add_key(tenant_id, label, expires=end))
    tell("Keep it safe: it cannot be shown again. Send it as X-API-Key, or as the password of basic auth.")


@app.command(
    "list", epilog=examples("stats-gateway key list reports", "stats-gateway key list reports --last-used --json")
)
def list_keys(
    tenant_id: TenantId,
    last_used: Annotated[
        bool, typer.Option("--last-used", help="Ask a running gateway when each key was last used.")
    ] = False,
    as_json: AsJson = False,
    registry: RegistryPath = None,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """List a tenant's keys by id.

    A key itself cannot be shown again. With --last-used the admin API of a running gateway tells all of it.
    """
    if last_used:
        _tell_used(ask(admin_url, "GET", f"/api/tenants/{_safe(tenant_id)}/keys"), as_json)
        return
    held = one_tenant(open_registry(registry), tenant_id).keys
    if as_json:
        print_json([told_key(key_id, key) for key_id, key in held.items()])
    elif held:
        print(aligned(["KEY", "LABEL", "CREATED", "EXPIRES", "STATUS"], key_rows(held)))
    else:
        tell(f"Tenant {tenant_id} has no keys yet; make one: stats-gateway key add {tenant_id}")


@app.command(epilog=examples("stats-gateway key revoke AbCdEf1234", title="Example"))
def revoke(key_id: KeyId, registry: RegistryPath = None) -> None:
    """Revoke a key for ever.

    Running gateways refuse it within a second or two.
    """
    open_registry(registry).revoke_key(key_id)
    tell(f"Revoked key {key_id}.")


@app.command(epilog=examples("stats-gateway key rotate AbCdEf1234 --overlap 7d", title="Example"))
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="SPAN", help="How long the old key still works, like 7d or 1h.")
    ] = "7d",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="WHEN", help="When the new key ends; else after as long a life as the old."
        ),
    ] = None,
    registry: RegistryPath = None,
) -> None:
    """Make a key in another's place and print it, alone.

    Both work for a while, so that applications can move without a gap.
    """
    end = None if expires is None else moment_of(expires, datetime.now(UTC)).replace(microsecond=0)
    print(open_registry(registry).rotate_key(key_id, seconds_of(overlap), expires=end))
    tell(f"The new key works at once; key {key_id} ends in {overlap}, unless it was to end earlier.")


def _tell_used(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told["keys"])
        return
    rows = [[each["id"], each["label"] or "-", _moment(each["last_used"])] for each in told["keys"]]
    print(aligned(["KEY", "LABEL", "LAST USED"], rows))


def _moment(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _safe(tenant_id: str) -> str:
    check_tenant_id(tenant_id)
    return tenant_id
