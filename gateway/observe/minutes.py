"""Pulse: what the fleet did in the last hour, by the minute: requests by outcome, their times, upstream calls."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from gateway.errors import CacheUnavailable
from gateway.observe.aggregate import BOUNDS, NAMES, SIZE, Tally, quantile
from gateway.observe.outcome import Outcome
from gateway.observe.overview import Latency, Minute
from gateway.redis import Client, redis_errors, shielded

FLUSH_SECONDS = 2.0
SHORTEST_SECONDS = 0.05
MINUTE = 60
SHOWN = 60
"""Minutes of a report, and at most as many that Redis has not been told."""
TOLD = 10
"""Minutes that Redis is told at once: after an hour without it, the fleet does not come back all in one moment."""
LIFE = 2 * 3_600
"""Seconds for which Redis keeps a minute."""
DIGITS = 15

FIELDS = (
    b"calls",
    *(f"o:{outcome}".encode() for outcome in Outcome),
    *(f"b:{outcome}:{name}".encode() for outcome in Outcome for name in NAMES),
)
"""The fields of a minute's hash, in the order of a tally."""
PLACES = {field: place for place, field in enumerate(FIELDS)}
TOTALS = {outcome: 1 + place for place, outcome in enumerate(Outcome)}
FIRST = {outcome: 1 + len(Outcome) + place * SIZE for place, outcome in enumerate(Outcome)}
"""Where each outcome's buckets begin."""
Counts = list[int]


@dataclass(frozen=True, slots=True)
class Report:
    """The last 60 minutes, the oldest first, and their latencies by outcome. Not ``whole``: Redis did not answer,
    and this is what it last said, with what this process counted since."""

    minutes: list[Minute]
    latency: dict[str, Latency]
    whole: bool


class Pulse:
    """Counts in memory, and adds to Redis every two seconds: a request costs one addition, and waits for nothing.

    It may be lost, and a flush whose reply is lost is sent again, so that its counts may then be there twice.
    What Redis has not taken is kept for an hour. ``now`` is the fleet's time; ``gather`` brings in what is
    counted elsewhere.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        now: Callable[[], float] = time.time,
        gather: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._prefix = f"{prefix}:{{pulse}}"
        self._now = now
        self.gather = gather
        self._counts: Counts = [0] * len(FIELDS)
        self._minute = int(now() // MINUTE)
        self._untold: dict[int, Counts] = {}
        self._told: dict[int, Counts] = {}
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Pulse {len(self._untold)} minutes to tell>"

    def request(self, outcome: Outcome, seconds: float) -> None:
        """One request, answered after so many seconds."""
        self._counts[FIRST[outcome] + bisect_left(BOUNDS, seconds)] += 1

    def answered(self, tally: Tally) -> None:
        """Answered requests of one kind."""
        first = FIRST[tally.kind.outcome]
        for place, count in enumerate(tally.buckets, first):
            self._counts[place] += count

    def call(self) -> None:
        """One upstream call."""
        self._counts[0] += 1

    async def run(self) -> None:
        """Tells Redis every two seconds, and at the end of each minute, until cancelled; and then once more."""
        try:
            while True:
                await asyncio.sleep(pause(self._now()))
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Adds what was counted to what Redis has, in one round trip; keeps what it does not take."""
        with suppress(CacheUnavailable), redis_errors(self._client):
            await shielded(self._flush())

    async def report(self, now: float) -> Report:
        """The hour until ``now``, of the whole fleet, in one round trip."""
        return await shielded(self._report(int(now // MINUTE)))

    def _settle(self) -> None:
        """What was counted since the last time belongs to the minute in which that was."""
        self.gather()
        counts, self._counts = self._counts, [0] * len(FIELDS)
        for outcome, first in FIRST.items():
            counts[TOTALS[outcome]] = sum(counts[first : first + SIZE])
        if any(counts):
            self._untold[self._minute] = _sum(self._untold.get(self._minute), counts)
        self._minute = int(self._now() // MINUTE)
        for minute in sorted(self._untold)[:-SHOWN]:
            del self._untold[minute]

    async def _flush(self) -> None:
        async with self._turn:
            self._settle()
            newest = sorted(self._untold, reverse=True)[:TOLD]
            told = [(minute, place, count) for minute in newest for place, count in _counted(self._untold[minute])]
            if not told:
                return
            pipe = self._client.pipeline(transaction=False)
            for minute, place, count in told:
                pipe.hincrby(self._key(minute), FIELDS[place].decode(), count)
            for minute in newest:
                pipe.expire(self._key(minute), LIFE)
            replies = await pipe.execute(raise_on_error=False)
            for (minute, place, count), reply in zip(told, islice(replies, len(told)), strict=True):
                if not isinstance(reply, Exception):
                    self._untold[minute][place] -= count
            for minute in newest:
                if not any(self._untold[minute]):
                    del self._untold[minute]

    async def _report(self, last: int) -> Report:
        minutes = range(last - SHOWN + 1, last + 1)
        # One at a time with flushes: what Redis is being told counts once.
        async with self._turn:
            whole = False
            with suppress(CacheUnavailable), redis_errors(self._client):
                pipe = self._client.pipeline(transaction=False)
                for minute in minutes:
                    pipe.hgetall(self._key(minute))
                hashes = await pipe.execute()
                self._told = {minute: _tally(found) for minute, found in zip(minutes, hashes, strict=True)}
                whole = True
            self._settle()
            tallies = [_sum(self._told.get(minute), self._untold.get(minute)) for minute in minutes]
        latency = _latency([sum(counts) for counts in zip(*tallies, strict=True)])
        return Report([_minute(*each) for each in zip(minutes, tallies, strict=True)], latency, whole)

    def _key(self, minute: int) -> str:
        return f"{self._prefix}:{minute}"


def pause(now: float) -> float:
    """Seconds until the next flush: no count waits for it beyond the end of its minute."""
    return min(FLUSH_SECONDS, max(MINUTE - now % MINUTE, SHORTEST_SECONDS))


def _sum(some: Counts | None, more: Counts | None) -> Counts:
    if some is None or more is None:
        return some or more or [0] * len(FIELDS)
    return [one + other for one, other in zip(some, more, strict=True)]


def _counted(tally: Counts) -> list[tuple[int, int]]:
    return [(place, count) for place, count in enumerate(tally) if count]


def _tally(found: Mapping[bytes, bytes]) -> Counts:
    """A minute's hash; what is none of ours in it is ignored."""
    tally = [0] * len(FIELDS)
    for field, text in found.items():
        place = PLACES.get(field)
        if place is not None and len(text) <= DIGITS and text.isdigit():
            tally[place] = int(text)
    return tally


def _minute(minute: int, tally: Counts) -> Minute:
    outcomes = {str(outcome): tally[place] for outcome, place in TOTALS.items() if tally[place]}
    at = datetime.fromtimestamp(minute * MINUTE, UTC)
    return Minute(at, sum(outcomes.values()), outcomes, tally[0])


def _latency(tally: Counts) -> dict[str, Latency]:
    buckets = {outcome: tally[first : first + SIZE] for outcome, first in FIRST.items()}
    return {
        str(outcome): Latency(sum(counts), *(quantile(counts, share) for share in (0.5, 0.95, 0.99)))
        for outcome, counts in buckets.items()
        if any(counts)
    }
