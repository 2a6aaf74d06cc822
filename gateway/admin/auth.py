"""The admin tokens, the Hosts of the admin listener, and what a browser says of a request's origin. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.catalogue.target import DEFAULT_PORTS, canonical_authority
from gateway.errors import AdminDisabled, AdminForbidden, AdminTokenUnknown, AdminUnauthenticated, Headers

if TYPE_CHECKING:
    from gateway.setting_values import AdminToken

READ_ONLY, READ_WRITE = "read-only", "read-write"
DISABLED = (
    "The admin API has no token: set STATS_GATEWAY_ADMIN_TOKEN to a long random text, or admin_tokens in the "
    "settings file, and restart; send it as Authorization: Bearer"
)


@dataclass(frozen=True, slots=True)
class Admin:
    """A user of the admin API: the token's name and role."""

    name: str
    role: str

    @property
    def may_change(self) -> bool:
        return self.role == READ_WRITE


NOBODY = Admin("nobody", "")
"""A request without a known token."""


class AdminTokens:
    """The admin tokens, as digests, and the host names of the admin listener.

    Against DNS rebinding only addresses, localhost and ``hosts`` are accepted as a Host: any other name that
    resolves to this machine could be anybody's.
    """

    def __init__(self, token: str, named: Mapping[str, AdminToken], hosts: Collection[str]) -> None:
        self._admins: list[tuple[bytes, Admin]] = []
        if token:
            self._admins.append((hashlib.sha256(token.encode()).digest(), Admin("admin", READ_WRITE)))
        for name, each in named.items():
            self._admins.append((bytes.fromhex(each.digest.removeprefix("sha256:")), Admin(name, each.role)))
        self._hosts = frozenset({"localhost", *(host.lower() for host in hosts)})

    def __repr__(self) -> str:
        return f"<AdminTokens {len(self._admins)}>"

    def check_host(self, headers: Headers) -> None:
        """Raises AdminForbidden for another Host than this listener's."""
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise AdminForbidden("The admin listener is not known by this Host; see the setting admin_hosts")

    def admit(self, headers: Headers, *, changes: bool) -> Admin:
        """The admin whose token a request carries.

        Raises AdminDisabled where no token is configured, AdminUnauthenticated for a request without one,
        AdminTokenUnknown, and AdminForbidden for a change by a read-only token.
        """
        self.check_enabled()
        token = bearer_token(headers)
        if not token:
            raise AdminUnauthenticated("An admin token is needed, as Authorization: Bearer")
        found = self.recognise(token)
        if found is None:
            raise AdminTokenUnknown("This is none of the gateway's admin tokens")
        self.check_role(found, changes=changes)
        return found

    @property
    def enabled(self) -> bool:
        return bool(self._admins)

    def check_enabled(self) -> None:
        """Raises AdminDisabled where no token is configured."""
        if not self.enabled:
            raise AdminDisabled(DISABLED)

    def check_role(self, admin: Admin, *, changes: bool) -> None:
        """Raises AdminForbidden for a change by a read-only token."""
        if changes and not admin.may_change:
            raise AdminForbidden(f"The token {admin.name!r} may only read")

    def recognise(self, token: bytes) -> Admin | None:
        """The admin with this token. Compares with all of them, in constant time."""
        digest = hashlib.sha256(token).digest()
        found = [admin for known, admin in self._admins if hmac.compare_digest(known, digest)]
        return found[0] if found else None

    def sign(self, token: bytes, message: bytes) -> bytes | None:
        """A message authentication code by this token, its name and its role; None for an unknown token."""
        admin = self.recognise(token)
        return None if admin is None else _proof(hashlib.sha256(token).digest(), admin, message)

    def verify(self, proof: bytes, message: bytes) -> Admin | None:
        """The admin who signed a message; None once the token is gone, or has another role or name."""
        found = [a for known, a in self._admins if hmac.compare_digest(_proof(known, a, message), proof)]
        return found[0] if found else None

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        if name in self._hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def bearer_token(headers: Headers) -> bytes | None:
    """The token in a request's Authorization: Bearer; None without exactly one such header."""
    presented = [value for name, value in headers if name == b"authorization"]
    scheme, _, text = (presented[0] if len(presented) == 1 else b"").partition(b" ")
    return text.strip(b" \t") if scheme.lower() == b"bearer" else None


def is_own_source(headers: Headers, *, https: bool) -> bool | None:
    """Whether the browser says that a request came from a page of our own, or from none.

    None where it says nothing: for a typed address, but also for a page elsewhere with ``no-referrer``. A page on
    another port or a sibling host is of the same *site*, and so sends the cookie, but not of the same origin.
    Browsers send ``Sec-Fetch-Site`` over https and to the loopback only; otherwise ``Origin`` counts, and
    ``Referer`` without it. ``https``: the browser certainly speaks https with us.
    """
    given = dict(headers)
    if (site := given.get(b"sec-fetch-site")) is not None:
        return site in (b"same-origin", b"none")
    source = given.get(b"origin", given.get(b"referer"))
    return None if source is None else _is_same_origin(source, given.get(b"host", b""), https=https)


def _is_same_origin(source: bytes, host: bytes, *, https: bool) -> bool:
    """Whether a URL's origin is that of a request for ``host`` (RFC 6454 §5).

    A Host names no scheme: the URL's own is assumed unless ``https`` is known.
    """
    try:
        parts = urlsplit(source)
    except ValueError:
        return False
    if parts.scheme not in ((b"https",) if https else DEFAULT_PORTS):
        return False
    return canonical_authority(parts.scheme, parts.netloc) == canonical_authority(parts.scheme, host)


def _proof(digest: bytes, admin: Admin, message: bytes) -> bytes:
    name = f"{len(admin.name)}:{admin.name}{admin.role}:".encode()
    return hmac.digest(digest, name + message, "sha256")
