"""Store: entries and error records in Redis, near copies of them, and what was invalidated or recalled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import msgspec

from gateway.caching.entry import AHEAD, MARK, STAMP, Entry, decode, encode, invalidated_since, mended, stamp
from gateway.caching.keys import CacheKey
from gateway.caching.lookups import LookUps
from gateway.caching.marks import LONGEST_LIFE, Marks
from gateway.caching.near import NearCache, Record
from gateway.caching.voids import KEPT, Voids
from gateway.clock import Clock
from gateway.errors import CacheUnavailable
from gateway.redis_client import Client, redis_errors
from gateway.scripts import Invocation, Script, invoke

PUT = Script.load("gateway.caching", "put.lua")
INVALIDATE = Script.load("gateway.caching", "invalidate.lua")
SINCE = ":since"
"""Ends the name of the channel that also tells since when; older versions hear and tell the record alone."""
RETRY_SECONDS = 0.5
RETELL_SECONDS = 2.0
"""After which the fleet is told once more of an invalidation that Redis has not taken."""


class Found(msgspec.Struct, frozen=True):
    """What a look-up found: the entries of a record, newest first, and an error record."""

    entries: Record = ()
    error: Entry | None = None


NOTHING = Found()


class Store:
    """The near cache before the shared one; at most one round trip for a look-up.

    One guard keeps both: what was asked for before its record was invalidated is neither near nor in Redis, and an
    older answer never takes a newer one's place. Redis decides; what this process knows of invalidations stands in
    while it does not answer, and where its word is overtaken by the news of one.
    """

    def __init__(self, client: Client, near: NearCache, prefix: str = "sgw", clock: Clock | None = None) -> None:
        self.client = client
        self.clock = clock or Clock()
        self.near = near
        self.voids = Voids()
        self.channel = f"{prefix}:invalidated"
        self.undecodable = 0
        self.recalled = 0
        self._retell = asyncio.Event()
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
        """Keeps an entry near, and answers the script call that stores it; what Redis refuses leaves again."""
        self._keep(entry)
        life = max(entry.drop_at, entry.keep_until, entry.serve_until) - now
        ttl = max(1, int(min(life, LONGEST_LIFE) * 1000))
        latest = stamp(max(self.clock.order(), entry.order) + AHEAD)
        return Invocation(PUT, entry.key, (encode(entry), ttl, latest), partial(self._put, entry.key))

    def invalidated(self, key: str) -> str:
        """Names the last invalidation of a record; empty where no older answer can be under way."""
        since = self.voids.since(key, self.clock.order()) if self.voids else None
        return "" if since is None else since.decode()

    def invalidate(self, key: str, order: float) -> Invocation:
        """Forgets a record here, and answers the script call that makes the whole fleet forget it. Where Redis
        does not take it, ``tell`` does so later. ``order`` is now, by the fleet's own time."""
        since = self._void(key, order)
        asyncio.get_running_loop().call_later(RETELL_SECONDS, self._retell.set)

        def heard(counts: bytes) -> None:
            self.voids.told(key, since)
            self._hear(counts + key.encode())

        call = self._invalidation(key, since)
        return replace(call, args=(*call.args, round(self.clock.skew * 1e6)), heard=heard)

    def recall(self, key: str, order: float) -> None:
        """Forgets a record whose answer may be another request's: here at once, in the fleet by ``tell``."""
        self._void(key, order)
        self.recalled += 1
        self._retell.set()

    async def tell(self, marks: Marks) -> None:
        """Makes the whole fleet forget what it was not told of yet, as soon as Redis takes it, until cancelled."""
        while True:
            await self._retell.wait()
            self._retell.clear()
            try:
                for key, since in self.voids.untold:
                    await invoke(self.client, self._invalidation(key, since))
                    await marks.recall(key)
                    self.voids.told(key, since)
            except CacheUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
                self._retell.set()

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
            news = self.channel + SINCE
            await pubsub.subscribe(self.channel, news)
            while True:
                message = await pubsub.get_message(timeout=1.0)
                if message is None:
                    continue
                tells_since = message["channel"] == news.encode()
                if message["type"] == "subscribe" and not tells_since:
                    # News may have been missed until now; while Redis was gone, what is near had to do.
                    self.near.clear()
                elif message["type"] == "message" and tells_since:
                    self._hear(message["data"])
                elif message["type"] == "message":
                    self.near.drop(message["data"].decode(errors="replace"))

    def _hear(self, news: bytes) -> None:
        """Somebody invalidated a record: since when, and which."""
        since, key = news[:STAMP], news[STAMP:].decode(errors="replace")
        self.near.drop(key)
        if len(since) == STAMP and since.isdigit():
            self.clock.reached(int(since) * 1e-6)
            self.voids.note(key, since, self.clock.order())

    def _void(self, key: str, order: float) -> bytes:
        """A record is invalidated here, which the fleet has to be told; since when."""
        since = stamp(order)
        self.near.drop(key)
        self.voids.note(key, since, self.clock.order())
        self.voids.tell(key, since)
        return since

    def _invalidation(self, key: str, since: bytes) -> Invocation:
        latest = stamp(self.clock.order() + AHEAD)
        arguments = (
            MARK + b"%08d" % len(since) + since,
            int(KEPT * 1000),
            self.channel,
            self.channel + SINCE,
            latest,
        )
        return Invocation(INVALIDATE, key, arguments)

    def _keep(self, entry: Entry) -> None:
        """Keeps an entry near, unless it is void."""
        if not self.voids.covers(entry):
            self.near.put(entry)

    def _put(self, key: str, taken: object) -> None:
        """Redis's word on an entry of this record: what it did not take is older than what it knows."""
        if not taken:
            self.near.drop(key)

    def _read(self, value: object, key: str) -> Record:
        if not isinstance(value, bytes):
            return ()
        now, skew = self.clock.now(), self.clock.skew
        entries = [mended(entry, now, skew) for entry in decode(value, key)]
        if since := invalidated_since(value):  # the news of it may have been missed
            self._hear(since + key.encode())
        elif not entries:
            self.undecodable += 1
        if self.voids:
            entries = [entry for entry in entries if not self.voids.covers(entry)]
        for entry in reversed(entries):
            self.near.put(entry)
        return tuple(entries)
