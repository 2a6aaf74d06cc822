"""Callers: who makes a request, from which address, and whether within their limits.

An address is weaker evidence than a key: whatever hands requests on (an ingress, a NAT, a browser that a foreign
page makes ask) lends its own. So it counts only where no header names an untrusted party in between.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Collection, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from gateway.catalogue.target import canonical_authority
from gateway.errors import DeadlineExceeded, Headers, Unauthenticated
from gateway.observe.outcome import Timings, clock
from gateway.observe.upstream_calls import OnBehalfOf
from gateway.proxy.response import KEYED, by_name, response_headers
from gateway.redis import Clock
from gateway.tenants.directory import UNKNOWN_KEY, Networks, presented_key
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.tenant import ANONYMOUS, UNLIMITED, Address, Network, Tenant, TenantLimits
from gateway.upstream.tasks import EndOfInput

if TYPE_CHECKING:
    from gateway.proxy.profiles import Profile
    from gateway.proxy.request import Request

T = TypeVar("T")

INVALID = "invalid-key"
HOPS = 32
"""Addresses of a chain that are read; no honest one is longer."""
LONGEST = 64
"""Characters of the longest address; longer text is not worth remembering."""
TRACES = frozenset({b"forwarded", b"via", b"cdn-loop"})
"""Headers of proxies (RFC 7239, RFC 9110 §7.6.3, RFC 8586) whose author is unknown: a trusted proxy may have
passed on a stranger's."""
CHAIN = b"x-forwarded-for"
NAMING = frozenset(
    {
        *(b"x-real-ip", b"true-client-ip", b"client-ip", b"x-client-ip", b"x-cluster-client-ip"),
        *(b"cf-connecting-ip", b"cf-connecting-ipv6", b"fastly-client-ip", b"x-azure-clientip"),
        *(b"x-azure-socketip", b"x-appengine-user-ip", b"fly-client-ip", b"x-original-forwarded-for"),
        *(b"x-envoy-external-address", b"x-proxyuser-ip", b"wl-proxy-client-ip", b"proxy-client-ip"),
    }
)
"""Other headers in which proxies name the client."""
FORWARDED = b"x-forwarded"
"""The prefix of headers in which proxies describe the request they received."""


class Requester(msgspec.Struct, eq=False):
    """For whom an answer is looked up: a client's request, or the gateway itself on a tenant's behalf.

    ``id`` names the request in logs, ``span`` in traces. ``flight`` is the flight that it waited for; ``joined``
    says that another request had started that, in the trace ``joined_trace``. ``ending`` is set when the
    client stops sending, where its server reports that.
    """

    id: bytes
    tenant: Tenant = ANONYMOUS
    stages: Timings = msgspec.field(default_factory=Timings)
    flight: str = ""
    joined: bool = False
    joined_trace: str = ""
    span: Any = None
    ending: EndOfInput | None = None

    @property
    def subject(self) -> str:
        """Whose refusals by the service count together."""
        return self.tenant.id

    @property
    def asker(self) -> OnBehalfOf:
        """On whose behalf the service is asked."""
        return OnBehalfOf(self.tenant.id, self.id.decode(), self.span)

    def landed(self, flown: float, trace: str, *, joined: bool) -> None:
        """Note that the flight has landed, which took the service ``flown`` seconds."""
        self.stages.landed, self.stages.flown = clock(), flown
        self.joined, self.joined_trace = joined, trace

    async def while_connected(self, work: Awaitable[T]) -> T:
        """The result of ``work``; a requester without a connection never leaves."""
        return await work


