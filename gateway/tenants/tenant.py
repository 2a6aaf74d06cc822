"""Tenant, Credential and Key: who may ask, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


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
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application or organisation that holds keys, and credentials for one or more institutions."""

    id: str
    name: str
    credentials: dict[str, Credential] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    enabled: bool = True

    def credential_for(self, institution: str | None) -> Credential | None:
        """The credential that this tenant holds for an institution, if any."""
        return None if institution is None else self.credentials.get(institution)


ANONYMOUS = Tenant(id="anonymous", name="Anonymous callers")
"""Callers without a key, where the settings allow them: public queries only."""
