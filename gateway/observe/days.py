"""Usage: what each tenant asked and spent by day, and when each key was last used. It may be lost."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from gateway.errors import CacheUnavailable, InvalidInput
from gateway.observe.aggregate import Tally
from gateway.observe.outcome import SPARED, Outcome
from gateway.observe.overview import Today
from gateway.redis import Client, redis_errors, shielded

FLUSH_SECONDS = 5.0
MOST = 10_000
"""Counters kept while Redis does not take them, and as many keys; beyond that the oldest are lost."""
ROWS = 100_000
"""Of one report: a week of ten thousand tenants, and half as much again."""
CHUNK = 2_000
"""Counters that one reply brings."""
FIELDS = ("requests", "hits", "calls", "saved")
DAY = 86_400
EPOCH = date(1970, 1, 1)
NONE = (0, 0, 0, 0)
DIGITS = 15
Counts = dict[tuple[int, str], list[int]]
"""By day since the epoch and tenant: how many of each of the fields."""


@dataclass(frozen=True, slots=True)
class Row:
    """A tenant's day: requests, those answered from the cache, upstream calls made for it, and requests answered
    without one of their own."""

    day: str
    tenant: str
    requests: int = 0
    hits: int = 0
    calls: int = 0
    saved: int = 0


class Usage:
    """Counts in memory, and adds to Redis every few seconds: no request waits for it, and none pays for it.

    A flush whose reply is lost is sent again, so that its counts may then be there twice. ``gather`` brings in
    what is counted elsewhere.
    """

    def __init__(self, client: Client, prefix: str, days: int, gather: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._prefix = f"{prefix}:{{usage}}"
        self._days = days
        self.gather = gather
        self._counts: Counts = {}
        self._used: dict[str, int] = {}
        self._told: tuple[date, list[int]] | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Usage {len(self._counts)} counters to tell>"

    def answered(self, tally: Tally) -> None:
        """Answered requests of one kind."""
        _, outcome, _, tenant, key_id, _ = tally.kind
        collapsed = outcome is Outcome.COLLAPSED
        self.request(tenant, key_id, hit=outcome in SPARED, collapsed=collapsed, count=tally.count)

    def request(
        self, tenant: str, key_id: str | None, *, hit: bool, collapsed: bool = False, count: int = 1
    ) -> None:
        """So many requests of a tenant, by its key if any; ``hit``: they were answered from the cache;
        ``collapsed``: by another's upstream call."""
        now = int(time.time())
        self._count(now // DAY, tenant, count, count * hit, 0, count * (hit or collapsed))
        if key_id is not None:
            self._use(key_id, now)

    def call(self, tenant: str) -> None:
        """One upstream call for a tenant."""
        self._count(int(time.time()) // DAY, tenant, 0, 0, 1, 0)

    async def run(self) -> None:
        """Tells Redis every few seconds until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Adds what was counted to what Redis has, in one round trip; keeps it where Redis does not answer."""
        async with self._turn:
            self.gather()
            if not self._counts and not self._used:
                return
            counts, used = self._counts, self._used
            self._counts, self._used = {}, {}
            try:
                with redis_errors(self._client):
                    await shielded(self._add(counts, used))
            except CacheUnavailable:
                self._restore(counts, used)

    async def report(self, first: date, last: date, tenants: Collection[str] | None = None) -> list[Row]:
        """The days from ``first`` to ``last``, both inclusive, by day and tenant: all tenants, or those named, of
        which nothing else is read. Raises CacheUnavailable, and InvalidInput beyond ROWS rows."""
        span = min((last - first).days, self._days)
        rows: list[Row] = []
        for back in range(span, -1, -1):
            day = (last - timedelta(days=back)).isoformat()
            with redis_errors(self._client):
                counts = await shielded(self._read(day, tenants))
            rows += _rows(day, counts)
            if len(rows) > ROWS:
                raise InvalidInput(f"That is more than {ROWS} rows: ask for fewer days, or for one tenant")
        return rows

    async def total(self, day: date) -> Today:
        """All tenants' day, with what this process has not told. Where Redis does not answer, what it last said of
        that day counts."""
        # One at a time with flushes: what Redis is being told counts once.
        async with self._turn:
            with suppress(CacheUnavailable), redis_errors(self._client):
                self._told = day, await shielded(self._total(day))
            told = self._told[1] if self._told is not None and self._told[0] == day else NONE
            self.gather()
            untold = _by_day(self._counts).get((day - EPOCH).days, NONE)
            return Today(*map(sum, zip(told, untold, strict=True)))

    async def last_used(self, key_ids: Iterable[str]) -> dict[str, float]:
        """When each key was last used, in seconds since the epoch; without those of which nothing is known."""
        wanted = list(key_ids)
        if not wanted:
            return {}
        with redis_errors(self._client):
            found = await shielded(self._moments(wanted))
        return {key_id: float(moment) for key_id, moment in zip(wanted, found, strict=True) if moment is not None}

    def _count(self, day: int, tenant: str, requests: int, hits: int, calls: int, saved: int) -> None:
        tally = self._counts.get((day, tenant))
        if tally is None:
            if len(self._counts) >= MOST:
                del self._counts[next(iter(self._counts))]
            tally = self._counts[day, tenant] = list(NONE)
        tally[0] += requests
        tally[1] += hits
        tally[2] += calls
        tally[3] += saved

    def _use(self, key_id: str, moment: int) -> None:
        if self._used.pop(key_id, None) is None and len(self._used) >= MOST:
            del self._used[next(iter(self._used))]
        self._used[key_id] = moment

    def _restore(self, counts: Counts, used: dict[str, int]) -> None:
        """Puts what Redis did not take in front of what was counted meanwhile, so that it is the first to go."""
        counts, self._counts = self._counts, counts
        used, self._used = self._used, used
        for (day, tenant), tally in counts.items():
            self._count(day, tenant, *tally)
        for key_id, moment in used.items():
            self._use(key_id, moment)

    async def _add(self, counts: Counts, used: dict[str, int]) -> None:
        life = self._days * DAY
        pipe = self._client.pipeline(transaction=False)
        for (day, tenant), tally in counts.items():
            for field, count in zip(FIELDS, tally, strict=True):
                if count:
                    pipe.hincrby(f"{self._prefix}:{_date(day)}", f"{tenant}:{field}", count)
        for day, tally in _by_day(counts).items():
            total = f"{self._prefix}:total:{_date(day)}"
            for field, count in zip(FIELDS, tally, strict=True):
                if count:
                    pipe.hincrby(total, field, count)
            pipe.expire(f"{self._prefix}:{_date(day)}", life)
            pipe.expire(total, life)
        if used:
            pipe.hset(f"{self._prefix}:used", mapping={key_id: str(moment) for key_id, moment in used.items()})
            pipe.expire(f"{self._prefix}:used", life)
        await pipe.execute()

    async def _total(self, day: date) -> list[int]:
        found = await self._client.hmget(f"{self._prefix}:total:{day.isoformat()}", FIELDS)
        return [_number(each) for each in found]

    async def _moments(self, key_ids: list[str]) -> list[Any]:
        return list(await self._client.hmget(f"{self._prefix}:used", key_ids))

    async def _read(self, day: str, tenants: Collection[str] | None) -> dict[bytes, bytes]:
        key = f"{self._prefix}:{day}"
        if tenants is None:
            return await self._scan(key)
        names = [f"{tenant}:{field}" for tenant in tenants for field in FIELDS]
        counts: list[Any] = await self._client.hmget(key, names) if names else []
        return {name.encode(): count for name, count in zip(names, counts, strict=True) if count is not None}

    async def _scan(self, key: str) -> dict[bytes, bytes]:
        """A hash of any size in replies that nobody has to wait for."""
        found: dict[bytes, bytes] = {}
        part: Any
        cursor = 0
        while True:
            cursor, part = await self._client.hscan(key, cursor, count=CHUNK)
            found.update(part)
            if not cursor:
                return found


def _rows(day: str, counts: dict[bytes, bytes]) -> list[Row]:
    tenants: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, count in counts.items():
        tenant, _, field = name.decode(errors="replace").rpartition(":")
        if field in FIELDS:
            tenants[tenant][field] = _number(count)
    return [Row(day, tenant, **found) for tenant, found in sorted(tenants.items())]


def _number(text: Any) -> int:
    """A count; 0 for what is none."""
    return int(text) if text and len(text) <= DIGITS and text.isdigit() else 0


def _by_day(counts: Counts) -> dict[int, list[int]]:
    """The sums of all tenants."""
    days: dict[int, list[int]] = {}
    for (day, _), tally in counts.items():
        days[day] = [sum(both) for both in zip(days.get(day, NONE), tally, strict=True)]
    return days


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()
