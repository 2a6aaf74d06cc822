"""Tenant, Credential and Key: who may ask, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

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
