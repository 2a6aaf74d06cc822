"""Profile: what the gateway stands in front of: the statistics service for its tenants, or any one origin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import structs

from gateway.cache import freshness
from gateway.cache.control import CacheControl, joined, names_of
from gateway.cache.entry import SOLE, Entry
from gateway.cache.freshness import Circumstances
from gateway.cache.freshness import Response as TimedResponse
from gateway.cache.keys import variant_of
from gateway.cache.lifetimes import Answer, Kind, Lifetime, Lifetimes, lifetime
from gateway.cache.rules import failed
from gateway.catalogue.answers import Reading, Shapes
from gateway.catalogue.endpoints import POSTED_PATHS
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.errors import Headers, TargetTooLong
from gateway.proxy.callers import ByNetwork, Located
from gateway.proxy.methods import READS, hops_onward, one_hop_less
from gateway.proxy.response import (
    ANY,
    Response,
    Times,
    generic_response,
    generic_times,
    statistics_response,
    statistics_times,
)
from gateway.tenants.directory import Caller, identify
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Tenant
from gateway.upstream.headers import GENERIC, STATISTICS, HeaderPolicy

if TYPE_CHECKING:
    from gateway.proxy.lookup import Lookup, Resolution

HOT_TARGETS = 2_048
"""Targets whose query is remembered: dashboards ask the same few again and again."""
NEGOTIATED = b"accept, accept-language"
"""What an answer may depend on without a word: where nobody but us names its lifetime, it is kept for those alone
who ask in the same words."""


class Assessment(NamedTuple):
    """An upstream response as an entry, and whether to store it.

    ``speaks``: the service gave it, and nobody in its place. ``failed``: it is no answer to the question, so that
    a stale entry stands in for it where there is one.
    """

    entry: Entry
    stored: bool
    speaks: bool
    failed: bool


class Profile(Protocol):
    """Who may ask, what is asked, what is sent along, what is stored, and what the response looks like.

    ``shares_unstored``: everyone who joined a flight gets its answer, stored or not. ``watched``: answers may be
    signs of a block or of a refused credential. ``by_meaning``: answers to known families depend on no header that
    the gateway does not read itself.
    """

    shares_unstored: bool
    watched: bool
    by_meaning: bool

    def located(self, headers: Headers, peer: str) -> Located | None:
        """What the address of a request says of whose it is; None where it has no say. ``peer`` is the address at
        the other end of its connection."""

    def identify(self, headers: Headers, now: float, located: Located | None) -> Caller:
        """Whose request this is. Raises Unauthenticated, AmbiguousKey."""

    def origins_of(self, tenant: Tenant | None) -> Collection[str]:
        """The web origins whose pages may read answers to a tenant, or to nobody (None): empty where that is not
        the gateway's to say, nor a preflight its to answer."""

    def recognise(self, path: bytes, query: bytes, has_query: bool = False) -> Query:
        """What is asked; ``has_query`` is as in ``parted``. Raises BadTarget."""

    def is_posted(self, path: bytes) -> bool:
        """Whether a POST to this path is a question, of which its content is a part."""

    def forwarded(self, query: Query, method: str, headers: Headers) -> Headers:
        """What the client's headers come to upstream, on which the answer may therefore depend."""

    def forbids_storing(self, lookup: Lookup) -> bool:
        """Whether the request itself says that its answer is not stored (RFC 9111 §5.2.1.5)."""

    def assess(self, lookup: Lookup, response: TimedResponse, control: CacheControl, jitter: float) -> Assessment:
        """What becomes of an upstream response that ``control`` governs; ``jitter`` is in [-1, 1]."""

    def render(self, resolution: Resolution, now: float, public: bool) -> Response:
        """The response to a client, for any cache (``public``) or for the client's own."""

    def times(self, entry: Entry, public: bool) -> Times:
        """How hits of one fresh entry differ."""


