"""Networks: from which addresses a tenant calls, so that it needs no key there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.tenants.tenant import Tenant

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SHORTEST = {4: 8, 6: 32}
"""Bits of the shortest prefix that can be one tenant's, by the IP version."""
MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 writes them (RFC 4291 §2.5.5.2)."""
WRITTEN = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")
"""An address, and the prefix's length; no mask, which could be read two ways."""


class Claim(NamedTuple):
    """Whose a network is: nobody's, where two tenants claim it, or the one who does is disabled."""

    network: str
    tenant: Tenant | None


class Networks:
    """The networks of all tenants; of those that hold an address the one with the longest prefix decides.

    A network that two tenants claim is neither's; ``disputes`` say so. A disabled tenant keeps its own, so that
    its callers do not become those of whoever has the network around it.
    """

    __slots__ = ("_claims", "disputes")

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        claimants: dict[Network, list[Tenant]] = {}
        for tenant in tenants:
            for network in tenant.networks:
                claimants.setdefault(network, []).append(tenant)
        lengths: dict[tuple[int, int], dict[int, Claim]] = {}
        for network in sorted(claimants, key=lambda each: -each.prefixlen):
            found = lengths.setdefault((network.version, network.max_prefixlen - network.prefixlen), {})
            found[int(network.network_address)] = _claim(network, claimants[network])
        self._claims = lengths
        self.disputes = disputes({network: [each.id for each in found] for network, found in claimants.items()})

    def __bool__(self) -> bool:
        return bool(self._claims)

    def __repr__(self) -> str:
        return f"Networks({sum(map(len, self._claims.values()))})"

    def claim_on(self, address: Address) -> Claim | None:
        """Whose network an address is in; None where it is in nobody's."""
        number = int(address)
        for (version, host_bits), claims in self._claims.items():
            if version == address.version:
                claim = claims.get(number >> host_bits << host_bits)
                if claim is not None:
                    return claim
        return None


def disputes(claimants: Mapping[Network, Sequence[str]]) -> list[str]:
    """What to say of networks that more than one tenant claims, of these by their ids."""
    return [
        f"the network {network} is claimed by tenants {' and '.join(map(repr, sorted(ids)))}: "
        "calls from there are nobody's"
        for network, ids in claimants.items()
        if len(ids) > 1
    ]


def network_of(text: str) -> Network:
    """The network that a text names, IPv4 where it is IPv4 in IPv6; a bare address is itself alone.

    Raises ConfigurationError for a text that is none, bits beyond the prefix, a zone (which means something on one
    machine only, RFC 4007 §6), and a prefix that is too short to be one tenant's.
    """
    if "%" in text:
        raise ConfigurationError(f"{text!r} has a zone, which no network has; leave out what follows the address")
    malformed = f"{text!r} is no network: it must be like 10.1.0.0/16 or 2001:db8:1::/48"
    if WRITTEN.fullmatch(text) is None:
        raise ConfigurationError(malformed)
    try:
        given = ip_interface(text)
    except ValueError:
        raise ConfigurationError(malformed) from None
    network = _unmapped(given.network)
    if given.ip != given.network.network_address:
        raise ConfigurationError(f"{text!r} has bits set beyond its prefix; the network is {network}")
    shortest = SHORTEST[network.version]
    if network.prefixlen < shortest:
        raise ConfigurationError(
            f"{text!r} is too wide to be one tenant's: an IPv{network.version} prefix has at least {shortest} bits"
        )
    return network


def _claim(network: Network, claimants: list[Tenant]) -> Claim:
    alone = claimants[0] if len(claimants) == 1 and claimants[0].enabled else None
    return Claim(str(network), alone)


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        mapped = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((mapped, network.prefixlen - MAPPED.prefixlen))
    return network
