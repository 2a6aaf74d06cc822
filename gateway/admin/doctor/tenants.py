"""Checks of the registry: tenants, keys, passwords, networks, and its state in the gateway that runs here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, NamedTuple

import httpx2 as httpx

from gateway.admin.doctor.finding import Finding, Fix, counted, named, note, ok, problem, warning
from gateway.errors import ConfigurationError
from gateway.proxy.methods import HOST
from gateway.proxy.response import ANY
from gateway.settings import Settings
from gateway.tenants.directory import disputes
from gateway.tenants.schema import KeyTable, TenantTable, TenantTables, check_texts, credential_of
from gateway.tenants.tenant import Credential, Network, network_of
from gateway.tenants.vault import Vault

SOON = timedelta(days=30)
MOST_SHOWN = 5
NETWORKS = "tenants.networks"
WIDE = {4: 16, 6: 48}
"""Bits of a prefix below which a network is more than one site usually has, by the IP version."""
SET = "stats-gateway tenant set ID --network …"
RISKS: Sequence[tuple[Callable[[str, str, str], Finding], Callable[[Network], bool], str, str]] = (
    (
        warning,
        lambda network: network.is_global,
        "public addresses: {}; a caller that has one, or uses a NAT that has, gets the tenant's numbers",
        "list addresses of your own network, or let those callers send a key",
    ),
    (
        note,
        lambda network: network.prefixlen < WIDE[network.version],
        "wide networks: {}; all that runs there gets the tenant's numbers, what hands on others' requests too",
        "list the smaller networks of those who call",
    ),
    (
        note,
        lambda network: network.is_loopback,
        "this machine's own addresses: {}; whatever runs here gets the tenant's numbers, a proxy or a tunnel for "
        "others too",
        "let those callers send a key",
    ),
)
READY = "/-/health/ready"
SECONDS = 1.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (looked up, not listened on)
REASONS = {
    "unread": "cannot read its registry",
    "broken": "cannot use all of its registry",
    "doubtful": "does not believe its registry, which has lost most of its tenants at once",
}


def tenant_findings(tables: TenantTables, now: datetime, *, allow_anonymous: bool) -> Iterator[Finding]:
    """Findings on the registry's tenants and their keys."""
    if not tables:
        answered = "only public queries are" if allow_anonymous else "nobody is"
        yield note(
            "tenants.count",
            f"there are no tenants yet, so {answered} answered",
            "stats-gateway tenant add ID --institution NAME --username NAME, then: stats-gateway key add ID",
        )
        return
    enabled = {tenant_id: table for tenant_id, table in tables.items() if table.enabled}
    yield ok("tenants.count", _counts(tables))
    yield from _idle(tables, enabled, now)
    yield from _pasted(tables)
    for tenant_id, table in enabled.items():
        yield from _ending(tenant_id, table, now)


def _counts(tables: TenantTables) -> str:
    keys = sum(len(table.keys) for table in tables.values())
    credentials = sum(len(table.institutions) for table in tables.values())
    return f"{counted(len(tables), 'tenant')}, {counted(keys, 'key')}, {counted(credentials, 'credential')}"


def _idle(tables: TenantTables, enabled: TenantTables, now: datetime) -> Iterator[Finding]:
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


def _pasted(tables: TenantTables) -> Iterator[Finding]:
    """Gateway keys in texts that everybody sees, let in by an older version or an editor."""
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
    """Whether another key with the same label is newer and lasts longer, as after a rotation."""
    if key.expires is None or other.label != key.label:
        return False
    later = key.created is None or (other.created is not None and other.created > key.created)
    return later and (other.expires is None or other.expires > key.expires)


def _labelled(key: KeyTable) -> str:
    return f" ({key.label})" if key.label else ""


def _until(left: timedelta) -> str:
    days = round(left / timedelta(days=1))
    return f"in {counted(days, 'day')}" if days else "within a day"