class StatisticsProfile:
    """The statistics service, for tenants who hold keys.

    Answers of known families and the service's errors are stored by the lifetime policy, the rest by RFC 9111.
    What the service did not say is a failure, whatever its status, and never stored. A client's ``no-store``
    counts only where ``no_store_counts``: where clients may always ask for fresher data. Else it would turn the
    shield off (docs/decisions.md, 7).
    """

    shares_unstored = True
    watched = True
    by_meaning = True
    render = staticmethod(statistics_response)
    times = staticmethod(statistics_times)

    def __init__(
        self,
        registry: Registry,
        by_network: ByNetwork | None,
        anonymous: Tenant | None,
        recognise: Callable[[bytes, bytes, bool], Query],
        lifetimes: Lifetimes,
        shapes: Shapes,
        *,
        no_store_counts: bool,
    ) -> None:
        self.registry = registry
        self._by_network = by_network
        self._anonymous = anonymous
        self.recognise = lru_cache(HOT_TARGETS)(recognise)
        self._lifetimes = lifetimes
        self._shapes = shapes
        self._no_store_counts = no_store_counts

    def located(self, headers: Headers, peer: str) -> Located | None:
        """By the registry's networks as they are now."""
        if self._by_network is None:
            return None
        return self._by_network.located(headers, peer, self.registry.directory.networks)

    def identify(self, headers: Headers, now: float, located: Located | None) -> Caller:
        """The tenant whose key the request holds, or in whose network it comes from."""
        tenant = None if located is None else located.tenant
        return identify(headers, self.registry.directory, self._anonymous, now, tenant)

    def origins_of(self, tenant: Tenant | None) -> Collection[str]:
        """The tenant's own. A response to nobody in particular says nothing of whose origins there are."""
        return (ANY,) if tenant is None else tenant.origins

    def is_posted(self, path: bytes) -> bool:
        """Whether the catalogue lists it."""
        return path in POSTED_PATHS

    def forwarded(self, query: Query, method: str, headers: Headers) -> Headers:
        """None with a known query, whose answer depends on none; what an unknown one may be negotiated by; with
        OPTIONS how far it may go."""
        read = method in READS or query.posted is not None
        known = read and query.family is not Family.UNKNOWN
        if known:
            return []
        sent = STATISTICS.outgoing(headers, read=read)
        return sent + hops_onward(headers) if method == "OPTIONS" else sent

    def forbids_storing(self, lookup: Lookup) -> bool:
        """Only where ``no_store_counts``."""
        return lookup.asked.wishes.no_store and self._no_store_counts

    def assess(self, lookup: Lookup, response: TimedResponse, control: CacheControl, jitter: float) -> Assessment:
        """By the lifetime policy, or by RFC 9111 where the family is unknown and the status no error of the
        service's."""
        query, status = lookup.query, response.status
        answer, sub_item = (status, response.headers, response.body), query.sub_item is not None
        reading = self._shapes.read(query.family, lookup.key.entry, *answer, sub_item=sub_item)
        no_store, etag = self.forbids_storing(lookup), _etag(response)
        if reading.speaks and query.family is Family.UNKNOWN and status not in (400, 403, 404):
            given = Circumstances(
                private_scope=lookup.access.credential is not None,
                no_store=no_store,
                stale_if_error=self._lifetimes.keeping(Family.UNKNOWN),
                stale_while_revalidate=self._lifetimes.serving(Family.UNKNOWN, 0.0),
                failures=False,
                default_life=self._lifetimes.unknown if status == 200 else 0.0,
            )
            entry, stored = _by_the_rfc(lookup, response, control, given, etag)
        else:
            sound = response.sound and not no_store
            life = self._lifetime(lookup, response, control, reading, jitter) if sound else None
            entry, stored = _by_the_policy(lookup, response, life, etag), life is not None
        return Assessment(entry, stored, reading.speaks, not reading.speaks or status == 429 or status >= 500)

    def _lifetime(
        self, lookup: Lookup, response: TimedResponse, control: CacheControl, reading: Reading, jitter: float
    ) -> Lifetime | None:
        times, private = (response.dispatched, response.received), lookup.access.credential is not None
        answer = Answer(response.status, response.headers, reading, *times)
        return lifetime(lookup.query, answer, self._lifetimes, control, jitter=jitter, private_scope=private)


EVERYONE = Caller(Tenant(id="generic", name="Everyone"), None)


