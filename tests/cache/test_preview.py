"""What a purge would cover, looked at before it is made: on a real Redis, and on memory://."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import fakeredis
import pytest
import redis.asyncio

from gateway.cache.contents import Memory, contents, memory
from gateway.cache.entry import Entry
from gateway.cache.purges import EVERYTHING, PurgeScope, preview
from gateway.cache.store import NearCache, Store
from gateway.catalogue.endpoints import recognise
from gateway.errors import CacheUnavailable
from gateway.redis import Client, ignored, invoke
from tests.redis_server import free_port

NOW = 1_000.0
known = partial(recognise, ignored=frozenset({"_"}), max_bytes=4_096)


@pytest.fixture(params=["redis", "memory"])
async def client(request: pytest.FixtureRequest, redis_client: redis.asyncio.Redis) -> AsyncIterator[Client]:
    if request.param == "redis":
        yield redis_client
    else:
        yield fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))


async def stored(client: Client, prefix: str, *targets: str) -> None:
    store = Store(client, NearCache(0), prefix)
    for number, target in enumerate(targets):
        entry = Entry(
            key=f"{prefix}:{{{number:040x}}}", status=200, headers=[], body=b"{}", etag=b'"e"', dispatched=NOW,
            received=NOW, fresh_until=NOW + 60, serve_until=NOW + 60, keep_until=NOW + 60, drop_at=NOW + 60,
            target=target.encode(),
        )  # fmt: skip
        await invoke(client, store.put(entry, NOW), ignored)


async def test_it_counts_what_a_purge_would_cover_and_nothing_else(client: Client, prefix: str) -> None:
    await stored(
        client,
        prefix,
        "/total/views/article/23",
        "/lboro/total/views/article/23",
        "/lboro/total/views/article/24",
        "/anything/else",
    )
    await client.set(f"{prefix}:{{{'f' * 40}}}", b"undecodable")
    await client.set(f"{prefix}:{{queue}}:tat", b"control data")
    looks = {
        name: await preview(client, prefix, subject, known)
        for name, subject in {
            "all": EVERYTHING,
            "item": PurgeScope.item("article", "23"),
            "institution": PurgeScope.institution("lboro"),
            "query": PurgeScope.exact(known(b"/total/views/article/23", b"").canonical),
            "nothing": PurgeScope.institution("monash"),
        }.items()
    }
    assert {name: look.matching for name, look in looks.items()} == {
        "all": 4, "item": 2, "institution": 2, "query": 1, "nothing": 0,
    }  # fmt: skip
    assert {(look.looked_at, look.complete) for look in looks.values()} == {(5, True)}
    assert looks["item"].estimate == 2


async def test_beyond_its_bound_it_estimates(client: Client, prefix: str) -> None:
    half = [f"/total/views/article/{number}" for number in range(600)]
    await stored(client, prefix, *half)
    look = await preview(client, prefix, EVERYTHING, known, most=100)
    assert not look.complete
    assert 100 <= look.looked_at < 600
    assert look.estimate >= 600


async def test_what_is_stored_is_counted_by_family_with_its_size(client: Client, prefix: str) -> None:
    await stored(client, prefix, "/total/views/article/23", "/lboro/total/views/article/23", "/anything/else")
    await client.set(f"{prefix}:{{{'f' * 40}}}", b"undecodable")
    found = await contents(client, prefix, known)
    assert {each.family: each.entries for each in found.families} == {"totals": 2, "unknown": 1}
    sizes = [each.bytes for each in found.families]
    assert (sizes, all(sizes)) == (sorted(sizes, reverse=True), True)
    assert (found.looked_at, found.complete) == (4, True)


async def test_what_redis_says_of_its_memory(redis_client: redis.asyncio.Redis) -> None:
    await redis_client.config_set("maxmemory", 10**9)
    try:
        found = await memory(redis_client)
    finally:
        await redis_client.config_set("maxmemory", 0)
    assert (found.most, found.policy, found.evicted) == (10**9, "noeviction", 0)
    assert found.used is not None
    assert 0 < found.used < 10**9


async def test_where_redis_may_not_be_asked_its_memory_is_not_known() -> None:
    embedded = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    assert await memory(embedded) == Memory(None, None, None, None)


async def test_without_redis_it_says_so(prefix: str) -> None:
    gone = redis.asyncio.Redis.from_url(f"redis://127.0.0.1:{free_port()}", protocol=2)
    with pytest.raises(CacheUnavailable):
        await preview(gone, prefix, EVERYTHING, known)
    await gone.aclose()
