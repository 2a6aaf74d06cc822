"""``stats-gateway key`` and ``stats-gateway secrets``: gateway keys, and the keys that encrypt passwords."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.fernet import Fernet

from gateway.cli.format import ago, aligned, moment_of, seconds_of
from gateway.cli.options import (
    DEFAULT_URL,
    AdminUrl,
    AsJson,
    Commands,
    RegistryPlace,
    ask_admin,
    examples,
    flag,
    key_ids,
    note,
    open_registry,
    option,
    print_json,
    tenant_ids,
    tenant_in,
)
from gateway.errors import ConfigurationError, located
from gateway.tenants import files
from gateway.tenants.export import resealed_export
from gateway.tenants.schema import KeyTable, check_tenant_id, key_view
from gateway.tenants.vault import Vault

app = Commands(name="key", help="Manage gateway keys: what applications send in a password's place.")
secrets = Commands(name="secrets", help="Manage the keys that encrypt the institutions' passwords.")
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
    label: Annotated[str, option("--label", "TEXT", "What the key is for, to tell keys apart.")] = "",
    expires: Annotated[
        str | None, option("--expires", "WHEN", "When it ends: a span like 90d, or a date like 2030-01-31.")
    ] = None,
    registry: RegistryPlace = None,
) -> None:
    """Make a key and print it, alone, on stdout.

    It is shown this once: only its digest is stored.
    """
    print(open_registry(registry).add_key(tenant_id, label, expires=_end(expires)))
    note("Keep it safe: it cannot be shown again. Send it as X-API-Key, or as the password of basic auth.")


@app.command(
    "list", epilog=examples("stats-gateway key list reports", "stats-gateway key list reports --last-used --json")
)
def list_keys(
    tenant_id: TenantId,
    last_used: Annotated[bool, flag("--last-used", "Ask a running gateway when each key was last used.")] = False,
    as_json: AsJson = False,
    registry: RegistryPlace = None,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """List a tenant's keys by id.

    A key itself cannot be shown again. With --last-used the admin API of a running gateway is asked.
    """
    if last_used:
        check_tenant_id(tenant_id)
        _show_last_used(ask_admin(admin_url, "GET", f"/api/tenants/{tenant_id}/keys"), as_json)
        return
    held = tenant_in(open_registry(registry), tenant_id).keys
    if as_json:
        print_json([key_view(key_id, key) for key_id, key in held.items()])
    elif held:
        print(key_lines(held))
    else:
        note(f"Tenant {tenant_id} has no keys yet; make one: stats-gateway key add {tenant_id}")


@app.command(epilog=examples("stats-gateway key revoke AbCdEf1234", title="Example"))
def revoke(key_id: KeyId, registry: RegistryPlace = None) -> None:
    """Revoke a key for ever.

    Running gateways refuse it within a second or two.
    """
    open_registry(registry).revoke_key(key_id)
    note(f"Revoked key {key_id}.")


@app.command(epilog=examples("stats-gateway key rotate AbCdEf1234 --overlap 7d", title="Example"))
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, option("--overlap", "SPAN", "How long the old key still works, like 7d or 1h.")
    ] = "7d",
    expires: Annotated[
        str | None, option("--expires", "WHEN", "When the new key ends; else after as long a life as the old.")
    ] = None,
    registry: RegistryPlace = None,
) -> None:
    """Make a key in another's place and print it, alone.

    Both work for a while, so that applications can move without a gap.
    """
    end = _end(expires)
    print(open_registry(registry).rotate_key(key_id, seconds_of(overlap), expires=end))
    note(f"The new key works at once; key {key_id} ends in {overlap}, unless it was to end earlier.")


def key_lines(keys: dict[str, KeyTable]) -> str:
    rows = [
        [key_id, key.label or "-", _shown(key.created) or "-", _shown(key.expires) or "-", _status(key)]
        for key_id, key in keys.items()
    ]
    return aligned(["KEY", "LABEL", "CREATED", "EXPIRES", "STATUS"], rows)


def is_live(key: KeyTable) -> bool:
    """Whether a key is neither revoked nor expired."""
    return key.revoked is None and (key.expires is None or key.expires > datetime.now(UTC))


def _status(key: KeyTable) -> str:
    if key.revoked is not None:
        return f"revoked {_shown(key.revoked)}"
    return "active" if is_live(key) else "expired"


def _shown(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def _end(expires: str | None) -> datetime | None:
    return None if expires is None else moment_of(expires, datetime.now(UTC)).replace(microsecond=0)


def _show_last_used(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told["keys"])
    elif told["keys"]:
        rows = [[key["id"], key["label"] or "-", *_used(key["last_used"], time.time())] for key in told["keys"]]
        print(aligned(["KEY", "LABEL", "LAST USED", "AGO"], rows))
    if "delay" in told:
        note(_age(told["delay"]))


def _used(seconds: float | None, now: float) -> tuple[str, str]:
    """When a key was used, and how long ago."""
    if seconds is None:
        return "-", "-"
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds"), ago(max(0.0, now - seconds))


def _age(delay: float | None) -> str:
    """How old what gateways report is: ``delay`` seconds at most, None where Redis does not answer."""
    if delay is None:
        return "Redis does not answer: when keys were last used is not known now."
    return f"Uses of the last {delay:.0f} s may be missing: gateways report theirs that often."


@secrets.command(
    epilog=examples("export STATS_GATEWAY_ENCRYPTION_KEYS=$(stats-gateway secrets generate)", title="Example")
)
def generate() -> None:
    """Print a new key for STATS_GATEWAY_ENCRYPTION_KEYS."""
    print(Fernet.generate_key().decode())


@secrets.command(
    "rotate",
    epilog=examples(
        "STATS_GATEWAY_ENCRYPTION_KEYS=NEW,OLD stats-gateway secrets rotate",
        "stats-gateway secrets rotate --new-key --export tenants-2030-01-31.toml",
    ),
)
def rotate_secrets(
    new_key: Annotated[bool, flag("--new-key", "First make a new key, in the file beside the registry.")] = False,
    export: Annotated[
        list[Path] | None, option("--export", "FILE", "Also encrypt this export again; may be repeated.")
    ] = None,
    yes: Annotated[bool, flag("--yes", "Do not ask back on a terminal.")] = False,
    registry: RegistryPlace = None,
) -> None:
    """Encrypt every stored password with the newest key.

    Older keys can go then.

    Where the keys come from STATS_GATEWAY_ENCRYPTION_KEYS: set it to NEW,OLD
    everywhere and restart, rotate, then set it to NEW alone. Where they lie in
    the file beside the registry, --new-key does all of it, while gateways run.

    A new newest key changes the fingerprints of all credentials: protected
    answers are fetched again, at the budget's pace.

    Exports and backups stay encrypted with the older keys. Those that you name
    with --export are encrypted again.
    """
    place, exports = open_registry(registry), export or []
    vault = place.keyring.vault()
    for file in exports:
        _reseal(file, vault, write=False)  # before anything is written
    older = vault.marks if new_key else vault.marks[1:]
    if older:
        note(_left_behind(older, gone=new_key))
    if new_key and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm("Go on?", abort=True, err=True)
    count = place.renew_keys(partial(_reseal_all, exports)) if new_key else place.reseal()
    if not new_key:
        _reseal_all(exports, vault)
    note(f"Encrypted the passwords of {count} tenants with the newest key.")
    for file in exports:
        note(f"Encrypted {file} with the newest key.")
    note("The older keys are no longer there." if new_key else "The registry no longer needs the older keys.")


def _left_behind(older: Sequence[str], *, gone: bool) -> str:
    """What the older keys, by their marks, are still needed for."""
    what = "Exports, copies of the registry and backups of Redis that were made until now"
    keys = f"the older encryption keys ({', '.join(older)})"
    if gone:
        return f"{what} cannot be opened once {keys} are gone, except those named by --export."
    return f"{what} still need {keys}: encrypt exports again with --export before these keys go."


def _reseal_all(exports: Sequence[Path], vault: Vault) -> None:
    for file in exports:
        _reseal(file, vault, write=True)


def _reseal(file: Path, vault: Vault, *, write: bool) -> None:
    """Encrypt an export with the newest key, or only see that it can be. Raises ConfigurationError."""
    text = files.read(file)
    if text is None:
        raise ConfigurationError(f"there is no file {file}")
    with located(str(file)):
        sealed = resealed_export(text, vault, datetime.now(UTC))
    if write:
        files.replace(file, sealed)
