"""Profile: what the gateway stands in front of: the statistics service for its tenants, or any one origin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache, partial
from typing import Protocol

from gateway.catalogue import posted
from gateway.catalogue.endpoints import recognise
from gateway.catalogue.query import Family, Query
from gateway.errors import Headers, TargetTooLong
from gateway.proxy.methods import hops_onward, one_hop_less
from gateway.proxy.network import ByNetwork, Located
from gateway.proxy.request import READS
from gateway.proxy.response import (
    ANY,
    Answer,
    Times,
    generic_answer,
    generic_times,
    statistics_answer,
    statistics_times,
)
from gateway.tenants.directory import Caller, identify
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Tenant
from gateway.upstream.headers import GENERIC, STATISTICS, HeaderPolicy

HOT_TARGETS = 2_048
"""Targets whose query is remembered: dashboards ask the same few again and again."""


class Profile(Protocol):
    """Who may ask, what is asked, what goes along, and what the answer looks like.

    ``shares_unstored`` says that everyone who joined a flight gets its answer, stored or not; ``times`` says
    how hits of one fresh entry differ.
    """

    shares_unstored: bool
    answer: Callable[..., Answer]
    times: Callable[..., Times]

    def located(self, headers: Headers, peer: str) -> Located | None:
        """What the address of a request says of whose it is; None where it has no say. ``peer`` is the address of
        whoever opened its connection."""

    def identify(self, headers: Headers, now: float, located: Located | None) -> Caller:
        """Whose request this is. Raises Unauthenticated, AmbiguousKey."""

    def origins_of(self, tenant: Tenant | None) -> Collection[str]:
        """The web origins whose pages may read answers to a tenant, or to nobody (None): empty where that is not
        the gateway's to say, nor a preflight its to answer."""

    def recognise(self, path: bytes, query: bytes, marked: bool = False) -> Query:
        """What is asked; ``marked`` is as in ``parted``. Raises BadTarget."""

    def is_posted(self, path: bytes) -> bool:
        """Whether a POST to this path is a question, of which its content is a part."""

    def forwarded(self, query: Query, method: str, headers: Headers) -> Headers:
        """What the client's headers come to upstream, on which the answer may therefore depend."""


class StatisticsProfile:
    """The statistics service, for tenants who hold keys."""

    shares_unstored = True
    answer = staticmethod(statistics_answer)
    times = staticmethod(statistics_times)

    def __init__(
        self,
        registry: Registry,
        by_network: ByNetwork,
        *,
        anonymous: Tenant | None,
        ignored: frozenset[str],
        max_bytes: int,
    ) -> None:
        self._registry = registry
        self._by_network = by_network
        self._anonymous = anonymous
        self.recognise = lru_cache(HOT_TARGETS)(partial(recognise, ignored=ignored, max_bytes=max_bytes))

    def located(self, headers: Headers, peer: str) -> Located | None:
        """As the registry's networks are now."""
        return self._by_network.located(headers, peer, self._registry.directory.networks)

    def identify(self, headers: Headers, now: float, located: Located | None) -> Caller:
        """The tenant whose key the request holds, or who is located where it comes from."""
        tenant = None if located is None else located.tenant
        return identify(headers, self._registry.directory, self._anonymous, now, tenant)

    def origins_of(self, tenant: Tenant | None) -> Collection[str]:
        """The tenant's own. What is told to nobody in particular tells nothing of whose origins there are."""
        return (ANY,) if tenant is None else tenant.origins

    def is_posted(self, path: bytes) -> bool:
        """Where the catalogue knows of one."""
        return path in posted.PATHS

    def forwarded(self, query: Query, method: str, headers: Headers) -> Headers:
        """None with a known query, whose answer depends on none; what an unknown one may be negotiated by; with
        OPTIONS how far it may go."""
        read = method in READS or query.posted is not None
        known = read and query.family is not Family.UNKNOWN
        if known:
            return []
        sent = STATISTICS.outgoing(headers, read=read)
        return sent + hops_onward(headers) if method == "OPTIONS" else sent


PLAIN = Caller(Tenant(id="generic", name="Everyone"), None)


class GenericProfile:
    """Any one HTTP origin, for everyone: a plain shared cache."""

    shares_unstored = False
    answer = staticmethod(generic_answer)
    times = staticmethod(generic_times)

    def __init__(self, *, max_bytes: int, policy: HeaderPolicy = GENERIC) -> None:
        self._max_bytes = max_bytes
        self._policy = policy

    def located(self, headers: Headers, peer: str) -> Located | None:
        """Nobody is told apart, nor by an address."""
        return None

    def identify(self, headers: Headers, now: float, located: Located | None) -> Caller:
        """Nobody is told apart."""
        return PLAIN

    def origins_of(self, tenant: Tenant | None) -> Collection[str]:
        """What pages may call is the origin's affair."""
        return ()

    def recognise(self, path: bytes, query: bytes, marked: bool = False) -> Query:
        """Every target is its own meaning."""
        exact = path + b"?" + query if query or marked else path
        if len(exact) > self._max_bytes:
            raise TargetTooLong(
                f"The request target is {len(exact)} bytes long; at most {self._max_bytes} are accepted"
            )
        return Query(Family.UNKNOWN, canonical=exact, exact=exact)

    def is_posted(self, path: bytes) -> bool:
        """Nothing is known of any path."""
        return False

    def forwarded(self, query: Query, method: str, headers: Headers) -> Headers:
        """All that are for the origin, with one hop less to go."""
        sent = self._policy.outgoing(headers, read=method in READS)
        return one_hop_less(sent) if method == "OPTIONS" else sent
