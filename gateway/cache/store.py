"""The store: entries and error records in Redis, read in batches, with near copies in the process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from gateway.cache.entry import (
    AHEAD,
    MARK,
    STAMP,
    VARIANTS,
    Entry,
    decode,
    encode,
    invalidated_since,
    mended,
    stamp,
)
from gateway.cache.invalidation import KEPT, Invalidations
from gateway.cache.keys import CacheKey
from gateway.cache.purges import LONGEST_LIFE, Purges
from gateway.errors import CacheUnavailable
from gateway.redis import Client, Clock, Invocation, Script, ignored, invoke, redis_errors
from gateway.redis_cluster import ClusterClient

MOST = 8
"""Reads in one command: the longest reply holds so many of the largest answers."""
AT_ONCE = 3
"""Commands under way from which on reads wait until ``MOST`` of them share one."""

Keys = tuple[str, ...]
Waiting = dict[Keys, list[asyncio.Future[list[Any]]]]


class BatchedReader:
    """Reads of records, batched: reads of one turn of the event loop share a command, and so do reads that arrive
    while other commands are under way. A read never joins a command that was already sent, so that it sees what
    Redis had after it was asked.

    In a cluster the keys of one read share a slot, those of several do not, so each has its own command.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._apart = isinstance(client, ClusterClient)
        self._waiting: Waiting = {}
        self._asking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<BatchedReader {len(self._waiting)} waiting, {len(self._asking)} commands under way>"

    async def values(self, *keys: str) -> list[Any]:
        """The values of these keys in Redis, None for a missing one. Raises CacheUnavailable."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send)
        found: asyncio.Future[list[Any]] = loop.create_future()
        self._waiting.setdefault(keys, []).append(found)
        if len(self._waiting) >= MOST:
            self._send()
        return await found

    def _send(self) -> None:
        most = 1 if self._apart else MOST
        while self._waiting and (len(self._asking) < AT_ONCE or len(self._waiting) >= most):
            group = dict(islice(self._waiting.items(), most))
            for keys in group:
                del self._waiting[keys]
            task = asyncio.create_task(self._ask(group))
            self._asking.add(task)
            task.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        self._send()

    async def _ask(self, waiting: Mapping[Keys, list[asyncio.Future[list[Any]]]]) -> None:
        try:
            with redis_errors(self._client):
                values = await self._client.mget([key for keys in waiting for key in keys])
                parts = _parted(values, waiting)
        except CacheUnavailable as error:
            for found in _open(waiting):
                found.set_exception(CacheUnavailable(error.message))
        except BaseException:
            for found in _open(waiting):
                found.set_exception(CacheUnavailable("the gateway stops, and asks Redis nothing more"))
            raise
        else:
            for keys, part in parts.items():
                for found in waiting[keys]:
                    if not found.done():
                        found.set_result(part)


def _parted(values: list[Any], waiting: Mapping[Keys, Any]) -> dict[Keys, list[Any]]:
    """The part of a reply that belongs to each read. Raises ValueError for a reply of another length."""
    if len(values) != sum(map(len, waiting)):
        raise ValueError("a reply of another length")
    rest = iter(values)
    return {keys: list(islice(rest, len(keys))) for keys in waiting}


def _open(waiting: Mapping[Keys, list[asyncio.Future[list[Any]]]]) -> list[asyncio.Future[list[Any]]]:
    return [found for founds in waiting.values() for found in founds if not found.done()]


Record = tuple[Entry, ...]
"""The entries under one key, newest first: one, or one for each variant."""


class NearCache:
    """The in-process copy of hot records, bounded in bytes; the least recently used leave first.

    Keys are Redis keys. Whether an entry is fresh is decided elsewhere (rules.py).
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evicted = 0
        self.changes = 0
        """Goes up with each change: while it stays the same, so do all records."""
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._serials: dict[str, int] = {}
        self._kept = 0
        self.serial = self._serials.get
        """The serial number of the record under a key, None without one: remembering it keeps no entry alive."""

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<NearCache {len(self)} records, {self.bytes}/{self.max_bytes} bytes>"

    def get(self, key: str) -> Record:
        """The entries under a key, which then count as recently used."""
        record = self._records.get(key)
        if record is None:
            return ()
        self._records.move_to_end(key)
        return record

    def put(self, entry: Entry) -> None:
        """Keeps an entry, unless a newer one of its variant is there or it is larger than the whole cache."""
        size = entry.size
        if size > self.max_bytes:
            return
        there = self._records.get(entry.key)
        if there is None:
            self._keep(entry.key, (entry,), size)
            return
        others = [each for each in there if each.variant != entry.variant][: VARIANTS - 1]
        if any(each.variant == entry.variant and each.order > entry.order for each in there):
            return
        self._keep(entry.key, (entry, *others), size + sum([each.size for each in others]))

    def drop(self, key: str) -> None:
        """Forgets a record, if it is there."""
        self.changes += 1
        self.bytes -= self._sizes.pop(key, 0)
        self._records.pop(key, None)
        self._serials.pop(key, None)

    def clear(self) -> None:
        self.changes += 1
        self._records.clear()
        self._sizes.clear()
        self._serials.clear()
        self.bytes = 0

    def _keep(self, key: str, record: Record, size: int) -> None:
        self.drop(key)
        self._records[key] = record
        self._sizes[key] = size
        self._kept += 1
        self._serials[key] = self._kept
        self.bytes += size
        while self.bytes > self.max_bytes:
            self.drop(next(iter(self._records)))
            self.evicted += 1