@dataclass(slots=True)
class Opened:
    """The credentials that open, with their tenants; why others do not; how many need an older key."""

    held: list[tuple[str, Credential]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    old: int = 0


def opened(tables: TenantTables, vault: Vault) -> Opened:
    result, newest = Opened(), vault.newest()
    for tenant_id, table in tables.items():
        for institution, stored in table.institutions.items():
            try:
                result.held.append((tenant_id, credential_of(tenant_id, institution, stored, vault)))
            except ConfigurationError as error:
                result.faults.append(error.message)
                continue
            try:
                credential_of(tenant_id, institution, stored, newest)
            except ConfigurationError:
                result.old += 1
    return result


def credential_findings(found: Opened, reseal: Fix | None = None) -> Iterator[Finding]:
    """Findings on the passwords; ``reseal`` is what makes older encryption keys dispensable."""
    for fault in found.faults[:MOST_SHOWN]:
        yield problem(
            "credentials.opening",
            fault,
            "restore the key that it was sealed with, or set the password again: stats-gateway tenant add",
        )
    if len(found.faults) > MOST_SHOWN:
        more = len(found.faults) - MOST_SHOWN
        yield problem("credentials.opening", f"and {more} more passwords do not open", "as above")
    if found.held and not found.faults:
        yield ok("credentials.opening", f"the encryption keys open {counted(len(found.held), 'password')}")
    if found.old:
        yield note(
            "credentials.rotation",
            f"{counted(found.old, 'password')} still need an older encryption key",
            "stats-gateway secrets rotate, before that key goes",
            None if found.faults else reseal,
        )


class Held(NamedTuple):
    tenant: str
    network: Network

    def __str__(self) -> str:
        return f"{self.network} ({self.tenant})"


def network_findings(tables: TenantTables, settings: Settings) -> Iterator[Finding]:
    """Findings on the networks from which tenants call without a key."""
    held = [Held(tenant_id, network_of(text)) for tenant_id, table in tables.items() for text in table.networks]
    yield from _hosts(held, settings)
    if not held:
        return
    tenants = {each.tenant for each in held}
    yield ok(
        NETWORKS, f"{counted(len(held), 'network')} of {counted(len(tenants), 'tenant')} may call without a key"
    )
    yield from _disputed(held)
    yield from _nested(held)
    yield from _behind_proxies(held, settings)
    yield from _risky(held)
    yield from _any_page(tables)


def _hosts(held: list[Held], settings: Settings) -> Iterator[Finding]:
    if held and not settings.public_hosts:
        yield warning(
            NETWORKS,
            f"nobody is told by a network, not in {named(list(map(str, held)))} either: no name of the gateway is "
            "known",
            "set STATS_GATEWAY_PUBLIC_HOSTS to the host names by which clients call it",
        )
    if wrong := [host for host in settings.public_hosts if not HOST.fullmatch(host.encode("latin-1", "replace"))]:
        yield warning(
            "settings.public_hosts",
            f"no host names, so that no request is for them: {named(wrong)}",
            "set STATS_GATEWAY_PUBLIC_HOSTS to names like stats.example.org, without a scheme or a path",
        )


def _disputed(held: list[Held]) -> Iterator[Finding]:
    claimants: dict[Network, list[str]] = defaultdict(list)
    for tenant, network in held:
        claimants[network].append(tenant)
    for dispute in disputes(claimants):
        yield problem(NETWORKS, dispute, f"take it from one of them: {SET}")


def _nested(held: list[Held]) -> Iterator[Finding]:
    """Networks within another tenant's, which may be intended."""
    for inner in held:
        around = [each for each in held if each.tenant != inner.tenant and _is_within(inner.network, each.network)]
        if around:
            closest = max(around, key=lambda each: each.network.prefixlen)
            yield note(NETWORKS, f"{inner} lies within {closest}: calls from there are {inner.tenant}'s")


def _is_within(inner: Network, outer: Network) -> bool:
    return inner != outer and inner.overlaps(outer) and inner.prefixlen > outer.prefixlen


def _behind_proxies(held: list[Held], settings: Settings) -> Iterator[Finding]:
    for proxy in settings.trusted_proxies:
        network = ip_network(proxy, strict=False)
        if found := [str(each) for each in held if each.network.overlaps(network)]:
            yield warning(
                NETWORKS,
                f"trusted proxies, {proxy}, have addresses in {named(found)}: a caller with one of these "
                "counts as a proxy, and never as the tenant",
                "set STATS_GATEWAY_TRUSTED_PROXIES to the proxies' own addresses, networks to those of callers",
            )


def _risky(held: list[Held]) -> Iterator[Finding]:
    for found, matches, what, advice in RISKS:
        if networks := [str(each) for each in held if matches(each.network)]:
            yield found(NETWORKS, what.format(named(networks)), advice)


def _any_page(tables: TenantTables) -> Iterator[Finding]:
    if found := [each for each, table in tables.items() if table.networks and ANY in table.origins]:
        yield note(
            NETWORKS,
            f"any page may call with a key of {named(found)}; none but those listed by name may without",
            "stats-gateway tenant set ID --origin https://dashboard.example.org",
        )


# The gateway that runs here


def readiness(settings: Settings) -> Mapping[str, Any] | None:
    """What a gateway at the public listener says of its readiness; None where none answers."""
    url = f"http://{EVERYWHERE.get(settings.host, settings.host)}:{settings.port}{READY}"
    try:
        state = httpx.get(url, timeout=SECONDS, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        return None
    return state if isinstance(state, dict) and isinstance(state.get("status"), str) else None


def running_findings(state: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Findings on the registry and the Redis of the gateway that runs here, if any does."""
    if state is None or state["status"] not in ("ok", "degraded"):
        return
    registry = state.get("registry")
    if not isinstance(registry, dict):
        if state["status"] == "degraded":
            yield problem("redis.used", "Redis does not answer the gateway that runs here", "see redis, above")
        yield ok("registry.followed", "the gateway that runs here has the registry's present state")
        return
    reason, age = str(registry.get("reason")), registry.get("age")
    what = (
        f"the gateway that runs here {REASONS.get(reason, 'has trouble with its registry')}; "
        f"its last good state is {counted(age if isinstance(age, int) else 0, 'second')} old, and stays in force"
    )
    if reason == "doubtful":
        yield warning("registry.followed", what, "bring the registry back, unless that many were to go")
    else:
        yield problem("registry.followed", what, "its log says why, under registry_broken")
