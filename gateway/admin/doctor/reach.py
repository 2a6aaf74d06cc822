"""Reach: whether the service's address can be found, connected to and trusted; nothing is asked of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.admin.doctor.finding import Finding, counted, ok, problem, warning
from gateway.errors import ConfigurationError
from gateway.upstream.network import TrustStore

EXPIRY_DAYS = 14
STAGGER_SECONDS = 0.25
"""Before the next address is tried as well (RFC 8305 §5)."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a connection came: the addresses that the name has, the step at which there was ``trouble``
    (``name``, ``connection`` or ``certificate``), the seconds it took, the TLS version, and when the certificate
    ends."""

    place: str
    addresses: tuple[str, ...] = ()
    step: str = ""
    trouble: str = ""
    seconds: float = 0.0
    tls: str = ""
    certificate_ends: float | None = None


async def look(url: str, timeout: float, store: TrustStore | None = None) -> Reach:
    """Connects as the gateway would, and hangs up. Each step takes at most ``timeout`` seconds. Never raises.

    ``store`` is where the authorities are, if not where the environment says.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    place = f"{host} port {port}"
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        return Reach(place, step="name", trouble=_said(error, timeout))
    addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
    try:
        tls = (store or TrustStore.of()).context() if secure else None
    except ConfigurationError as error:
        return Reach(place, addresses, "certificate", error.message)
    return await _connect(Reach(place, addresses), host, port, tls, timeout)


async def _connect(reach: Reach, host: str, port: int, tls: ssl.SSLContext | None, timeout: float) -> Reach:
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=tls, happy_eyeballs_delay=STAGGER_SECONDS)
    except ssl.SSLError as error:
        trouble = getattr(error, "verify_message", "") or error.reason or str(error)
        return Reach(reach.place, reach.addresses, "certificate", str(trouble))
    except (OSError, TimeoutError) as error:
        return Reach(reach.place, reach.addresses, "connection", _said(error, timeout))
    seconds = time.monotonic() - began
    secured = writer.get_extra_info("ssl_object")
    ends = writer.get_extra_info("peercert", {}).get("notAfter") if secured else None
    writer.transport.abort()
    return Reach(
        reach.place,
        reach.addresses,
        seconds=seconds,
        tls=(secured.version() or "") if secured else "",
        certificate_ends=None if ends is None else float(ssl.cert_time_to_seconds(ends)),
    )


ADVICE = {
    "name": "check STATS_GATEWAY_UPSTREAM, and this machine's DNS",
    "connection": "check the firewall between: the gateway uses no proxy from the environment",
    "certificate": "is something between that replaces certificates, or is its authority your own? "
    "STATS_GATEWAY_UPSTREAM_CA_FILE names the authorities that count; see upstream.trust",
}


def reach_findings(reach: Reach, now: float) -> Iterator[Finding]:
    """What is to be said of a look; ``now`` is in seconds since the epoch."""
    if reach.step == "name":
        yield problem("upstream.reach", f"{reach.place} has no address: {reach.trouble}", ADVICE["name"])
        return
    if reach.step == "connection":
        told = f"no connection to {reach.place} ({', '.join(reach.addresses[:3])}): {reach.trouble}"
        yield problem("upstream.reach", told, ADVICE["connection"])
        return
    if reach.step:
        yield problem("upstream.reach", f"{reach.place} cannot be trusted: {reach.trouble}", ADVICE["certificate"])
        return
    how = f"with {reach.tls}" if reach.tls else "in the clear"
    yield ok("upstream.reach", f"connected to {reach.place} {how} in {reach.seconds * 1000:.0f} ms")
    if reach.certificate_ends is not None and reach.certificate_ends - now < EXPIRY_DAYS * 86_400:
        days = max(0, int((reach.certificate_ends - now) // 86_400))
        yield warning(
            "upstream.certificate",
            f"the certificate of {reach.place} ends in {counted(days, 'day')}",
            "tell whoever runs it, in case they do not renew it by themselves",
        )


def trust_findings(store: TrustStore) -> Iterator[Finding]:
    """Which authorities may vouch for the service's certificate."""
    try:
        store.context()
    except ConfigurationError as error:
        yield problem("upstream.trust", error.message, "name certificates in PEM that the gateway may read")
        return
    for place in store.missing:
        yield warning("upstream.trust", f"{store.source}: {place} is not there", "mount it, or name another")
    yield ok("upstream.trust", f"the service's certificate is checked with {store}")


def _said(error: BaseException, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
