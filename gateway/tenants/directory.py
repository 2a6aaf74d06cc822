"""Directory: who may ask, as one immutable snapshot of the registry.

Step 1 of a request's way: who asks? Pure; no message ever repeats what was presented.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

from gateway.errors import AmbiguousKey, Headers, Unauthenticated
from gateway.tenants import keys
from gateway.tenants.networks import Networks
from gateway.tenants.tenant import Key, Tenant

_serials = count(1)


class Holder(NamedTuple):
    """A tenant, and the key by which it is known."""

    tenant: Tenant
    key: Key


class Difference(NamedTuple):
    """The ids of the tenants in which one directory differs from another, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class Directory:
    """All tenants by id and by the networks they call from, and the enabled ones by the keys they hold.

    Never changes: a registry that changes makes another directory, so that a request sees one state. No two of a
    process have the same ``serial``.
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
        """Another directory: with these tenants in place of any of the same id, and without those removed.

        A tenant that is as it was stays the same object, by which others know that.
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
        """How it differs from another that was in force before."""
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
        """Whose key this is at ``now``, in seconds since the epoch.

        None for one that is no key, unknown, revoked, expired or a disabled tenant's.
        """
        presented = keys.identity(key)
        if presented is None:
            return None
        key_id, digest = presented
        held = self._holders.get(key_id)
        if held is None or not keys.matches(held.key.digest, digest):
            return None
        return held if held.key.live(now) else None

    def has(self, tenant: Tenant, key_id: str) -> bool:
        """Whether this very tenant, in which nothing has changed, holds that key."""
        holder = self._holders.get(key_id)
        return holder is not None and holder.tenant is tenant


def _holders(tenant: Tenant) -> dict[str, Holder]:
    """Whom its keys open to, but for those that never will."""
    if not tenant.enabled:
        return {}
    return {key.id: Holder(tenant, key) for key in tenant.keys.values() if key.revoked is None}


MAX_BYTES = 512
"""The longest value of a header that holds a key; a key has 42 or 58 bytes, base64 and a username add some."""

UNKNOWN_KEY = "The gateway key is unknown or no longer valid"


class Caller(NamedTuple):
    """Whose request it is, and by which key; callers without one have none."""

    tenant: Tenant
    key: Key | None = None


def identify(
    headers: Headers, directory: Directory, anonymous: Tenant | None, now: float, located: Tenant | None = None
) -> Caller:
    """Whose key a request presents at ``now``; without a key whoever is ``located`` where it comes from, else
    ``anonymous``, where that is allowed.

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
    """What a request presents as its key, from X-API-Key or Authorization (names in lower case), or None.

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
        return None if api_key is None else _filled(api_key)
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
    """The credentials of RFC 9110 §11.4; a scheme's name is case-insensitive. ``token`` is the one of figshare's
    main API, which its clients send here too."""
    scheme, _, rest = value.partition(b" ")
    match scheme.lower():
        case b"bearer" | b"token":
            return rest.strip(b" \t")
        case b"basic":
            return _password(rest.strip(b" \t"))
        case _:
            raise Unauthenticated("The Authorization scheme must be Basic, Bearer or token, with a gateway key")


def _password(token: bytes) -> bytes:
    """The password of a Basic pair (RFC 7617 §2): all after the first colon. Any username will do, in whatever
    encoding the client writes it."""
    try:
        pair = base64.b64decode(token, validate=True)
    except binascii.Error:
        raise AmbiguousKey("The Basic credentials are not base64") from None
    _, colon, password = pair.partition(b":")
    if not colon:
        raise AmbiguousKey("The Basic credentials have no colon between username and password")
    if password and keys.parse(password) is None:
        # An institution's own password, by the likeliest mistake: the message helps and echoes nothing.
        raise Unauthenticated("The password must be a gateway key, not an institution's password")
    return password