class Callers:
    """Identifies the tenant of each request and holds it to its limits; callers without a key by their
    address.

    ``penalty`` limits how many invalid keys one address may send; valid keys from there work all the same.
    ``trusted`` are the proxies whose word on a client's address counts.
    """

    def __init__(
        self,
        profile: Profile,
        admission: RateLimiter,
        clock: Clock,
        penalty: TenantLimits = UNLIMITED,
        trusted: Sequence[Network] = (),
    ) -> None:
        self.admission = admission
        self._profile = profile
        self._clock = clock
        self._penalty = penalty
        self._trusted = trusted

    async def identify(self, request: Request) -> None:
        """Note the tenant, and its key or network. Raises Unauthenticated, AmbiguousKey, RateLimited."""
        request.trusted = self._trusted
        request.located = self._profile.located(request.headers, request.peer)
        try:
            caller = self._profile.identify(request.headers, self._clock.now(), request.located)
        except Unauthenticated:
            if self._penalty is not UNLIMITED and _presents_a_key(request.headers):
                await self.admission.admit(f"{INVALID}:{request.address}", self._penalty)
            raise
        request.tenant = caller.tenant
        request.key_id = None if caller.key is None else caller.key.id

    def present(self, request: Request) -> Tenant:
        """The tenant whose request it is now, though it arrived a while ago. Raises as ``identify``."""
        located = self._profile.located(request.headers, request.peer)
        return self._profile.identify(request.headers, self._clock.now(), located).tenant

    def page_headers(self, request: Request) -> Headers:
        """The headers that let the tenant's own pages read a response of the gateway's own."""
        origins = self._profile.origins_of(request.known)
        by_address = request.located is not None and request.known is not None
        return response_headers(request.header(b"origin"), by_name(origins) if by_address else origins)

    def impersonate(self, request: Request, tenant: Tenant) -> None:
        """Make it the tenant's request, without a key. Raises Unauthenticated for a disabled tenant, as its keys
        would."""
        if not tenant.enabled:
            raise Unauthenticated(UNKNOWN_KEY)
        request.tenant = tenant

    async def admit(self, request: Request) -> None:
        """Take one request from the limit, and add the headers that report what is left. Raises RateLimited."""
        if subject := self.subject(request):
            limits = request.tenant.limits
            request.extra_headers += (await self.admission.admit(subject, limits)).headers

    def subject(self, request: Request) -> str:
        """Who is held to the limits of a request's tenant; empty where it has none."""
        tenant = request.tenant
        if tenant.limits.requests_per_second is None and tenant.limits.requests_per_day is None:
            return ""
        return f"{tenant.id}:{request.address}" if tenant.anonymous else tenant.id


async def in_time(work: Awaitable[T], deadline: float, most: float = math.inf) -> T:
    """The result of ``work``, which is cancelled at the ``deadline``, in monotonic seconds. Raises
    DeadlineExceeded.

    Work that takes ``most`` seconds by itself at most costs no timer while there are more.
    """
    left = max(0.0, deadline - monotonic())
    if left > most:
        return await work
    try:
        async with asyncio.timeout(left):
            return await work
    except TimeoutError:
        raise DeadlineExceeded("The request could not be answered in time.", retry_after=1) from None


def _presents_a_key(headers: Headers) -> bool:
    """Whether a request has something in a key's place, so that its refusal may be a guess."""
    try:
        return presented_key(headers) is not None
    except Unauthenticated:
        return True


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """The address a request comes from: its peer, or, behind trusted proxies, the last address in
    ``X-Forwarded-For`` that is not trusted. What is no address ends the chain."""
    address = peer
    if not trusted or not _is_trusted(address_of(peer), trusted):
        return address
    chain = b",".join(value for name, value in headers if name == CHAIN)
    for hop in reversed(chain.decode("latin-1").rsplit(",", HOPS)[-HOPS:]):
        found = address_of(hop)
        if found is None:
            return address
        address = str(found)
        if not _is_trusted(found, trusted):
            return address
    return address


