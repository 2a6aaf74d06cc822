"""Directory: an immutable snapshot of the registry that identifies callers by key or network.

Pure; no message ever repeats what a client presented.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

from gateway.errors import AmbiguousKey, Headers, Unauthenticated
from gateway.tenants.tenant import Address, Key, Network, Tenant, key_identity, parse_key, same_digest

MAX_BYTES = 512
"""The longest value of a header that holds a key; a key has 42 or 58 bytes, base64 and a username add some."""
UNKNOWN_KEY = "The gateway key is unknown or no longer valid"

_serials = count(1)


class Caller(NamedTuple):
    """The tenant that makes a request, and the key it presents, if any."""

    tenant: Tenant
    key: Key | None = None


class Holder(NamedTuple):
    """A tenant and one of its keys."""

    tenant: Tenant
    key: Key


class Difference(NamedTuple):
    """The ids of the tenants in which one directory differs from another, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class Claim(NamedTuple):
    """A network and its tenant; none where two tenants claim it or the one who does is disabled."""

    network: str
    tenant: Tenant | None


class Networks:
    """The networks of all tenants; of those that hold an address the one with the longest prefix decides.

    A network that two tenants claim is neither's; ``disputes`` say so. A disabled tenant keeps its own, so that
    its callers do not count as those of the tenant with the network around it.
    """

    __slots__ = ("_claims", "disputes")

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        claimants: dict[Network, list[Tenant]] = {}
        for tenant in tenants:
            for network in tenant.networks:
                claimants.setdefault(network, []).append(tenant)
        lengths: dict[tuple[int, int], dict[int, Claim]] = {}
        for network in sorted(claimants, key=lambda each: -each.prefixlen):
            found = lengths.setdefault((network.version, network.max_prefixlen - network.prefixlen), {})
            found[int(network.network_address)] = _claim(network, claimants[network])
        self._claims = lengths
        self.disputes = disputes({network: [each.id for each in found] for network, found in claimants.items()})

    def __bool__(self) -> bool:
        return bool(self._claims)

    def __repr__(self) -> str:
        return f"Networks({sum(map(len, self._claims.values()))})"

    def claim_on(self, address: Address) -> Claim | None:
        """The network that holds an address; None where it is in nobody's."""
        number = int(address)
        for (version, host_bits), claims in self._claims.items():
            if version == address.version:
                claim = claims.get(number >> host_bits << host_bits)
                if claim is not None:
                    return claim
        return None


def _claim(network: Network, claimants: list[Tenant]) -> Claim:
    alone = claimants[0] if len(claimants) == 1 and claimants[0].enabled else None
    return Claim(str(network), alone)


def disputes(claimants: Mapping[Network, Sequence[str]]) -> list[str]:
    """Describe the networks that more than one tenant claims; tenants by their ids."""
    return [
        f"the network {network} is claimed by tenants {' and '.join(map(repr, sorted(ids)))}: "
        "calls from there count for no tenant"
        for network, ids in claimants.items()
        if len(ids) > 1
    ]


class Directory:
    """All tenants by id and by the networks they call from, and the enabled ones by the keys they hold.

    Never changes: a registry that changes makes another directory, so that a request sees one state. Each
    directory of a process has its own ``serial``.
    """

    __slots__ = ("_holders", "networks", "serial", "tenants")

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        all_of_them = {tenant.id: tenant for tenant in tenants}
        self._fill(all_of_them, {}, Networks(all_of_them.values()))
        for tenant in self.tenants.values():
            self._holders.update(_holders(tenant))

    def _fill(self, tenants: dict[str, Tenant], holders: dict[str, Holder], networks: Networks) -> None:
        self.tenants: Mapping[str, Tenant] = MappingProxyType(tenants)
        self.networks = networks
        self._holders = holders
        self.serial = next(_serials)

    def changed(self, tenants: Iterable[Tenant], removed: Collection[str] = ()) -> Directory:
        """A new directory with these tenants in place of any of the same id, and without those removed.

        An unchanged tenant stays the same object, by which other parts recognise it.
        """
        changes = {tenant.id: tenant for tenant in tenants if tenant != self.tenants.get(tenant.id)}
        after, holders, located = dict(self.tenants), dict(self._holders), False
        for tenant_id in (*changes, *removed):
            before = after.get(tenant_id)
            located = located or (before is not None and bool(before.networks))
            for key_id in () if before is None else before.keys:
                holders.pop(key_id, None)
        for tenant_id in removed:
            after.pop(tenant_id, None)
        after.update(changes)
        for tenant in changes.values():
            located = located or bool(tenant.networks)
            holders.update(_holders(tenant))
        directory = Directory()
        directory._fill(after, holders, Networks(after.values()) if located else self.networks)
        return directory

    def since(self, before: Directory) -> Difference:
        """The difference from an earlier directory."""
        now, then = self.tenants, before.tenants
        both = now.keys() & then.keys()
        return Difference(
            sorted(now.keys() - both),
            sorted(each for each in both if now[each] is not then[each] and now[each] != then[each]),
            sorted(then.keys() - both),
        )

    def __repr__(self) -> str:
        return f"Directory(tenants={len(self.tenants)}, keys={len(self._holders)})"

    def holder_of(self, key: bytes, now: float) -> Holder | None:
        """The holder of a presented key at ``now``, in seconds since the epoch.

        None for one that is malformed, unknown, revoked, expired or a disabled tenant's.
        """
        presented = key_identity(key)
        if presented is None:
            return None
        key_id, digest = presented
        held = self._holders.get(key_id)
        if held is None or not same_digest(held.key.digest, digest):
            return None
        return held if held.key.live(now) else None

    def has(self, tenant: Tenant, key_id: str) -> bool:
        """Whether this very tenant, unchanged, holds that key."""
        holder = self._holders.get(key_id)
        return holder is not None and holder.tenant is tenant


