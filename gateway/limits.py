"""Limits: what one listener allows its clients."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.catalogue import posted
from gateway.catalogue.target import path_of
from gateway.proxy.methods import NEVER, POST, READING

if TYPE_CHECKING:
    from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations are in seconds, sizes in bytes."""

    connections: int
    head_bytes: int
    head_seconds: float
    hosts: frozenset[bytes] = frozenset()
    spare: int = 0
    """Connections beyond the limit, each for one health check that comes at once; the newest take the place of
    the oldest. All else is refused there."""
    write_seconds: float = 30.0
    """How long a client may leave its answer unread."""
    linger_seconds: float = 2.0
    """How long a refused client may go on sending, so that it gets to read the refusal (RFC 9112 §9.6)."""
    methods: frozenset[bytes] | None = READING
    """Those that may have a body, and GET and HEAD, which may not; None: all but CONNECT and TRACE."""
    body_bytes: int = 0
    body_seconds: float = 30.0
    """How long a body may take, from the end of its head."""
    posted: frozenset[bytes] = frozenset()
    """Paths where questions are asked by POST, whatever ``methods`` says."""

    def bodies(self, method: bytes, target: bytes) -> tuple[Set[bytes] | None, int]:
        """The methods that may have a body there, as ``methods``; and the most bytes of this one's."""
        if self.methods is None or not self.posted or path_of(target) not in self.posted:
            return self.methods, self.body_bytes
        most = min(self.body_bytes, posted.MOST_BYTES) if method == POST else self.body_bytes
        return self.methods | {POST}, most

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The public listener's limits that the settings ask for."""
        passed = frozenset(method.upper().encode() for method in settings.pass_methods)
        return cls(
            connections=settings.max_connections,
            head_bytes=settings.head_max_bytes,
            head_seconds=settings.head_timeout,
            hosts=frozenset(host.lower().encode() for host in settings.public_hosts),
            methods=None if settings.profile == "generic" else READING | passed - NEVER,
            write_seconds=settings.send_timeout,
            body_bytes=settings.request_max_bytes,
            body_seconds=settings.body_timeout,
            posted=frozenset() if settings.profile == "generic" else posted.PATHS,
        )
