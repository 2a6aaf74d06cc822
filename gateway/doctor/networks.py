"""Networks: whether callers without a key are told by their addresses, and whether they should be. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_network
from typing import NamedTuple

from gateway.doctor.finding import Finding, counted, named, note, ok, problem, warning
from gateway.proxy.methods import HOST
from gateway.proxy.response import ANY
from gateway.settings import Settings
from gateway.tenants.networks import Network, disputes, network_of
from gateway.tenants.schema import Tables

CHECK = "tenants.networks"
WIDE = {4: 16, 6: 48}
"""Bits of a prefix below which a network is more than one site usually has, by the IP version."""
SET = "stats-gateway tenant set ID --network …"


class Held(NamedTuple):
    """A tenant's network."""

    tenant: str
    network: Network

    def __str__(self) -> str:
        return f"{self.network} ({self.tenant})"


def network_findings(tables: Tables, settings: Settings) -> Iterator[Finding]:
    """What is to be said of the networks that tenants call from without a key."""
    held = [Held(tenant_id, network_of(text)) for tenant_id, table in tables.items() for text in table.networks]
    yield from _hosts(held, settings)
    if not held:
        return
    tenants = {each.tenant for each in held}
    yield ok(CHECK, f"{counted(len(held), 'network')} of {counted(len(tenants), 'tenant')} may call without a key")
    yield from _disputed(held)
    yield from _nested(held)
    yield from _behind_proxies(held, settings)
    yield from _public(held)
    yield from _wide(held)
    yield from _here(held)
    yield from _any_page(tables)


def _hosts(held: list[Held], settings: Settings) -> Iterator[Finding]:
    if held and not settings.public_hosts:
        yield warning(
            CHECK,
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
        yield problem(CHECK, dispute, f"take it from one of them: {SET}")


def _nested(held: list[Held]) -> Iterator[Finding]:
    """Networks within another tenant's: right where that is meant."""
    for inner in held:
        around = [each for each in held if each.tenant != inner.tenant and _is_within(inner.network, each.network)]
        if around:
            closest = max(around, key=lambda each: each.network.prefixlen)
            yield note(CHECK, f"{inner} lies within {closest}: calls from there are {inner.tenant}'s")


def _is_within(inner: Network, outer: Network) -> bool:
    return inner != outer and inner.overlaps(outer) and inner.prefixlen > outer.prefixlen


def _behind_proxies(held: list[Held], settings: Settings) -> Iterator[Finding]:
    for proxy in settings.trusted_proxies:
        network = ip_network(proxy, strict=False)
        if found := [str(each) for each in held if each.network.overlaps(network)]:
            yield warning(
                CHECK,
                f"trusted proxies, {proxy}, have addresses in {named(found)}: who calls from these counts as a "
                "proxy, and is never told by the network",
                "set STATS_GATEWAY_TRUSTED_PROXIES to the proxies' own addresses, networks to those of callers",
            )


def _public(held: list[Held]) -> Iterator[Finding]:
    if found := [str(each) for each in held if each.network.is_global]:
        yield warning(
            CHECK,
            f"public addresses: {named(found)}; whoever has one, or calls through a NAT that has, gets the "
            "tenant's numbers",
            "list addresses of your own network, or let those callers send a key",
        )


def _wide(held: list[Held]) -> Iterator[Finding]:
    if found := [str(each) for each in held if each.network.prefixlen < WIDE[each.network.version]]:
        yield note(
            CHECK,
            f"wide networks: {named(found)}; all that runs there gets the tenant's numbers, what hands on others' "
            "requests too",
            "list the smaller networks of those who call",
        )


def _here(held: list[Held]) -> Iterator[Finding]:
    if found := [str(each) for each in held if each.network.is_loopback]:
        yield note(
            CHECK,
            f"this machine's own addresses: {named(found)}; whatever runs here gets the tenant's numbers, a proxy "
            "or a tunnel for others too",
            "let those callers send a key",
        )


def _any_page(tables: Tables) -> Iterator[Finding]:
    if found := [each for each, table in tables.items() if table.networks and ANY in table.origins]:
        yield note(
            CHECK,
            f"any page may call with a key of {named(found)}; none but those listed by name may without",
            "stats-gateway tenant set ID --origin https://dashboard.example.org",
        )
