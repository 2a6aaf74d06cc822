"""Tenant, Credential and Key: who may ask, as plain values.

Access: from which scope a tenant's query is answered. Pure.

Sharing: which answers are asked for once for all, though the caller holds a credential.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from gateway.cache.keys import PUBLIC
from gateway.cache.purges import Marks
from gateway.catalogue.answers import read
from gateway.catalogue.query import Family, Query
from gateway.errors import CacheUnavailable, Forbidden, Headers, Unauthenticated
from gateway.tenants.networks import Network


@dataclass(frozen=True, slots=True)
class Pair:
    """What an institution's credential is made from: its username and password in clear, never stored."""

    institution: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """An institution's username and password for the upstream.

    ``fingerprint`` is the keyed HMAC of (institution, username, password), as lower-case hex: the scope of
    all that is fetched with the pair. ``authorization`` is the ready ``Basic …`` header value. Neither the
    password nor the header shows in the ``repr``.
    """

    institution: str
    username: str
    fingerprint: str
    authorization: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Key:
    """A gateway API key as it is stored: its public id, the SHA-256 of its secret, and its story."""

    id: str
    digest: bytes = field(repr=False)
    label: str = ""
    created: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | None = None

    def live(self, now: float) -> bool:
        """Whether it opens anything at ``now``, in seconds since the epoch: not revoked, not expired."""
        return self.revoked is None and (self.expires is None or self.expires.timestamp() > now)


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What a tenant may ask for; None is no limit of its own.

    ``requests_per_second`` with a ``burst`` (None: the requests of one second, at least one), ``requests_per_day``
    by the day in UTC, jobs ``queued`` at once, and the ``share`` (weight) of the upstream budget beside others' 1.
    """

    requests_per_second: float | None = None
    burst: int | None = None
    requests_per_day: int | None = None
    queued: int | None = None
    share: float = 1.0


UNLIMITED = TenantLimits()


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application or organisation that holds keys, and credentials for one or more institutions.

    ``lifetimes`` are its own, in seconds by the settings' names without ``lifetime_``; ``origins`` are the web
    origins whose pages may call with its keys, ``networks`` those from which it calls without one.
    """

    id: str
    name: str
    credentials: dict[str, Credential] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    enabled: bool = True
    limits: TenantLimits = UNLIMITED
    lifetimes: dict[str, float] = field(default_factory=dict)
    origins: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    note: str = ""

    @property
    def anonymous(self) -> bool:
        """Whether it stands for callers without a key."""
        return self.id == ANONYMOUS.id

    def credential_for(self, institution: str | None) -> Credential | None:
        """The credential that this tenant holds for an institution, if any."""
        return None if institution is None else self.credentials.get(institution)


ANONYMOUS = Tenant(id="anonymous", name="Anonymous callers")
"""Callers without a key, where the settings allow them: public queries only."""


class Access(msgspec.Struct, frozen=True):
    """A scope, and the credential that goes upstream with it: none in the public scope. ``own`` is the caller's
    own, where it asks in the public one first though it holds a credential."""

    scope: str
    credential: Credential | None
    own: Access | None = None


OPEN = Access(PUBLIC, None)


def authorise(tenant: Tenant, query: Query, shared: Callable[[Query], bool]) -> Access:
    """The scope of this query for this tenant (decision 5), before anything is spent on it.

    A caller's own credential always goes along, but with what is ``shared``: that is asked without, as what others
    may ask inside an institution is.
    Raises Forbidden for another institution's protected query, Unauthenticated where no key came with it.
    """
    credential = tenant.credential_for(query.institution)
    if credential is not None:
        own = Access(credential.fingerprint, credential)
        return Access(OPEN.scope, None, own) if not query.protected and shared(query) else own
    if not query.protected:
        return OPEN
    if tenant.anonymous:
        raise Unauthenticated("This query needs a gateway key.")
    raise Forbidden("Unauthorized request")


SHARED = frozenset({Family.TOTALS, Family.OVERVIEW})
REFUSALS = frozenset({401, 403})


class Sharing:
    """``totals``: the operator says that totals are the same with a credential and without. They are then asked
    without, and kept in the public scope: nothing that a credential brought is ever there.

    Some institution may keep its totals to itself all the same. The service says so when it is asked; whoever
    holds a credential then asks with it, and the fleet remembers that for a day (``Marks.private``).
    """

    def __init__(self, marks: Marks, *, totals: bool) -> None:
        self._marks = marks
        self._totals = totals

    def __repr__(self) -> str:
        return f"<Sharing totals={self._totals}>"

    def covers(self, query: Query) -> bool:
        """Whether this query is asked for once for all."""
        return self._totals and query.family in SHARED and not self._marks.private(query)

    async def withdraw(self, query: Query) -> None:
        """The service refused this query without a credential: here that is known at once, in the fleet as soon as
        Redis is told; while it does not answer, each process finds out for itself."""
        if query.institution is None or self._marks.private(query):
            return
        try:
            await self._marks.keep_private(query.institution)
        except CacheUnavailable:
            return


def refuses(query: Query, status: int, headers: Headers, body: bytes) -> bool:
    """Whether an answer is the service's own refusal to whoever has no credential, and nobody's in its place."""
    return status in REFUSALS and read(query.family, status, headers, body).speaks
