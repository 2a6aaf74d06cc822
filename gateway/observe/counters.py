"""The fleet's counts in Redis: the last hour by the minute, and each tenant's days.

No request waits for a count. Counts may be lost with their process, and those whose reply was lost are sent again,
so that they may then be there twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from gateway.errors import CacheUnavailable, InvalidInput
from gateway.observe.outcome import NAMES, SIZE, SPARED, Aggregate, Outcome, quantile
from gateway.redis import Client, redis_errors, shielded

MINUTE, DAY = 60, 86_400
SHOWN = 60
"""Minutes of a report."""
ROWS = 100_000
"""Rows of one report: a week of ten thousand tenants, and half as much again."""
CHUNK = 2_000
"""Fields that one reply brings."""
MOST_KEYS = 10_000
"""Gateway keys whose last use is kept while Redis does not take it."""
SHORTEST_PAUSE = 0.05
DIGITS = 15
EPOCH = date(1970, 1, 1)
TOTALS = {outcome: 1 + place for place, outcome in enumerate(Outcome)}
"""The place of each outcome's requests among a minute's counts."""
FIRST = {outcome: 1 + len(Outcome) + place * SIZE for place, outcome in enumerate(Outcome)}
"""The place of each outcome's first bucket of durations."""
Bucket = TypeVar("Bucket")
Queued = list[Callable[[], object]]


class Minute(msgspec.Struct, frozen=True):
    """One minute of the fleet: the requests by outcome, those with none left out, and the upstream calls."""

    at: datetime
    requests: int
    outcomes: dict[str, int]
    calls: int


class Latency(msgspec.Struct, frozen=True):
    """How long answers took until they began: how many, and within what time half of them, 95 % and 99 % did."""

    count: int
    p50: float
    p95: float
    p99: float


class Today(msgspec.Struct, frozen=True):
    """The day so far: ``hits`` were answered from the cache, ``saved`` without an upstream call of their own."""

    requests: int = 0
    hits: int = 0
    calls: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A tenant's day, with the counts of ``Today``."""

    day: str
    tenant: str
    requests: int = 0
    hits: int = 0
    calls: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The last 60 minutes, the oldest first, and their latencies by outcome. Not ``whole``: Redis did not answer,
    and this is what it last said, with what this process counted since."""

    minutes: list[Minute]
    latency: dict[str, Latency]
    whole: bool


class Counters(Generic[Bucket]):
    """Counts by bucket, added to hashes in Redis every few seconds, and kept there for ``life`` seconds.

    ``gather`` brings in what is counted elsewhere. Counts that Redis does not take stay ``pending``.
    """

    SECONDS: ClassVar[float]
    """Between two flushes."""
    FIELDS: ClassVar[Sequence[str]]
    MOST: ClassVar[int]
    """Buckets that may be pending; beyond that, those go in which nothing was counted for longest."""
    BATCH: ClassVar[int]
    """Buckets sent at once, the newest: after an hour without Redis, not all of it comes in one moment."""

    def __init__(self, client: Client, prefix: str, life: int, gather: Callable[[], None]) -> None:
        self.gather = gather
        self._client = client
        self._prefix = prefix
        self._life = life
        self._pending: dict[Bucket, list[int]] = {}
        self._seen: dict[Bucket, list[int]] = {}
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._pending)} pending>"

    async def run(self) -> None:
        """Flushes until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(self._pause())
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Adds what was counted to what Redis has, in one round trip; keeps what it does not take."""
        with suppress(CacheUnavailable), redis_errors(self._client):
            await shielded(self._flush())

    def _pause(self) -> float:
        return self.SECONDS

    def _place(self, bucket: Bucket) -> tuple[str, str]:
        """The key of the hash that holds a bucket, and the prefix of its fields."""
        raise NotImplementedError

    def _settle(self) -> None:
        self.gather()

    def _counts(self, bucket: Bucket) -> list[int]:
        counts = self._pending.pop(bucket, None)
        if counts is None:
            if len(self._pending) >= self.MOST:
                del self._pending[next(iter(self._pending))]
            counts = [0] * len(self.FIELDS)
        self._pending[bucket] = counts
        return counts

    def _queue(self, pipe: Any, keys: set[str]) -> Queued:
        """Adds commands to a pipeline and their keys to ``keys``; returns what to do after each of them."""
        queued: Queued = []
        for bucket, counts in list(self._pending.items())[-self.BATCH :]:
            key, field = self._place(bucket)
            keys.add(key)
            for place, count in enumerate(counts):
                if count:
                    pipe.hincrby(key, field + self.FIELDS[place], count)
                    queued.append(partial(_subtract, counts, place, count))
        return queued

    async def _flush(self) -> None:
        async with self._turn:
            self._settle()
            keys: set[str] = set()
            pipe = self._client.pipeline(transaction=False)
            queued = self._queue(pipe, keys)
            if not queued:
                return
            for key in keys:
                pipe.expire(key, self._life)
            replies = await pipe.execute(raise_on_error=False)
            for carried_out, reply in zip(queued, islice(replies, len(queued)), strict=True):
                if not isinstance(reply, Exception):
                    carried_out()
            self._pending = {bucket: counts for bucket, counts in self._pending.items() if any(counts)}

    async def _known(self, buckets: Sequence[Bucket]) -> tuple[list[list[int]], bool]:
        """The buckets' counts, in Redis and pending; and whether Redis answered: else what it last said counts."""
        # One at a time with flushes: what Redis is being sent counts once.
        async with self._turn:
            whole = False
            with suppress(CacheUnavailable), redis_errors(self._client):
                pipe = self._client.pipeline(transaction=False)
                for bucket in buckets:
                    pipe.hgetall(self._place(bucket)[0])
                hashes = await pipe.execute()
                self._seen = {bucket: self._read(each) for bucket, each in zip(buckets, hashes, strict=True)}
                whole = True
            self._settle()
            none = [0] * len(self.FIELDS)
            both = [(self._seen.get(bucket, none), self._pending.get(bucket, none)) for bucket in buckets]
        return [list(map(sum, zip(*each, strict=True))) for each in both], whole

    def _read(self, found: Mapping[bytes, bytes]) -> list[int]:
        """A hash's counts; fields that are none of ours are ignored."""
        counts = dict.fromkeys(self.FIELDS, 0)
        for field, text in found.items():
            name = field.decode(errors="replace")
            if name in counts:
                counts[name] = _number(text)
        return list(counts.values())


