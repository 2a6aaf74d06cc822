"""Callers: who asks, and whether within their limit: steps 1 and 4 of a request's way."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import Unauthenticated
from gateway.proxy.network import client_address, subject_of
from gateway.proxy.profiles import Profile
from gateway.proxy.request import Exchange
from gateway.redis import Clock
from gateway.tenants.directory import UNKNOWN_KEY, presented_key
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.tenant import UNLIMITED, Network, Tenant, TenantLimits

INVALID = "invalid-key"


class Callers:
    """Tells a request's tenant, and holds each to its limit; callers without a key are told apart by address.

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
        self._profile = profile
        self._admission = admission
        self._clock = clock
        self._penalty = penalty
        self._trusted = trusted

    async def identify(self, exchange: Exchange) -> None:
        """Notes the tenant, and its key or network. Raises Unauthenticated, AmbiguousKey, RateLimited."""
        exchange.located = self._profile.located(exchange.headers, exchange.peer)
        try:
            caller = self._profile.identify(exchange.headers, self._clock.now(), exchange.located)
        except Unauthenticated:
            if self._penalty is not UNLIMITED and presented(exchange):
                await self._admission.admit(f"{INVALID}:{self._subject(exchange)}", self._penalty)
            raise
        exchange.tenant = caller.tenant
        exchange.key_id = None if caller.key is None else caller.key.id

    async def admit(self, exchange: Exchange) -> None:
        """Takes one request from the limit, and notes what its answer tells of it. Raises RateLimited."""
        tenant = exchange.tenant
        subject = self.subject(tenant, exchange.peer)
        if subject is None:
            subject = f"{tenant.id}:{self._subject(exchange)}"
        if subject:
            exchange.told += (await self._admission.admit(subject, tenant.limits)).headers

    def asker(self, exchange: Exchange) -> str:
        """Whose refusals by the service count together: one key's, or one address's without a key."""
        tenant, key = exchange.tenant, exchange.key_id
        if tenant.anonymous or exchange.located is not None:
            return f"{tenant.id}:{self._subject(exchange)}"
        return tenant.id if key is None else f"{tenant.id}:{key}"

    def subject(self, tenant: Tenant, peer: str) -> str | None:
        """Who is held to a tenant's limits when a request comes from the address ``peer``: nobody (empty) where
        there are none; None where that takes the request's headers."""
        if tenant.limits.requests_per_second is None and tenant.limits.requests_per_day is None:
            return ""
        if not tenant.anonymous:
            return tenant.id
        return None if self._trusted else f"{tenant.id}:{subject_of(peer)}"

    def _subject(self, exchange: Exchange) -> str:
        return subject_of(client_address(exchange.peer, exchange.headers, self._trusted))


class Impersonation(Callers):
    """Every request is one tenant's, without a key of its own; it is held to that tenant's limit all the same."""

    def __init__(self, tenant: Tenant, profile: Profile, admission: RateLimiter, clock: Clock) -> None:
        super().__init__(profile, admission, clock)
        self._tenant = tenant

    async def identify(self, exchange: Exchange) -> None:
        """Notes the tenant, and no key. Raises Unauthenticated for one that is disabled, as its keys would."""
        if not self._tenant.enabled:
            raise Unauthenticated(UNKNOWN_KEY)
        exchange.tenant = self._tenant


def presented(exchange: Exchange) -> bool:
    """Whether a request came with something in a key's place, so that its refusal may be a guess."""
    try:
        return presented_key(exchange.headers) is not None
    except Unauthenticated:
        return True
