"""Tenants, their keys, credentials and networks as plain values, and which scope answers a tenant's query."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from typing import Annotated, NamedTuple
from urllib.parse import unquote

import msgspec

from gateway.cache.keys import PUBLIC
from gateway.cache.purges import Purges
from gateway.catalogue.answers import read
from gateway.catalogue.query import Query
from gateway.errors import CacheUnavailable, ConfigurationError, Forbidden, Headers, Unauthenticated

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Pair:
    """An institution's username and password in clear, from which its credential is made; never stored."""

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
    """A gateway API key as it is stored: its public id, the SHA-256 of its secret, its label and dates."""

    id: str
    digest: bytes = field(repr=False)
    label: str = ""
    created: datetime | None = None
    expires: datetime | None = None
    revoked: datetime | None = None

    def live(self, now: float) -> bool:
        """Whether it is neither revoked nor expired at ``now``, in seconds since the epoch."""
        return self.revoked is None and (self.expires is None or self.expires.timestamp() > now)


Rate = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
Share = Annotated[float, msgspec.Meta(ge=0.01, le=100)]


class TenantLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tenant's own limits, also as they are stored; None is no limit.

    ``requests_per_second`` with a ``burst`` (None: the requests of one second, at least one), ``requests_per_day``
    by the day in UTC, jobs ``queued`` at once, and the ``share`` (weight) of the upstream budget beside others' 1.
    """

    requests_per_second: Rate | None = None
    burst: Count | None = None
    requests_per_day: Count | None = None
    queued: Count | None = None
    share: Share = 1.0


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


# Keys as text: sgw_<id>_<secret>

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 10
SECRET_LENGTH = 27
"""Random base62 digits, of more than 160 bits: 62²⁷ > 2¹⁶⁰. With so short a key and a username of up to 14
characters, the base64 of Basic credentials fits into the 76 columns at which tools break it."""
OLDER_LENGTH = 43
"""Digits of the secrets of keys from older versions, which stay valid."""

DIGEST = "sha256:"
"""Begins a digest in the registry's tables."""
KEY_ID = re.compile(rf"[0-9A-Za-z]{{{ID_LENGTH}}}")
KEY_TEXT = re.compile(
    rb"sgw_([0-9A-Za-z]{%d})_([0-9A-Za-z]{%d}|[0-9A-Za-z]{%d})" % (ID_LENGTH, SECRET_LENGTH, OLDER_LENGTH)
)
KEY_LIKE = re.compile(rf"sgw_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{20,}}")
"""A key within other text, also one that was not copied whole."""
KEYS_REMEMBERED = 10_000
"""Keys whose digest is remembered: the same few come with every request."""


class NewKey(NamedTuple):
    """A new key: its text, which is shown once and never stored, its id, and its secret's digest."""

    text: str
    id: str
    digest: bytes

    @property
    def stored(self) -> str:
        """The digest as the registry's tables hold it."""
        return DIGEST + self.digest.hex()


def mint_key() -> NewKey:
    key_id, secret = _digits(ID_LENGTH), _digits(SECRET_LENGTH)
    return NewKey(f"sgw_{key_id}_{secret}", key_id, digest_of(secret))


def parse_key(text: bytes | str) -> tuple[str, str] | None:
    """The id and the secret of a key, or None for anything that is not exactly a key."""
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    found = KEY_TEXT.fullmatch(raw)
    return None if found is None else (found[1].decode(), found[2].decode())


def id_within(text: str) -> str | None:
    """The id of the first key anywhere in a text, percent-encoded perhaps; None where there is none."""
    found = KEY_LIKE.search(unquote(text))
    return None if found is None else found[1]


@lru_cache(KEYS_REMEMBERED)
def key_identity(text: bytes) -> tuple[str, bytes] | None:
    """The id of a presented key and the digest of its secret, or None for anything that is not exactly a key."""
    parsed = parse_key(text)
    return None if parsed is None else (parsed[0], digest_of(parsed[1]))


