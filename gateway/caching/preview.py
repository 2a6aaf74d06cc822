"""Preview: about how much a purge would cover, before anybody purges."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.caching.entry import decode
from gateway.caching.marks import Subject, subjects_of
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.errors import BadTarget
from gateway.redis_client import Client, redis_errors, servers_of, shielded

MOST = 10_000
PAGE = 200

Recognise = Callable[[bytes, bytes, bool], Query]


@dataclass(frozen=True, slots=True)
class Preview:
    """What one bounded look found: how many of the records ``looked_at`` hold entries that a purge would cover,
    and whether those are all there are. Where they are not, ``estimate`` is what the share found makes of all."""

    matching: int
    looked_at: int
    complete: bool
    estimate: int


async def preview(
    client: Client, prefix: str, subject: Subject, recognise: Recognise, most: int = MOST
) -> Preview:
    """Looks, by one SCAN of each server, at no more than about ``most`` records. Raises CacheUnavailable.

    What cannot be decoded counts as looked at and not as matching. The estimate rests on the number of keys in the
    whole database, so that it is too high where other things lie there too.
    """
    ours = re.compile(re.escape(f"{prefix}:{{".encode()) + rb"[0-9a-f]{40}\}")
    with redis_errors(client):
        servers = await servers_of(client)
        looks = [await _look(each, prefix, ours, subject, recognise, most // len(servers)) for each in servers]
    matching, looked = sum(each.matching for each in looks), sum(each.looked_at for each in looks)
    complete = all(each.complete for each in looks)
    return Preview(matching, looked, complete, sum(each.estimate for each in looks))


async def _look(
    server: Client, prefix: str, ours: re.Pattern[bytes], subject: Subject, recognise: Recognise, most: int
) -> Preview:
    cursor, looked, matching = 0, 0, 0
    while True:
        cursor, found = await shielded(_page(server, prefix, cursor))
        keys = [key for key in (_bytes(name) for name in found) if ours.match(key)]
        for key, value in zip(keys, await shielded(_values(server, keys)), strict=True):
            looked += 1
            matching += _covers(subject, value, key.decode(), recognise)
        await asyncio.sleep(0)
        if cursor == 0 or looked >= most:
            break
    size = looked if cursor == 0 else max(looked, await shielded(_size(server)))
    return Preview(matching, looked, cursor == 0, round(matching * size / looked) if looked else 0)


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


def _covers(subject: Subject, value: object, key: str, recognise: Recognise) -> bool:
    if not isinstance(value, bytes):
        return False
    return any(subject in _subjects(entry.target, recognise) for entry in decode(value, key))


def _subjects(target: bytes, recognise: Recognise) -> list[Subject]:
    try:
        return subjects_of(recognise(*parted(target)))
    except BadTarget:
        return []


def _bytes(name: Any) -> bytes:
    return name if isinstance(name, bytes) else str(name).encode()
