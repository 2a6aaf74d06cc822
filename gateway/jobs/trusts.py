"""Trusts: what reports found out about rankings, kept in Redis for the reports that follow."""

from __future__ import annotations

import msgspec

from gateway.errors import CacheUnavailable
from gateway.jobs.checks import TRUSTED_SECONDS, Trust
from gateway.redis import Client, execute, ignored, text

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Trust).decode


class Trusts:
    """The trust in the rankings of one item kind of an institution, as one credential sees them.

    Without Redis there is none: the next report checks as the first one did.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<Trusts {self._prefix}:trust>"

    async def of(self, name: str) -> Trust:
        """The trust under a name of ``trust_name``."""
        try:
            data = await execute(self._client, text, "GET", self._key(name))
            return Trust() if data is None else _decode(data)
        except (CacheUnavailable, msgspec.DecodeError):
            return Trust()

    async def keep(self, name: str, trust: Trust) -> None:
        """Keep this trust, in place of what was there, for as long as it counts."""
        try:
            await execute(
                self._client, ignored, "SET", self._key(name), _encode(trust), "EX", int(TRUSTED_SECONDS)
            )
        except CacheUnavailable:
            return

    def _key(self, name: str) -> str:
        return f"{self._prefix}:trust:{name}"


def trust_name(institution: str, scope: str, item: str) -> str:
    """The name of the trust that the rankings of an institution's items have in a scope: public, or a credential's
    fingerprint. The institution, which alone may hold a colon, is last."""
    return f"{scope}:{item}:{institution}"