class GenericProfile:
    """Any one HTTP origin, for everyone: a plain shared cache by RFC 9111.

    ``lifetimes`` say how long stale answers are of use where the origin does not. A response that was followed by
    more than it announced is complete as it was framed (RFC 9112 §6.3): here it may be stored; the statistics
    service would be suspected of being cut in two.
    """

    shares_unstored = False
    watched = False
    by_meaning = False
    render = staticmethod(generic_response)
    times = staticmethod(generic_times)

    def __init__(self, lifetimes: Lifetimes, *, max_bytes: int, policy: HeaderPolicy = GENERIC) -> None:
        self._stale_if_error = lifetimes.keeping(Family.UNKNOWN)
        self._stale_while_revalidate = lifetimes.serving(Family.UNKNOWN, 0.0)
        self._max_bytes = max_bytes
        self._policy = policy

    def located(self, headers: Headers, peer: str) -> Located | None:
        """None: all callers share one."""
        return None

    def identify(self, headers: Headers, now: float, located: Located | None) -> Caller:
        return EVERYONE

    def origins_of(self, tenant: Tenant | None) -> Collection[str]:
        """None: what pages may call is the origin's affair."""
        return ()

    def recognise(self, path: bytes, query: bytes, has_query: bool = False) -> Query:
        """Every target is its own meaning."""
        exact = path + b"?" + query if query or has_query else path
        if len(exact) > self._max_bytes:
            raise TargetTooLong(
                f"The request target is {len(exact)} bytes long; at most {self._max_bytes} are accepted"
            )
        return Query(Family.UNKNOWN, canonical=exact, exact=exact)

    def is_posted(self, path: bytes) -> bool:
        """Never: nothing is known of any path."""
        return False

    def forwarded(self, query: Query, method: str, headers: Headers) -> Headers:
        """All that are for the origin, with one hop less to go."""
        sent = self._policy.outgoing(headers, read=method in READS)
        return one_hop_less(sent) if method == "OPTIONS" else sent

    def forbids_storing(self, lookup: Lookup) -> bool:
        """Where the client says so."""
        return lookup.asked.wishes.no_store

    def assess(self, lookup: Lookup, response: TimedResponse, control: CacheControl, jitter: float) -> Assessment:
        """By RFC 9111; ``jitter`` plays no part, and whatever answers is the origin."""
        authorized = any(name == b"authorization" for name, _ in lookup.asked.headers)
        given = Circumstances(
            authorized=authorized,
            no_store=self.forbids_storing(lookup),
            stale_if_error=self._stale_if_error,
            stale_while_revalidate=self._stale_while_revalidate,
            stale_at_once=True,
        )
        etag, sound = joined(response.headers, b"etag"), not response.ambiguous
        entry, stored = _by_the_rfc(lookup, replace(response, sound=sound), control, given, etag)
        return Assessment(entry, stored, True, failed(entry))


def _by_the_policy(lookup: Lookup, response: TimedResponse, life: Lifetime | None, etag: bytes) -> Entry:
    error = life is not None and life.kind is Kind.ERROR
    entry = Entry(
        lookup.key.error if error else lookup.key.entry,
        response.status,
        freshness.dated(response),
        response.body,
        etag,
        response.dispatched,
        response.received,
        0.0,
        0.0,
        0.0,
        response.received - freshness.initial_age(response),
        variant=lookup.key.variant if error else SOLE,
        target=lookup.query.exact,
    )
    if life is None:
        return entry
    return structs.replace(
        entry,
        fresh_until=life.fresh_until,
        serve_until=life.serve_until,
        keep_until=life.keep_until,
        drop_at=life.keep_until,
        stale_ok=life.serve_until > life.fresh_until,
        rule=life.rule,
        bound=life.bound,
    )


def _by_the_rfc(
    lookup: Lookup, response: TimedResponse, control: CacheControl, given: Circumstances, etag: bytes
) -> tuple[Entry, bool]:
    times = freshness.freshness(response, control, given)
    stored = freshness.storable(response, control, given) and times.drop_at > response.received
    guessed = given.default_life and not freshness.has_lifetime(response, control)
    vary = names_of([joined(response.headers, b"vary"), NEGOTIATED if guessed else b""])
    entry = Entry(
        lookup.key.entry,
        response.status,
        freshness.dated(response),
        response.body,
        etag,
        response.dispatched,
        response.received,
        times.fresh_until if stored else 0.0,
        times.serve_until,
        times.keep_until,
        times.born,
        times.drop_at,
        times.stale_ok,
        vary,
        variant_of(vary, lookup.asked.headers),
        target=lookup.query.exact,
    )
    return entry, stored


def _etag(response: TimedResponse) -> bytes:
    """The service's own, else a strong one over the body (RFC 9110 §8.8.3); none for errors."""
    own = joined(response.headers, b"etag")
    if own or response.status != 200:
        return own
    return b'"' + blake2b(response.body, digest_size=12).hexdigest().encode() + b'"'
