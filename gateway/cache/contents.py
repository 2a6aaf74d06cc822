"""What is stored, by a bounded look at the records in Redis, and what Redis says of its memory."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from gateway.cache.entry import decode
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.errors import BadTarget
from gateway.redis import Client, redis_errors, servers_of, shielded

MOST = 10_000
"""Records of one look."""
PAGE = 200
Recognise = Callable[[bytes, bytes, bool], Query]
Amounts = Mapping[Hashable, int]
Weigh = Callable[[str, object], Amounts]
"""What one record, by its key and value, adds to the sums."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Sums over the records ``looked_at``, and whether those are all there are. Where they are not, ``estimates``
    are what the share found makes of all."""

    looked_at: int
    complete: bool
    sums: Counter[Hashable]
    estimates: Counter[Hashable]


async def sampled(client: Client, prefix: str, weigh: Weigh, most: int = MOST) -> Sample:
    """Looks, by one SCAN of each server, at no more than about ``most`` records. Raises CacheUnavailable.

    The estimates rest on the number of keys in the whole database, so that they are too high where other things
    lie there too.
    """
    ours = re.compile(re.escape(f"{prefix}:{{".encode()) + rb"[0-9a-f]{40}\}")
    with redis_errors(client):
        servers = await servers_of(client)
        looks = [await _look(each, prefix, ours, weigh, most // len(servers)) for each in servers]
    sums, estimates = Counter[Hashable](), Counter[Hashable]()
    for each in looks:
        sums.update(each.sums)
        estimates.update(each.estimates)
    return Sample(sum(each.looked_at for each in looks), all(each.complete for each in looks), sums, estimates)


async def _look(server: Client, prefix: str, ours: re.Pattern[bytes], weigh: Weigh, most: int) -> Sample:
    cursor, looked, sums = 0, 0, Counter[Hashable]()
    while True:
        cursor, found = await shielded(_page(server, prefix, cursor))
        keys = [key for key in (_bytes(name) for name in found) if ours.match(key)]
        for key, value in zip(keys, await shielded(_values(server, keys)), strict=True):
            looked += 1
            sums.update(weigh(key.decode(), value))
        await asyncio.sleep(0)
        if cursor == 0 or looked >= most:
            break
    size = looked if cursor == 0 else max(looked, await shielded(_size(server)))
    estimates = Counter({name: round(amount * size / looked) for name, amount in sums.items()}) if looked else sums
    return Sample(looked, cursor == 0, sums, estimates)


async def _values(server: Client, keys: list[bytes]) -> list[Any]:
    """One GET each, since a cluster's keys lie in many slots; in one round trip."""
    pipe = server.pipeline(transaction=False)
    for key in keys:
        pipe.get(key)
    return list(await pipe.execute(raise_on_error=False))


async def _page(client: Client, prefix: str, cursor: int) -> tuple[int, list[Any]]:
    cursor, found = await client.scan(cursor, match=f"{prefix}:{{*", count=PAGE)
    return cursor, found


async def _size(client: Client) -> int:
    return int(await client.dbsize())


def _bytes(name: Any) -> bytes:
    return name if isinstance(name, bytes) else str(name).encode()


# By family


@dataclass(frozen=True, slots=True)
class FamilyStored:
    """A family's entries in the look, and the bytes of their records; both for all of Redis, as an estimate."""

    family: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What Redis says of itself, in bytes, all servers together; None where it may not be asked. ``most`` is 0
    where it may grow without bound. ``evicted`` counts keys since its start."""

    used: int | None
    most: int | None
    policy: str | None
    evicted: int | None


@dataclass(frozen=True, slots=True)
class Contents:
    """What is stored, by family, the most bytes first; an estimate where the look is not ``complete``."""

    looked_at: int
    complete: bool
    families: tuple[FamilyStored, ...]
    memory: Memory


async def contents(client: Client, prefix: str, recognise: Recognise, most: int = MOST) -> Contents:
    """A bounded look at what is stored. Raises CacheUnavailable."""

    def weigh(key: str, value: object) -> Amounts:
        return _by_family(key, value, recognise)

    sample = await sampled(client, prefix, weigh, most)
    rows = [
        FamilyStored(family, sample.estimates[family], sample.estimates[family, "bytes"])
        for family in sample.estimates
        if isinstance(family, str)
    ]
    rows.sort(key=lambda each: -each.bytes)
    return Contents(sample.looked_at, sample.complete, tuple(rows), await memory(client))


async def memory(client: Client) -> Memory:
    """What Redis says of its memory. Raises CacheUnavailable."""
    with redis_errors(client):
        told = [await _told(each) for each in await servers_of(client)]
    policies = {str(each["maxmemory_policy"]) for each in told if "maxmemory_policy" in each}
    used, most, evicted = (_sum(told, name) for name in ("used_memory", "maxmemory", "evicted_keys"))
    return Memory(used, most, ", ".join(sorted(policies)) or None, evicted)


async def _told(server: Client) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in ("memory", "stats"):
        try:
            found |= await shielded(_info(server, section))
        except (ResponseError, NotImplementedError):  # managed servers forbid it, memory:// has none
            continue
    return found


async def _info(server: Client, section: str) -> dict[str, Any]:
    return dict(await server.info(section))


def _sum(told: list[dict[str, Any]], name: str) -> int | None:
    numbers = [each[name] for each in told if isinstance(each.get(name), int)]
    return sum(numbers) if numbers and len(numbers) == len(told) else None


def _by_family(key: str, value: object, recognise: Recognise) -> Amounts:
    if not isinstance(value, bytes):
        return {}
    entries = decode(value, key)
    if not entries:
        return {}
    try:
        family = recognise(*parted(entries[0].target)).family.value
    except BadTarget:
        family = "unknown"
    return {family: len(entries), (family, "bytes"): len(value)}
