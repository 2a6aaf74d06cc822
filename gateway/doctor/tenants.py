"""Tenants: whether those who are to ask can, and for how long yet. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from gateway.doctor.finding import Finding, counted, named, note, ok, warning
from gateway.errors import ConfigurationError
from gateway.tenants.schema import KeyTable, Tables, TenantTable, check_texts

SOON = timedelta(days=30)


def tenant_findings(tables: Tables, now: datetime, *, allow_anonymous: bool) -> Iterator[Finding]:
    """What is to be said of the registry's tenants and their keys."""
    if not tables:
        yield note(
            "tenants.count",
            "there are no tenants yet, so "
            + ("only public queries are" if allow_anonymous else "nobody is")
            + " answered",
            "stats-gateway tenant add ID --institution NAME --username NAME, then: stats-gateway key add ID",
        )
        return
    enabled = {tenant_id: table for tenant_id, table in tables.items() if table.enabled}
    yield ok("tenants.count", _counts(tables))
    yield from _idle(tables, enabled, now)
    yield from _pasted(tables)
    for tenant_id, table in enabled.items():
        yield from _ending(tenant_id, table, now)


def _counts(tables: Tables) -> str:
    keys = sum(len(table.keys) for table in tables.values())
    credentials = sum(len(table.institutions) for table in tables.values())
    return f"{counted(len(tables), 'tenant')}, {counted(keys, 'key')}, {counted(credentials, 'credential')}"


def _idle(tables: Tables, enabled: Tables, now: datetime) -> Iterator[Finding]:
    if disabled := [tenant_id for tenant_id in tables if tenant_id not in enabled]:
        yield note(
            "tenants.disabled",
            f"disabled, so that no key of theirs works: {named(disabled)}",
            "stats-gateway tenant set ID --enable",
        )
    if keyless := [each for each, table in enabled.items() if not table.networks and not _live(table, now)]:
        yield note("tenants.keys", f"without a key that works: {named(keyless)}", "stats-gateway key add ID")
    if poor := [tenant_id for tenant_id, table in enabled.items() if not table.institutions]:
        yield note(
            "tenants.credentials",
            f"without any institution's credential, so that they get public numbers only: {named(poor)}",
            "stats-gateway tenant add ID --institution NAME --username NAME",
        )


def _pasted(tables: Tables) -> Iterator[Finding]:
    """Keys that an older version, or an editor, let into what everybody is shown."""
    for tenant_id, table in tables.items():
        try:
            check_texts(tenant_id, table)
        except ConfigurationError as error:
            yield warning("tenants.texts", error.message, f"stats-gateway tenant show {tenant_id}, and clear it")


def _ending(tenant_id: str, table: TenantTable, now: datetime) -> Iterator[Finding]:
    live = _live(table, now)
    for key_id, key in live.items():
        if key.expires is None or key.expires > now + SOON:
            continue
        what = f"key {key_id}{_labelled(key)} of {tenant_id} ends {_until(key.expires - now)}"
        if any(_replaces(other, key) for other in live.values()):
            yield note(
                "tenants.expiry", f"{what}; another with its label goes on", "make sure that that one is used"
            )
        else:
            yield warning("tenants.expiry", what, f"stats-gateway key rotate {key_id}, and use the new one")


def _live(table: TenantTable, now: datetime) -> dict[str, KeyTable]:
    return {
        key_id: key
        for key_id, key in table.keys.items()
        if key.revoked is None and (key.expires is None or key.expires > now)
    }


def _replaces(other: KeyTable, key: KeyTable) -> bool:
    """Whether another key of the same purpose was made later and goes on for longer, as a rotation leaves it."""
    if key.expires is None or other.label != key.label:
        return False
    later = key.created is None or (other.created is not None and other.created > key.created)
    return later and (other.expires is None or other.expires > key.expires)


def _labelled(key: KeyTable) -> str:
    return f" ({key.label})" if key.label else ""


def _until(left: timedelta) -> str:
    days = round(left / timedelta(days=1))
    return f"in {counted(days, 'day')}" if days else "within a day"
