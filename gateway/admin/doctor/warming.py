"""Checks of the scheduled warmings: whether their tenants may ask, and whether their lists can be used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.admin.doctor.finding import Finding, counted, ok, problem, warning
from gateway.errors import ConfigurationError, GatewayError
from gateway.jobs.schedule import Scheduled, scheduled
from gateway.settings import Settings
from gateway.tenants.files import LIMIT, aside
from gateway.tenants.schema import TenantTables

LISTS, TENANTS = "warming.lists", "warming.tenants"


def warming_findings(tables: TenantTables, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Findings on the warmings of the settings; ``tables`` are those of the registry."""
    try:
        entries = scheduled(settings)
    except ConfigurationError as error:
        yield problem(LISTS, error.message, "mend that template; serve refuses it")
        return
    for entry in entries:
        yield from _tenant(entry, tables)
        yield _list(entry, now)


def _tenant(entry: Scheduled, tables: TenantTables) -> Iterator[Finding]:
    id = entry.warming.tenant
    if id not in tables:
        what, advice = f"there is no tenant {id!r}", f"set warm.{entry.name}.tenant, or: stats-gateway tenant add"
        yield warning(TENANTS, f"warming {entry.name} cannot run: {what}", advice)
    elif not tables[id].enabled:
        what, advice = f"tenant {id!r} is disabled", f"stats-gateway tenant set {id} --enable"
        yield warning(TENANTS, f"warming {entry.name} cannot run: {what}", advice)


def _list(entry: Scheduled, now: datetime) -> Finding:
    try:
        targets = aside(entry.targets).result(LIMIT)
    except GatewayError as error:
        return _unusable(entry, error.message)
    except TimeoutError:
        return _unusable(entry, f"{entry.warming.file} cannot be read within {LIMIT:.0f} seconds")
    following = entry.schedule.following(now.timestamp())
    due = "" if following is None else f", due next on {datetime.fromtimestamp(following, UTC):%Y-%m-%d %H:%M} UTC"
    return ok(LISTS, f"warming {entry.name} has {counted(len(targets), 'target')}{due}")


def _unusable(entry: Scheduled, why: str) -> Finding:
    advice = f"put a target a line into that file, readable for the gateway's user, or set warm.{entry.name}.file"
    return warning(LISTS, f"warming {entry.name} cannot run: {why}", advice)
