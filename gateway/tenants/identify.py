"""Step 1 of a request's way: who asks? Pure; no message ever repeats what was presented."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from gateway.errors import AmbiguousKey, Headers, Unauthenticated
from gateway.tenants import keys
from gateway.tenants.directory import Directory
from gateway.tenants.tenant import Key, Tenant

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