class MinuteCounters(Counters[int]):
    """Requests by outcome and duration, and upstream calls, of the whole fleet. ``now`` is the fleet's time."""

    SECONDS = 2.0
    FIELDS = (
        "calls",
        *(f"o:{outcome}" for outcome in Outcome),
        *(f"b:{outcome}:{name}" for outcome in Outcome for name in NAMES),
    )
    MOST = SHOWN
    BATCH = 10

    def __init__(
        self,
        client: Client,
        prefix: str,
        now: Callable[[], float] = time.time,
        gather: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(client, f"{prefix}:{{pulse}}", 2 * 3_600, gather)
        self._now = now
        self._minute = int(now() // MINUTE)

    def answered(self, aggregate: Aggregate) -> None:
        outcome, counts = aggregate.labels.outcome, self._counts(self._minute)
        counts[TOTALS[outcome]] += aggregate.count
        for bucket, count in aggregate.filled:
            counts[FIRST[outcome] + bucket] += count

    def call(self) -> None:
        self._counts(self._minute)[0] += 1

    async def report(self, now: float) -> Report:
        """The hour until ``now``, of the whole fleet, in one round trip."""
        last = int(now // MINUTE)
        minutes = range(last - SHOWN + 1, last + 1)
        counts, whole = await shielded(self._known(minutes))
        hour = [sum(each) for each in zip(*counts, strict=True)]
        return Report([_minute(*each) for each in zip(minutes, counts, strict=True)], _latency(hour), whole)

    def _pause(self) -> float:
        return pause(self._now())

    def _place(self, bucket: int) -> tuple[str, str]:
        return f"{self._prefix}:{bucket}", ""

    def _settle(self) -> None:
        # What was counted since the last time belongs to the minute in which that was.
        super()._settle()
        self._minute = int(self._now() // MINUTE)


class DayCounters(Counters[tuple[int, str]]):
    """Each tenant's requests, hits and upstream calls by day (UTC), their sums, and when each key was last used.

    A bucket is a day since the epoch and a tenant, or nobody: the sums of all.
    """

    SECONDS = 5.0
    FIELDS = ("requests", "hits", "calls", "saved")
    MOST = BATCH = 10_001  # ten thousand tenants, and their sums

    def __init__(self, client: Client, prefix: str, days: int, gather: Callable[[], None] = lambda: None) -> None:
        super().__init__(client, f"{prefix}:{{usage}}", days * DAY, gather)
        self._days = days
        self._used: dict[str, int] = {}

    def answered(self, aggregate: Aggregate) -> None:
        labels = aggregate.labels
        outcome, tenant, key_id = labels.outcome, labels.tenant, labels.key_id
        count, hit = aggregate.count, outcome in SPARED
        now = int(time.time())
        self._count(now // DAY, tenant, (count, count * hit, 0, count * (hit or outcome is Outcome.COLLAPSED)))
        if key_id is not None:
            if self._used.pop(key_id, None) is None and len(self._used) >= MOST_KEYS:
                del self._used[next(iter(self._used))]
            self._used[key_id] = now

    def call(self, tenant: str) -> None:
        """Counts an upstream call for a tenant."""
        self._count(int(time.time()) // DAY, tenant, (0, 0, 1, 0))

    async def report(self, first: date, last: date, tenants: Collection[str] | None = None) -> list[Row]:
        """The days from ``first`` to ``last``, both inclusive, by day and tenant: all tenants, or those named, of
        which nothing else is read. Raises CacheUnavailable, and InvalidInput beyond ROWS rows."""
        span = min((last - first).days, self._days)
        rows: list[Row] = []
        for back in range(span, -1, -1):
            day = (last - timedelta(days=back)).isoformat()
            with redis_errors(self._client):
                counts = await shielded(self._day(f"{self._prefix}:{day}", tenants))
            rows += _rows(day, counts)
            if len(rows) > ROWS:
                raise InvalidInput(f"That is more than {ROWS} rows: ask for fewer days, or for one tenant")
        return rows

    async def total(self, day: date) -> Today:
        """All tenants' day, with what is pending here. Where Redis does not answer, what it last said of that day
        counts."""
        (counts,), _ = await shielded(self._known([((day - EPOCH).days, "")]))
        return Today(*counts)

    async def last_used(self, key_ids: Iterable[str]) -> dict[str, float]:
        """When each key was last used, in seconds since the epoch; without those of which nothing is known."""
        wanted = list(key_ids)
        if not wanted:
            return {}
        with redis_errors(self._client):
            found = await shielded(self._fields(f"{self._prefix}:used", wanted))
            moments = zip(wanted, found, strict=True)
            return {key_id: float(moment) for key_id, moment in moments if moment is not None}

    def _place(self, bucket: tuple[int, str]) -> tuple[str, str]:
        day = (EPOCH + timedelta(days=bucket[0])).isoformat()
        tenant = bucket[1]
        return (f"{self._prefix}:{day}", f"{tenant}:") if tenant else (f"{self._prefix}:total:{day}", "")

    def _queue(self, pipe: Any, keys: set[str]) -> Queued:
        queued = super()._queue(pipe, keys)
        if self._used:
            used, key = self._used.copy(), f"{self._prefix}:used"
            keys.add(key)
            pipe.hset(key, mapping={key_id: str(moment) for key_id, moment in used.items()})
            queued.append(partial(self._sent, used))
        return queued

    def _sent(self, used: dict[str, int]) -> None:
        self._used = {key_id: at for key_id, at in self._used.items() if used.get(key_id) != at}

    def _count(self, day: int, tenant: str, counts: Sequence[int]) -> None:
        for name in (tenant, ""):
            kept = self._counts((day, name))
            for place, count in enumerate(counts):
                kept[place] += count

    async def _fields(self, key: str, names: list[str]) -> list[Any]:
        return list(await self._client.hmget(key, names)) if names else []

    async def _day(self, key: str, tenants: Collection[str] | None) -> dict[bytes, bytes]:
        """A day's hash, of any size, in replies that nobody has to wait for; or the fields of some tenants."""
        if tenants is not None:
            names = [f"{tenant}:{field}" for tenant in tenants for field in self.FIELDS]
            counts = await self._fields(key, names)
            return {name.encode(): count for name, count in zip(names, counts, strict=True) if count is not None}
        found: dict[bytes, bytes] = {}
        part: Any
        cursor = 0
        while True:
            cursor, part = await self._client.hscan(key, cursor, count=CHUNK)
            found.update(part)
            if not cursor:
                return found


def pause(now: float) -> float:
    """Seconds until the minutes' next flush: no count waits for it beyond the end of its minute."""
    return min(MinuteCounters.SECONDS, max(MINUTE - now % MINUTE, SHORTEST_PAUSE))


def _subtract(counts: list[int], place: int, count: int) -> None:
    counts[place] -= count


def _number(text: Any) -> int:
    """A count; 0 for what is none."""
    return int(text) if text and len(text) <= DIGITS and text.isdigit() else 0


def _minute(minute: int, counts: list[int]) -> Minute:
    outcomes = {str(outcome): counts[place] for outcome, place in TOTALS.items() if counts[place]}
    at = datetime.fromtimestamp(minute * MINUTE, UTC)
    return Minute(at, sum(outcomes.values()), outcomes, counts[0])


def _latency(counts: list[int]) -> dict[str, Latency]:
    buckets = {outcome: counts[first : first + SIZE] for outcome, first in FIRST.items()}
    return {
        str(outcome): Latency(sum(each), *(quantile(each, share) for share in (0.5, 0.95, 0.99)))
        for outcome, each in buckets.items()
        if any(each)
    }


def _rows(day: str, counts: dict[bytes, bytes]) -> list[Row]:
    tenants: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, count in counts.items():
        tenant, _, field = name.decode(errors="replace").rpartition(":")
        if field in DayCounters.FIELDS:
            tenants[tenant][field] = _number(count)
    return [Row(day, tenant, **found) for tenant, found in sorted(tenants.items())]
