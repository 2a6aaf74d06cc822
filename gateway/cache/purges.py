"""Purges: what was purged and when, which every process knows, so that a look-up costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from msgspec import structs

from gateway.cache.contents import MOST, Amounts, Recognise, sampled
from gateway.cache.entry import Entry, decode
from gateway.cache.keys import encode
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.errors import BadTarget, CacheUnavailable, Overload
from gateway.redis import Client, Clock, Invocation, Script, invoke, redis_errors, shielded

PURGE = Script.load("gateway.cache.lua", "moment.lua", "purge.lua")
NEWS = Script.load("gateway.cache.lua", "moment.lua", "news.lua")
LONGEST_LIFE = 366 * 86_400.0
"""Seconds that an entry may be kept at most, and therefore how long a mark must be."""
COVERED = "covered"
MOST_RECALLS = 500
MOST_PRIVATE = 1_000
PRIVATE_SECONDS = 86_400.0
"""How long it is remembered that an institution keeps its totals to itself."""
POLL_SECONDS = 1.0
RETRY_SECONDS = 0.5
MICRO = 1e-6
VERSION = b"#"
DIGITS = 18
"""Of a time in microseconds; a longer number is none."""


class TooManyPurges(Overload):
    """The greatest number of purges is in force; a purge of everything covers them all."""


@dataclass(frozen=True, slots=True)
class PurgeScope:
    """The scope of a purge, as a unique name of bounded length."""

    name: str

    @classmethod
    def everything(cls) -> PurgeScope:
        """All that is stored."""
        return EVERYTHING

    @classmethod
    def institution(cls, name: str) -> PurgeScope:
        """All answers inside an institution."""
        return cls("institution:" + _digest(name.encode()))

    @classmethod
    def item(cls, kind: str, item_id: str) -> PurgeScope:
        """All answers about one item, such as ``article`` ``23``, inside any institution and outside."""
        return cls("item:" + _digest(kind.encode(), item_id.encode()))

    @classmethod
    def exact(cls, canonical: bytes) -> PurgeScope:
        """One query by its meaning, in every scope."""
        return cls("query:" + _digest(canonical))


EVERYTHING = PurgeScope("all")


def purge_scopes_of(query: Query) -> list[PurgeScope]:
    """All subjects that cover a query."""
    found = [EVERYTHING, PurgeScope.exact(query.canonical)]
    if query.institution is not None:
        found.append(PurgeScope.institution(query.institution))
    if query.item is not None and query.item_id is not None:
        found.append(PurgeScope.item(query.item, query.item_id))
    if query.posted is not None:
        found.append(PurgeScope.exact(query.exact))  # purging a target purges all that is posted there
    return found


@dataclass(frozen=True, slots=True)
class PurgeTimes:
    """The times of a query's last soft and hard purge, in seconds of the fleet's own time; 0 means never."""

    soft: float
    hard: float

    @property
    def latest(self) -> float:
        return max(self.soft, self.hard)


def purged(marked: PurgeTimes, entries: Sequence[Entry]) -> list[Entry]:
    """The entries that remain after purges: a hard purge removes an entry, a soft one makes it stale.

    A purge covers what was dispatched up to its time. An entry that must not be served stale (RFC 9111 §4.2.4) is
    kept for validation only. Either purge removes an error record, which is useless once it is stale.
    """
    left = [entry for entry in entries if entry.order > marked.hard]
    return [kept for entry in left if (kept := _softly(entry, marked.soft)) is not None]


def _softly(entry: Entry, since: float) -> Entry | None:
    if entry.order > since:
        return entry
    if max(entry.keep_until, entry.drop_at) <= entry.fresh_until:
        return None
    fresh_until = min(entry.fresh_until, since - entry.skew)
    if entry.stale_ok:
        return structs.replace(entry, fresh_until=fresh_until)
    return structs.replace(entry, fresh_until=fresh_until, serve_until=fresh_until, keep_until=fresh_until)


class Purges:
    """The purges in force. ``follow`` keeps them current, by message and once a second by their version.

    ``revision`` changes with each change, ``newest`` has the times of the latest purges. ``on_recall`` is called
    with each record that some process recalls. The institutions whose totals are private are remembered in the
    same way, and a purge ends that memory too.

    Where Redis forgets or evicts purges, processes that know them keep them, but processes that start later do not
    learn of them: a hard purge needs a Redis that does not evict keys with a TTL.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        clock: Clock | None = None,
        *,
        life: float = LONGEST_LIFE,
        on_recall: Callable[[str], None] = lambda record: None,
    ) -> None:
        self._client = client
        self._clock = clock or Clock()
        self._key = f"{prefix}:{{purge}}:marks"
        self._channel = f"{prefix}:{{purge}}:news"
        self._life_ms = int(life * 1000)
        self._soft: dict[str, float] = {}
        self._hard: dict[str, float] = {}
        self._recalled: dict[str, int] = {}
        self._private: dict[str, float] = {}
        self._on_recall = on_recall
        self.revision = 0
        self.newest = PurgeTimes(0.0, 0.0)
        self._version: Any = None
        self._reading: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Purges {len(self._soft)} soft, {len(self._hard)} hard>"

    def covering(self, query: Query) -> PurgeTimes | None:
        """When a query's answers were purged; None, at no cost, where they were not."""
        if not self._soft and not self._hard:
            return None
        names = [subject.name for subject in purge_scopes_of(query)]
        soft = max(self._soft.get(name, 0.0) for name in names)
        hard = max(self._hard.get(name, 0.0) for name in names)
        return PurgeTimes(soft, hard) if soft or hard else None

    async def purge(self, subject: PurgeScope, *, hard: bool = False) -> float:
        """Purges, here at once and everywhere within a second or two; the time of the mark.

        Raises CacheUnavailable, and TooManyMarks where only a larger purge would still be remembered.
        """
        name = ("h:" if hard else "s:") + subject.name
        arguments = (name, self._life_ms, MOST, self._channel, *self._time())
        stamp = await invoke(self._client, Invocation(PURGE, self._key, arguments), int)
        if stamp == 0:
            raise TooManyPurges(f"{MOST} purges are in force already; purge an institution, or all.")
        self._note(name.encode(), b"%d" % stamp)
        return stamp * MICRO

    async def recall(self, record: str) -> None:
        """Makes every process forget its near copy of a record. Raises CacheUnavailable."""
        await self._broadcast(f"r:{record}", MOST_RECALLS)

    def private(self, query: Query) -> bool:
        """Whether the totals of a query's institution were found to be private, within a day and since the last
        purge of its answers."""
        if not self._private or query.institution is None:
            return False
        since = self._private.get(PurgeScope.institution(query.institution).name, 0.0)
        if since <= self._clock.order() - PRIVATE_SECONDS:
            return False
        marked = self.covering(query)
        return marked is None or marked.latest < since

    async def keep_private(self, institution: str) -> None:
        """Remembers that an institution's totals are private: here at once, and everywhere within two seconds.
        Raises CacheUnavailable where only this process could take note."""
        name = f"p:{PurgeScope.institution(institution).name}"
        self._note(name.encode(), b"%d" % round(self._clock.order() / MICRO))
        await self._broadcast(name, MOST_PRIVATE)

    async def _broadcast(self, name: str, most: int) -> None:
        arguments = (name, most, self._life_ms, self._channel, *self._time())
        stamp = await invoke(self._client, Invocation(NEWS, self._key, arguments), int)
        self._note(name.encode(), b"%d" % stamp)

    def _time(self) -> tuple[int, int]:
        """How far the fleet's own time is ahead of Redis's clock, and that time, both in microseconds."""
        return round(self._clock.skew / MICRO), round(self._clock.order() / MICRO)

    async def follow(self) -> None:
        """Learns of purges until cancelled."""
        try:
            while True:
                try:
                    with redis_errors(self._client):
                        await self._listen()
                except CacheUnavailable:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._reading is not None:
                await asyncio.wait({self._reading}, timeout=RETRY_SECONDS)

    async def poll(self) -> None:
        """Read the purges if their version is new. Raises CacheUnavailable."""
        with redis_errors(self._client):
            self._reading = asyncio.ensure_future(self._read())
            await shielded(self._reading)

    async def _listen(self) -> None:
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            loop = asyncio.get_running_loop()
            due = loop.time()
            while True:
                if loop.time() >= due:
                    await self.poll()
                    due = loop.time() + POLL_SECONDS
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=due - loop.time())
                if message is not None:
                    name, _, stamp = message["data"].partition(b"=")
                    self._note(name, stamp)

    async def _read(self) -> None:
        version = await self._client.hget(self._key, VERSION)
        if version == self._version:
            return
        found: dict[Any, Any] = await self._client.hgetall(self._key)
        for name, stamp in found.items():
            if name != VERSION:
                self._note(name, stamp)
        self._recalled = {each: at for each, at in self._recalled.items() if f"r:{each}".encode() in found}
        self._forget(self._clock.order() - self._life_ms / 1000)
        self._version = version

    def _forget(self, horizon: float) -> None:
        """Forget purges older than anything stored, as Redis does."""
        self.revision += 1
        for purges in (self._soft, self._hard, self._private):
            for subject in [subject for subject, stamp in purges.items() if stamp < horizon]:
                del purges[subject]

    def _note(self, name: bytes, stamp: bytes) -> None:
        """Takes note of a purge; ignores what is malformed."""
        kind, _, subject = name.decode(errors="replace").partition(":")
        if kind not in ("h", "s", "r", "p") or not subject or not stamp.isdigit() or len(stamp) > DIGITS:
            return
        if kind == "r":
            if int(stamp) > self._recalled.get(subject, 0):
                self._recalled[subject] = int(stamp)
                self._on_recall(subject)
            return
        purges = {"h": self._hard, "s": self._soft, "p": self._private}[kind]
        self._clock.reached(int(stamp) * MICRO)
        self.revision += 1
        purges[subject] = max(purges.get(subject, 0.0), int(stamp) * MICRO)
        self.newest = PurgeTimes(
            max(self.newest.soft, self._soft.get(subject, 0.0)),
            max(self.newest.hard, self._hard.get(subject, 0.0)),
        )
        if purges is self._private and len(purges) > MOST_PRIVATE:
            del purges[min(purges, key=purges.__getitem__)]


