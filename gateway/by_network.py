"""By network: who asks, where a request brings no key, told by the address it comes from. Pure.

An address is weaker evidence than a key: whoever hands requests on (an ingress, a NAT, a browser that a foreign
page makes ask) lends them its own. So it counts only where no header tells of anybody between who is not trusted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from gateway.admission.addresses import address_of, client_address, is_beyond_doubt
from gateway.answer import KEYED
from gateway.catalogue.target import canonical_authority
from gateway.cors import by_name
from gateway.errors import Headers
from gateway.tenants.networks import Network, Networks
from gateway.tenants.tenant import Tenant

OWN_SITE = frozenset({b"same-origin", b"none"})
"""What browsers say of requests that no foreign page made (Fetch Metadata §2.4)."""


class Located(NamedTuple):
    """What its address says of a request without a key: the ``tenant`` whose ``network`` it is in, or why it is
    nobody's all the same; all empty where no network of a tenant's holds the address."""

    tenant: Tenant | None = None
    network: str = ""
    withheld: str = ""


ELSEWHERE = Located()


class ByNetwork:
    """Locates requests for one of the ``hosts``, names without a port; ``trusted`` are the proxies that may stand
    between."""

    def __init__(self, hosts: Collection[str], trusted: Sequence[Network] = ()) -> None:
        self._hosts = frozenset(host_of(host.encode("latin-1", "replace")) for host in hosts)
        self._trusted = trusted

    def located(self, headers: Headers, peer: str, networks: Networks) -> Located | None:
        """What the address says; None where it has no say: a key or what may be one was sent, no tenant has
        networks, or the gateway was not told by which names it is called."""
        if not self._hosts or not networks or any(name in KEYED for name, _ in headers):
            return None
        address = address_of(client_address(peer, headers, self._trusted))
        claim = None if address is None else networks.claim_on(address)
        if claim is None:
            return ELSEWHERE
        why = "tenant" if claim.tenant is None else self._withheld(headers, peer, claim.tenant)
        return Located(None if why else claim.tenant, claim.network, why)

    def _withheld(self, headers: Headers, peer: str, tenant: Tenant) -> str:
        if not is_beyond_doubt(peer, headers, self._trusted):
            return "forwarded"
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or host_of(hosts[0]) not in self._hosts:
            return "host"
        return "origin" if is_foreign(headers, hosts[0], by_name(tenant.origins)) else ""


def host_of(authority: bytes) -> bytes:
    """An authority's host in lower case, without a port (RFC 3986 §3.2.2)."""
    host, colon, port = authority.lower().rpartition(b":")
    return host if colon and not port.strip(b"0123456789") else authority.lower()


def is_foreign(headers: Headers, host: bytes, origins: Collection[str]) -> bool:
    """Whether a page asks, or may, that is neither on the very host it asks nor of one of the ``origins``."""
    sent = [value for name, value in headers if name == b"origin"]
    sites = {value.strip().lower() for name, value in headers if name == b"sec-fetch-site"}
    if len(sent) == 1 and sent[0].decode("latin-1") in origins:
        return False
    return not sites <= OWN_SITE or any(not _is_at(origin, host) for origin in sent) or len(sent) > 1


def _is_at(origin: bytes, host: bytes) -> bool:
    """Whether a page of this origin is on the host that it asks (RFC 6454 §6.2)."""
    scheme, mark, authority = origin.lower().partition(b"://")
    return bool(mark) and canonical_authority(scheme, authority) == canonical_authority(scheme, host)
