"""Guard: who may use the admin API, and under which name. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.errors import AdminDisabled, AdminForbidden, AdminUnauthenticated, Headers

if TYPE_CHECKING:
    from gateway.settings import AdminToken

READ_ONLY, READ_WRITE = "read-only", "read-write"
DISABLED = (
    "The admin API has no token: set STATS_GATEWAY_ADMIN_TOKEN to a long random text, or admin_tokens in the "
    "settings file, and restart; send it as Authorization: Bearer"
)


@dataclass(frozen=True, slots=True)
class Admin:
    """Who uses the admin API: the name of the token, and its role."""

    name: str
    role: str


class Guard:
    """The admin tokens, as digests, and the hosts the admin listener is known by.

    A name that resolves to us in a browser's eyes could be anybody's (DNS rebinding): only addresses, localhost
    and ``hosts`` are ours.
    """

    def __init__(self, token: str, named: Mapping[str, AdminToken], hosts: Collection[str]) -> None:
        self._admins: list[tuple[bytes, Admin]] = []
        if token:
            self._admins.append((hashlib.sha256(token.encode()).digest(), Admin("admin", READ_WRITE)))
        for name, each in named.items():
            self._admins.append((bytes.fromhex(each.digest.removeprefix("sha256:")), Admin(name, each.role)))
        self._hosts = frozenset({"localhost", *(host.lower() for host in hosts)})

    def __repr__(self) -> str:
        return f"<Guard {len(self._admins)} tokens>"

    def check_host(self, headers: Headers) -> None:
        """Raises AdminForbidden for a Host that is not this listener's."""
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise AdminForbidden("The admin listener is not known by this Host; see the setting admin_hosts")

    def admit(self, headers: Headers, *, changes: bool) -> Admin:
        """Whose token a request brings. Compares with all of them, in constant time.

        Raises AdminDisabled where there is none, AdminUnauthenticated, and AdminForbidden for a change by a token
        that may only read.
        """
        if not self._admins:
            raise AdminDisabled(DISABLED)
        presented = [value for name, value in headers if name == b"authorization"]
        scheme, _, text = (presented[0] if len(presented) == 1 else b"").partition(b" ")
        digest = hashlib.sha256(text.strip(b" \t")).digest()
        found = [admin for known, admin in self._admins if hmac.compare_digest(known, digest)]
        if scheme.lower() != b"bearer" or not found:
            raise AdminUnauthenticated("An admin token is needed, as Authorization: Bearer")
        if changes and found[0].role != READ_WRITE:
            raise AdminForbidden(f"The token {found[0].name!r} may only read")
        return found[0]

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