def _holders(tenant: Tenant) -> dict[str, Holder]:
    """The keys that may identify a tenant: none of a disabled one, and none that is revoked."""
    if not tenant.enabled:
        return {}
    return {key.id: Holder(tenant, key) for key in tenant.keys.values() if key.revoked is None}


def identify(
    headers: Headers, directory: Directory, anonymous: Tenant | None, now: float, located: Tenant | None = None
) -> Caller:
    """The caller by the key that a request presents at ``now``; without a key the tenant ``located`` by its
    network, else ``anonymous``, where that is allowed.

    Raises Unauthenticated without a key where one is needed, and, with one and the same message, for a key
    that is unknown, revoked, expired or a disabled tenant's; else as ``presented_key`` does.
    """
    key = presented_key(headers)
    if key is None:
        if located is not None:
            return Caller(located)
        if anonymous is not None:
            return Caller(anonymous)
        raise Unauthenticated(
            "A gateway key is needed, in X-API-Key, as a Bearer token, or as the password of Basic auth"
        )
    holder = directory.holder_of(key, now)
    if holder is None:
        raise Unauthenticated(UNKNOWN_KEY)
    return Caller(*holder)


def presented_key(headers: Headers) -> bytes | None:
    """The key in X-API-Key or Authorization (names in lower case), or None without either.

    Raises AmbiguousKey for a repeated, oversized or unreadable key header and for two different keys, and
    Unauthenticated for an empty key, an unknown scheme, or a Basic password that is no gateway key.
    """
    api_key: bytes | None = None
    authorization: bytes | None = None
    for name, value in headers:
        if name == b"x-api-key":
            api_key = _only(api_key, value, "X-API-Key")
        elif name == b"authorization":
            authorization = _only(authorization, value, "Authorization")
    if authorization is None:
        return _filled(api_key) if api_key == b"" else api_key
    authorized = _filled(_from_authorization(authorization))
    if api_key is not None and _filled(api_key) != authorized:
        raise AmbiguousKey("X-API-Key and Authorization hold different keys; send one")
    return authorized


def _only(before: bytes | None, value: bytes, name: str) -> bytes:
    if before is not None:
        raise AmbiguousKey(f"The header {name} was sent more than once")
    if len(value) > MAX_BYTES:
        raise AmbiguousKey(f"The header {name} is longer than {MAX_BYTES} bytes")
    return value.strip(b" \t")


def _filled(key: bytes) -> bytes:
    if not key:
        raise Unauthenticated("The gateway key is empty")
    return key


def _from_authorization(value: bytes) -> bytes:
    """The credentials of RFC 9110 §11.4; a scheme's name is case-insensitive. ``token`` is the scheme of
    figshare's main API, which its clients send here too."""
    scheme, _, rest = value.partition(b" ")
    match scheme.lower():
        case b"bearer" | b"token":
            return rest.strip(b" \t")
        case b"basic":
            return _password(rest.strip(b" \t"))
        case _:
            raise Unauthenticated("The Authorization scheme must be Basic, Bearer or token, with a gateway key")


def _password(token: bytes) -> bytes:
    """The password of a Basic pair (RFC 7617 §2): all after the first colon. Any username in any encoding will
    do."""
    try:
        pair = base64.b64decode(token, validate=True)
    except binascii.Error:
        raise AmbiguousKey("The Basic credentials are not base64") from None
    _, colon, password = pair.partition(b":")
    if not colon:
        raise AmbiguousKey("The Basic credentials have no colon between username and password")
    if password and parse_key(password) is None:
        # Probably an institution's own password: the message helps and echoes nothing.
        raise Unauthenticated("The password must be a gateway key, not an institution's password")
    return password
