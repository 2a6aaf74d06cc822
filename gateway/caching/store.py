"""Store: entries and error records in Redis, near copies of them, and what was invalidated or recalled."""

from __future__ import annotations

import asyncio

import msgspec

from gateway.caching.entry import VARIANT, Entry, decode, encode, stamp
from gateway.caching.keys import CacheKey
from gateway.caching.lookups import LookUps
from gateway.caching.marks import LONGEST_LIFE, Marks
from gateway.caching.near import NearCache, Record
from gateway.errors import CacheUnavailable
from gateway.redis_client import Client, redis_errors
from gateway.scripts import Invocation, Script, invoke

PUT = Script.load("gateway.caching", "put.lua")
INVALIDATE = Script.load("gateway.caching", "invalidate.lua")
MARK = b"!" * VARIANT + b"00000016"
MARKED_MS = 120_000
"""How long an invalidation keeps out answers that were under way; longer than any flight."""
RETRY_SECONDS = 0.5


class Found(msgspec.Struct, frozen=True):
    """What a look-up found: the entries of a record, newest first, and an error record."""

    entries: Record = ()
    error: Entry | None = None


NOTHING = Found()


class Store:
    """The near cache before the shared one; at most one round trip for a look-up."""

    def __init__(self, client: Client, near: NearCache, prefix: str = "sgw") -> None:
        self.client = client
        self.near = near
        self.channel = f"{prefix}:invalidated"
        self.undecodable = 0
        self.recalled = 0
        self._doubtful: dict[str, float] = {}  # recalled, and since when, until Redis knows
        self._recall = asyncio.Event()
        self._look_ups = LookUps(client)

    def look_near(self, key: CacheKey) -> Found:
        """What this process has; no round trip."""
        entries, errors = self.near.get(key.entry), self.near.get(key.error)
        return Found(entries, errors[0] if errors else None) if entries or errors else NOTHING

    async def look_up(self, key: CacheKey) -> Found:
        """What Redis has, copied near. Raises CacheUnavailable."""
        entries, errors = await self._look_ups.values(key.entry, key.error)
        found, error = self._read(entries, key.entry), self._read(errors, key.error)
        return Found(found, error[0] if error else None)

    def put(self, entry: Entry, now: float) -> Invocation:
        """Keeps an entry near, and answers the script call that stores it."""
        self.near.put(entry)
        life = max(entry.drop_at, entry.keep_until, entry.serve_until) - now
        ttl = max(1, int(min(life, LONGEST_LIFE) * 1000))
        return Invocation(PUT, entry.key, (encode(entry), ttl))

    def invalidate(self, key: str, now: float) -> Invocation:
        """Forgets a record here, and answers the script call that makes the whole fleet forget it."""
        self.near.drop(key)
        return Invocation(INVALIDATE, key, (MARK + stamp(now), MARKED_MS, self.channel, key))

    def recall(self, key: str, now: float) -> None:
        """Forgets a record whose answer may be another request's: here at once, in the fleet by ``tell``."""
        self.near.drop(key)
        self.recalled += 1
        self._doubtful[key] = now
        self._recall.set()

    async def tell(self, marks: Marks) -> None:
        """Makes the whole fleet forget what is recalled, as soon as Redis takes it, until cancelled."""
        while True:
            await self._recall.wait()
            self._recall.clear()
            try:
                for key, since in list(self._doubtful.items()):
                    await invoke(self.client, self.invalidate(key, since))
                    await marks.recall(key)
                    if self._doubtful[key] == since:
                        del self._doubtful[key]
            except CacheUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
                self._recall.set()

    async def follow(self) -> None:
        """Drops near what others invalidate, until cancelled."""
        while True:
            try:
                with redis_errors(self.client):
                    await self._listen()
            except CacheUnavailable:
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        async with self.client.pubsub() as pubsub:
            await pubsub.subscribe(self.channel)
            while True:
                message = await pubsub.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    # News may have been missed until now; while Redis was gone, what is near had to do.
                    self.near.clear()
                elif message["type"] == "message":
                    self.near.drop(message["data"].decode(errors="replace"))

    def _read(self, value: object, key: str) -> Record:
        if not isinstance(value, bytes):
            return ()
        entries = decode(value, key)
        if MARK in value:
            self.near.drop(key)  # the news of the invalidation may have been missed
        elif not entries:
            self.undecodable += 1
        for entry in reversed(entries):
            self.near.put(entry)
        return tuple(entries)