def is_beyond_doubt(peer: str, headers: Headers, trusted: Sequence[Network]) -> bool:
    """Whether ``client_address`` is that of the client itself, and not of a party that handed the request on.

    It is where the client opened the connection itself and no header names a proxy, or opened it to the first of a
    chain of trusted proxies that name it, and no header names anybody else. A trusted proxy asks for others only.
    """
    opened_by = address_of(peer)
    if opened_by is None or any(name in TRACES for name, _ in headers):
        return False
    if not _is_trusted(opened_by, trusted):
        return "%" not in peer and not any(name in NAMING or name.startswith(FORWARDED) for name, _ in headers)
    client, *proxies = _listed(b",".join([value for name, value in headers if name == CHAIN])) or [None]
    if client is None or _is_trusted(client, trusted) or not all(_is_trusted(each, trusted) for each in proxies):
        return False
    others = [each for name, value in headers if name in NAMING for each in _listed(value)]
    return all(each == client or _is_trusted(each, trusted) for each in others)


def came_by_https(peer: str, headers: Headers, trusted: Sequence[Network]) -> bool:
    """Whether a request reached the first trusted proxy by https, by its ``X-Forwarded-Proto``."""
    if not trusted or not _is_trusted(address_of(peer), trusted):
        return False
    said = b",".join(value for name, value in headers if name == b"x-forwarded-proto")
    return said.rpartition(b",")[2].strip().lower() == b"https"


def subject_of(address: str) -> str:
    """The address or network that shares a limit: an IPv4 address, or the /64 of an IPv6 address."""
    found = address_of(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found) if found is not None else "unknown"


def address_of(text: str) -> Address | None:
    """The address in a text as proxies and servers write it; None for anything else."""
    text = text.strip()
    return _parsed(text) if len(text) <= LONGEST else None


def _listed(value: bytes) -> list[Address | None]:
    """The addresses that a header lists; None for anything else, for a zone, and beyond the first ``HOPS``."""
    words = value.decode("latin-1").split(",", HOPS) if value else []
    return [None if "%" in word or at == HOPS else address_of(word) for at, word in enumerate(words)]


@lru_cache(4_096)
def _parsed(text: str) -> Address | None:
    """An address: plain, with a port, in brackets or quotes; IPv4 in IPv6 is IPv4."""
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


def _is_trusted(address: Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


OWN_SITE = frozenset({b"same-origin", b"none"})
"""The values of Sec-Fetch-Site that rule out a foreign page (Fetch Metadata §2.4)."""


class Located(NamedTuple):
    """What the address of a request without a key says: the ``tenant`` whose ``network`` it is in, or why the
    tenant is ``withheld``; all empty where no tenant's network holds the address."""

    tenant: Tenant | None = None
    network: str = ""
    withheld: str = ""


ELSEWHERE = Located()


class ByNetwork:
    """Identifies tenants by address, in requests for one of the ``hosts`` (names without a port) that came through
    ``trusted`` proxies at most."""

    def __init__(self, hosts: Collection[str], trusted: Sequence[Network] = ()) -> None:
        self._hosts = frozenset(host_of(host.encode("latin-1", "replace")) for host in hosts)
        self._trusted = trusted

    def located(self, headers: Headers, peer: str, networks: Networks) -> Located | None:
        """What the address says; None where it does not count: something in a key's place was sent, no tenant has
        networks, or no ``hosts`` are configured."""
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
    """Whether the request may come from a page that is neither on its own host nor of one of the ``origins``."""
    sent = [value for name, value in headers if name == b"origin"]
    sites = {value.strip().lower() for name, value in headers if name == b"sec-fetch-site"}
    if len(sent) == 1 and sent[0].decode("latin-1") in origins:
        return False
    return not sites <= OWN_SITE or any(not _is_at(origin, host) for origin in sent) or len(sent) > 1


def _is_at(origin: bytes, host: bytes) -> bool:
    """Whether a page of this origin is on the host (RFC 6454 §6.2)."""
    scheme, mark, authority = origin.lower().partition(b"://")
    return bool(mark) and canonical_authority(scheme, authority) == canonical_authority(scheme, host)