def digest_of(secret: str) -> bytes:
    """The SHA-256 of a secret. Slow hashing guards guessable secrets; these are not guessable."""
    return hashlib.sha256(secret.encode()).digest()


def same_digest(digest: bytes, other: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(digest, other)


def _digits(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))


# Networks as text

SHORTEST = {4: 8, 6: 32}
"""Bits of the shortest prefix that can be one tenant's, by the IP version."""
MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 writes them (RFC 4291 §2.5.5.2)."""
WRITTEN = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")
"""An address and a prefix length; a mask could be read two ways."""


def network_of(text: str) -> Network:
    """Parse a network, IPv4 where it is IPv4 in IPv6; a bare address is a network of one.

    Raises ConfigurationError for other text, bits beyond the prefix, a zone (which means something on one machine
    only, RFC 4007 §6), and a prefix that is too short to be one tenant's.
    """
    if "%" in text:
        raise ConfigurationError(f"{text!r} has a zone, which no network has; leave out what follows the address")
    malformed = f"{text!r} is no network: it must be like 10.1.0.0/16 or 2001:db8:1::/48"
    if WRITTEN.fullmatch(text) is None:
        raise ConfigurationError(malformed)
    try:
        given = ip_interface(text)
    except ValueError:
        raise ConfigurationError(malformed) from None
    network = _unmapped(given.network)
    if given.ip != given.network.network_address:
        raise ConfigurationError(f"{text!r} has bits set beyond its prefix; the network is {network}")
    shortest = SHORTEST[network.version]
    if network.prefixlen < shortest:
        raise ConfigurationError(
            f"{text!r} is too wide to be one tenant's: an IPv{network.version} prefix has at least {shortest} bits"
        )
    return network


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        mapped = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((mapped, network.prefixlen - MAPPED.prefixlen))
    return network


# Scopes


class Access(msgspec.Struct, frozen=True):
    """A scope, and the credential that goes upstream with it: none in the public scope. ``own`` is the access with
    the caller's own credential, where the public scope is asked first."""

    scope: str
    credential: Credential | None
    own: Access | None = None


OPEN = Access(PUBLIC, None)


def authorise(tenant: Tenant, query: Query, shared: Callable[[Query], bool]) -> Access:
    """The scope of a query for a tenant (docs/decisions.md, 5), before anything is spent on it.

    A tenant's own credential always goes along, but for what is ``shared``: that is asked without it, as is what
    others may ask inside an institution.
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


REFUSALS = frozenset({401, 403})


class Sharing:
    """Which queries are asked once for all tenants, though the caller holds a credential.

    ``totals``: the operator says that totals are the same with a credential and without. They are then asked
    without, and kept in the public scope, where nothing fetched with a credential ever is.

    An institution may keep its totals to itself all the same. The service says so when it is asked; callers with a
    credential then ask with it, and the fleet remembers that for a day (``Purges.private``).
    """

    def __init__(self, purges: Purges, *, totals: bool) -> None:
        self._purges = purges
        self._totals = totals

    def __repr__(self) -> str:
        return f"<Sharing totals={self._totals}>"

    def covers(self, query: Query) -> bool:
        """Whether this query is asked once for all."""
        return self._totals and query.family.form.shareable and not self._purges.private(query)

    async def withdraw(self, query: Query) -> None:
        """Stop sharing after the service refused this query without a credential: here at once, in the fleet by
        way of Redis; while that does not answer, each process finds out for itself."""
        if query.institution is None or self._purges.private(query):
            return
        try:
            await self._purges.keep_private(query.institution)
        except CacheUnavailable:
            return


def refuses(query: Query, status: int, headers: Headers, body: bytes) -> bool:
    """Whether an answer is the service's own refusal of a request without a credential, not an intermediary's."""
    return status in REFUSALS and read(query.family, status, headers, body).speaks