PUT = Script.load("gateway.cache.lua", "put.lua")
INVALIDATE = Script.load("gateway.cache.lua", "invalidate.lua")
SINCE = ":since"
"""Ends the name of the channel whose messages also have the time; older versions use one with the record alone."""
RETRY_SECONDS = 0.5
RESEND_SECONDS = 2.0
"""Seconds after which an invalidation that Redis has not taken is sent again."""


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
        self.invalidations = Invalidations()
        self.channel = f"{prefix}:invalidated"
        self.undecodable = 0
        self.recalled = 0
        self._unsent = asyncio.Event()
        self._look_ups = BatchedReader(client)

    def look_near(self, key: CacheKey) -> Found:
        """What this process has; no round trip."""
        entries, errors = self.near.get(key.entry), self.near.get(key.error)
        if not entries and not errors:
            return NOTHING
        return Found(entries, _variant(errors, key.variant) if errors else None)

    async def look_up(self, key: CacheKey) -> Found:
        """What Redis has, copied near. Raises CacheUnavailable."""
        entries, errors = await self._look_ups.values(key.entry, key.error)
        found = self._read(entries, key.entry)
        error = None if errors is None else _variant(self._read(errors, key.error), key.variant)
        return Found(found, error)

    def put(self, entry: Entry, now: float) -> Invocation:
        """Keeps an entry near, and answers the script call that stores it; what Redis refuses leaves again."""
        self._keep(entry)
        life = max(entry.drop_at, entry.keep_until, entry.serve_until) - now
        ttl = max(1, int(min(life, LONGEST_LIFE) * 1000))
        latest = stamp(max(self.clock.order(), entry.order) + AHEAD)
        return Invocation(PUT, entry.key, (encode(entry), ttl, latest), partial(self._put, entry.key))

    def invalidated(self, key: str) -> str:
        """Names the last invalidation of a record; empty where no older answer can be under way."""
        since = self.invalidations.since(key, self.clock.order()) if self.invalidations else None
        return "" if since is None else since.decode()

    def invalidate(self, key: str, order: float) -> Invocation:
        """Forgets a record here, and answers the script call that makes the whole fleet forget it. Where Redis
        does not take it, ``broadcast`` does so later. ``order`` is now, by the fleet's own time."""
        since = self._void(key, order)
        asyncio.get_running_loop().call_later(RESEND_SECONDS, self._unsent.set)

        def heard(counts: bytes) -> None:
            self.invalidations.sent(key, since)
            self._hear(counts + key.encode())

        call = self._invalidation(key, since)
        return replace(call, args=(*call.args, round(self.clock.skew * 1e6)), heard=heard)

    def recall(self, key: str, order: float) -> None:
        """Forgets a record whose answer may be another request's: here at once, in the fleet by ``broadcast``."""
        self._void(key, order)
        self.recalled += 1
        self._unsent.set()

    async def broadcast(self, purges: Purges) -> None:
        """Send the fleet the invalidations that it lacks, as soon as Redis takes them, until cancelled."""
        while True:
            await self._unsent.wait()
            self._unsent.clear()
            try:
                for key, since in self.invalidations.unsent:
                    await invoke(self.client, self._invalidation(key, since), ignored)
                    await purges.recall(key)
                    self.invalidations.sent(key, since)
            except CacheUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
                self._unsent.set()

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
            self.invalidations.note(key, since, self.clock.order())

    def _void(self, key: str, order: float) -> bytes:
        """Invalidate a record here, and keep it for the fleet; returns the time of it."""
        since = stamp(order)
        self.near.drop(key)
        self.invalidations.note(key, since, self.clock.order())
        self.invalidations.send_later(key, since)
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
        if not self.invalidations or not self.invalidations.covers(entry):
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
        if self.invalidations:
            entries = [entry for entry in entries if not self.invalidations.covers(entry)]
        for entry in reversed(entries):
            self.near.put(entry)
        return tuple(entries)


def _variant(record: Record, variant: str) -> Entry | None:
    """The error record of the requests that sent these headers."""
    return next((entry for entry in record if entry.variant == variant), None)
