"""TrustStore: the fleet's trust in derivations, in Redis or in the embedded one of ``memory://``.

One hash for each institution as one scope sees it, with a record for each subject. Processes change a record by
comparing it with what they read, so that no check of another process is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.derivation.trust import Trust, encoded, trust_in
from gateway.redis import Client, Invocation, Script, execute, ignored, invoke, text

SWAP = Script.load("gateway.derivation.lua", "swap.lua")
LIFE = 30 * 86_400.0
"""Seconds for which trust is kept after its last change."""
MOST_PLACES = 1_000
"""Institutions that are listed."""
ATTEMPTS = 8
WRITTEN = 1
"""What the script answers where it wrote."""
LISTED_SECONDS = 3_600.0


class Place(NamedTuple):
    """An institution (empty: outside of all) as one scope sees it: the public one, or that of a credential."""

    scope: str
    institution: str

    @property
    def name(self) -> str:
        """The institution, which alone may hold a colon, is last."""
        return f"{self.scope}:{self.institution}"


Subjects = dict[str, Trust]


class TrustStore:
    """Every method raises CacheUnavailable while Redis does not answer."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._index = f"{prefix}:derivation"
        self._listed: dict[Place, float] = {}

    def __repr__(self) -> str:
        return f"<TrustStore {self._index}>"

    async def of(self, place: Place, now: float) -> Subjects:
        """What is trusted at a place, by subject. Records of other versions are left out."""
        found = await execute(self._client, _records, "HGETALL", self._key(place))
        return {subject: trust.as_of(now) for subject, trust in found.items() if trust is not None}

    async def change(
        self, place: Place, subject: str, change: Callable[[Trust], Trust], now: float
    ) -> Trust | None:
        """The trust in a subject after a change, which may be called more than once; None where it could not be
        made: the record is of another version, or others keep changing it."""
        key = self._key(place)
        data = await execute(self._client, text, "HGET", key, subject) or b""
        for _ in range(ATTEMPTS):
            before = trust_in(data) if data else Trust()
            if before is None:
                return None
            after = change(before.as_of(now))
            if after == before:
                return after
            args = (subject, data, encoded(after), int(LIFE * 1_000))
            there = await invoke(self._client, Invocation(SWAP, key, args), _swapped)
            if there is None:
                await self._list(place)
                return after
            data = there
        return None

    async def places(self) -> list[Place]:
        """Where anything was checked of late, the latest first."""
        return await execute(self._client, _places, "ZREVRANGE", self._index, 0, MOST_PLACES - 1)

    async def forget(self, place: Place, subject: str) -> None:
        """Begin anew with a subject: untested, and with nothing learned."""
        await execute(self._client, ignored, "HDEL", self._key(place), subject)

    async def permit(self, name: str, seconds: float) -> float:
        """0 where this caller, alone of the fleet, may do what has a name: once in so many seconds. Else how many
        seconds are left until somebody may."""
        key, life = f"{self._index}:permit:{name}", round(seconds * 1_000)
        if life <= 0 or await execute(self._client, bool, "SET", key, b"1", "PX", life, "NX"):
            return 0.0
        return max(1, await execute(self._client, int, "PTTL", key)) / 1_000

    async def _list(self, place: Place) -> None:
        """Note that something is known of a place; once an hour, since it is kept for long."""
        now = time.monotonic()
        if now < self._listed.get(place, 0.0):
            return
        await execute(self._client, ignored, "ZADD", self._index, round(time.time()), place.name)
        await execute(self._client, ignored, "ZREMRANGEBYRANK", self._index, 0, -MOST_PLACES - 1)
        await execute(self._client, ignored, "PEXPIRE", self._index, int(LIFE * 1_000))
        if len(self._listed) >= MOST_PLACES:
            self._listed.clear()
        self._listed[place] = now + LISTED_SECONDS

    def _key(self, place: Place) -> str:
        return f"{self._index}:{place.name}"


def _records(reply: Any) -> dict[str, Trust | None]:
    return {_bytes(name).decode(): trust_in(_bytes(data)) for name, data in reply.items()}


def _swapped(reply: Any) -> bytes | None:
    """What is there instead; None where it was written."""
    return None if reply == WRITTEN else _bytes(reply)


def _places(reply: Any) -> list[Place]:
    names = [_bytes(each).decode().partition(":") for each in reply]
    return [Place(scope, institution) for scope, _, institution in names]


def _bytes(reply: Any) -> bytes:
    if not isinstance(reply, bytes):
        raise TypeError("no string")
    return reply