def _digest(*parts: bytes) -> str:
    return blake2b(encode(*parts), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Preview:
    """What one bounded look found: how many of the records ``looked_at`` hold entries that a purge would cover,
    and whether those are all there are. Where they are not, ``estimate`` is what the share found makes of all."""

    matching: int
    looked_at: int
    complete: bool
    estimate: int


async def preview(
    client: Client, prefix: str, subject: PurgeScope, recognise: Recognise, most: int = MOST
) -> Preview:
    """Estimates what a purge would cover, from a bounded look at what is stored. Raises CacheUnavailable.

    What cannot be decoded counts as looked at and not as matching.
    """

    def weigh(key: str, value: object) -> Amounts:
        return {COVERED: int(_covers(subject, value, key, recognise))}

    found = await sampled(client, prefix, weigh, most)
    return Preview(found.sums[COVERED], found.looked_at, found.complete, found.estimates[COVERED])


def _covers(subject: PurgeScope, value: object, key: str, recognise: Recognise) -> bool:
    if not isinstance(value, bytes):
        return False
    return any(subject in _scopes(entry.target, recognise) for entry in decode(value, key))


def _scopes(target: bytes, recognise: Recognise) -> list[PurgeScope]:
    try:
        return purge_scopes_of(recognise(*parted(target)))
    except BadTarget:
        return []
