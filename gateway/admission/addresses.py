"""Addresses: from where a request comes, behind proxies that are trusted to say so. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.errors import Headers

Network = IPv4Network | IPv6Network
HOPS = 32
"""Addresses of a chain that are looked at; a longer one is told by nobody honest."""
LONGEST = 64
"""Characters that an address may have; longer text is none, and is not worth remembering."""


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """Where a request comes from: its peer, or, where that is a trusted proxy, whom the chain of trusted proxies
    saw: the last address in ``X-Forwarded-For`` that is not trusted. What is no address ends the chain."""
    address = peer
    if not trusted or not _is_trusted(_found(peer), trusted):
        return address
    chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    for hop in reversed(chain.decode("latin-1").rsplit(",", HOPS)[-HOPS:]):
        found = _found(hop)
        if found is None:
            return address
        address = str(found)
        if not _is_trusted(found, trusted):
            return address
    return address


def came_by_https(peer: str, headers: Headers, trusted: Sequence[Network]) -> bool:
    """Whether a request reached the first trusted proxy by https, as that one says in ``X-Forwarded-Proto``."""
    if not trusted or not _is_trusted(_found(peer), trusted):
        return False
    said = b",".join(value for name, value in headers if name == b"x-forwarded-proto")
    return said.rpartition(b",")[2].strip().lower() == b"https"


def subject_of(address: str) -> str:
    """Who shares a limit: an IPv4 address by itself, IPv6 addresses by their /64."""
    found = _found(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found) if found is not None else "unknown"


def _found(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip()
    return _parsed(text) if len(text) <= LONGEST else None


@lru_cache(4_096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: plain, with a port, in brackets or quotes; IPv4 in IPv6 is IPv4."""
    text = text.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        return found.ipv4_mapped or IPv6Address(int(found))
    return found


def _is_trusted(address: IPv4Address | IPv6Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)
