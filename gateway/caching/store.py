"""Store: entries and error records in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.caching.entry import Entry, decode, encode, stamp
from gateway.caching.keys import CacheKey
from gateway.caching.near import NearCache
from gateway.redis_client import Client, redis_errors, shielded
from gateway.scripts import Invocation, Script

PUT = Script.load("gateway.caching", "put.lua")


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up found: an entry, an error record, both or neither."""

    entry: Entry | None = None
    error: Entry | None = None
    near: bool = False


class Store:
    """The near cache before the shared one; at most one round trip for a look-up."""

    def __init__(self, client: Client, near: NearCache) -> None:
        self.client = client
        self.near = near
        self.undecodable = 0

    def look_near(self, key: CacheKey) -> Found:
        """What this process has; no round trip."""
        return Found(self.near.get(key.entry), self.near.get(key.error), near=True)

    async def look_up(self, key: CacheKey) -> Found:
        """What Redis has, copied near. Raises CacheUnavailable."""
        with redis_errors():
            values = await shielded(self._mget(key.entry, key.error))
        return Found(self._read(values[0], key.entry), self._read(values[1], key.error))

    async def _mget(self, *keys: str) -> list[Any]:
        return list(await self.client.mget(*keys))

    def put(self, entry: Entry, now: float) -> Invocation:
        """Keeps an entry near, and answers the script call that stores it."""
        self.near.put(entry)
        ttl = max(1, int((max(entry.keep_until, entry.serve_until) - now) * 1000))
        return Invocation(PUT, entry.key, (encode(entry), ttl, stamp(entry.dispatched)))

    def _read(self, value: object, key: str) -> Entry | None:
        if not isinstance(value, bytes):
            return None
        entry = decode(value, key)
        if entry is None:
            self.undecodable += 1
        else:
            self.near.put(entry)
        return entry
