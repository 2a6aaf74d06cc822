"""The store on a real Redis, and on the embedded one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from msgspec import structs
from pydantic import SecretStr

from gateway.cache.entry import MARK, STAMP, VARIANTS, Entry, encode, invalidated_since, stamp
from gateway.cache.keys import PUBLIC, CacheKey, cache_key
from gateway.cache.purges import EVERYTHING, Purges
from gateway.cache.store import NearCache, Store
from gateway.errors import CacheUnavailable
from gateway.observe.counters import DayCounters
from gateway.observe.outcome import Outcome
from gateway.redis import MEMORY, Client, Clock, Sweeper, connect, ignored, invoke
from gateway.settings import Settings
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.tenant import TenantLimits
from tests.observe.counting import answered
from tests.redis_server import RedisServer, free_port, redis_server

NOW = 1_000.0


@pytest.fixture(params=["redis", "memory"])
async def client(request: pytest.FixtureRequest, shared_redis: RedisServer) -> AsyncIterator[Client]:
    url = {"redis": shared_redis.url, "memory": MEMORY}[request.param]
    client = connect(Settings(redis_url=SecretStr(url)))
    yield client
    await client.aclose()


def key_of(prefix: str, name: str = "a") -> CacheKey:
    return cache_key(prefix, PUBLIC, name.encode(), b"/" + name.encode())


def entry_for(key: str, body: bytes = b"{}", dispatched: float = NOW) -> Entry:
    return Entry(key, 200, [], body, b"", dispatched, dispatched, NOW + 10, NOW + 20, NOW + 30, NOW, NOW + 30)


async def put(store: Store, entry: Entry) -> None:
    await invoke(store.client, store.put(entry, NOW), ignored)


async def test_what_one_process_stores_another_finds(client: Client, prefix: str) -> None:
    key = key_of(prefix)
    here, there = (Store(client, NearCache(10_000)) for _ in range(2))
    await put(here, entry_for(key.entry))
    await put(here, entry_for(key.error, b"error"))
    assert there.look_near(key).entries == ()
    found = await there.look_up(key)
    assert found.entries == (entry_for(key.entry),)
    assert found.error == entry_for(key.error, b"error")
    assert there.look_near(key).entries == found.entries


async def test_a_late_answer_never_replaces_a_newer_one(client: Client, prefix: str) -> None:
    key = key_of(prefix)
    store = Store(client, NearCache(0))
    await put(store, entry_for(key.entry, b"new", NOW))
    await put(store, entry_for(key.entry, b"old", NOW - 5))
    found = await store.look_up(key)
    assert [entry.body for entry in found.entries] == [b"new"]


async def test_a_newer_answer_replaces_an_older_one(client: Client, prefix: str) -> None:
    key = key_of(prefix)
    store = Store(client, NearCache(0))
    await put(store, entry_for(key.entry, b"old", NOW - 5))
    await put(store, entry_for(key.entry, b"new", NOW))
    assert [entry.body for entry in (await store.look_up(key)).entries] == [b"new"]


async def test_rfc9111_4_1_variants_live_beside_each_other(client: Client, prefix: str) -> None:
    key = key_of(prefix)
    store = Store(client, NearCache(0))
    for number in range(20):
        variant = structs.replace(entry_for(key.entry, b"%d" % number, NOW + number), variant=f"{number:024d}")
        await put(store, variant)
    assert [entry.body for entry in (await store.look_up(key)).entries] == [b"%d" % n for n in range(19, 3, -1)]


async def test_rfc9111_4_4_what_was_under_way_is_not_stored_after_an_invalidation(
    client: Client, prefix: str
) -> None:
    key = key_of(prefix)
    store = Store(client, NearCache(10_000), prefix)
    await put(store, entry_for(key.entry, b"before", NOW))
    await invoke(client, store.invalidate(key.entry, NOW + 1), ignored)
    assert (await store.look_up(key)).entries == ()
    await put(Store(client, NearCache(0)), entry_for(key.entry, b"late", NOW + 0.5))
    assert (await store.look_up(key)).entries == ()
    await put(store, entry_for(key.entry, b"after", NOW + 2))
    assert [entry.body for entry in (await store.look_up(key)).entries] == [b"after"]
    assert store.undecodable == 0


@pytest.mark.parametrize("variants", [1, 15, 16, 17, 40])
async def test_rfc9111_4_4_nor_with_any_number_of_variants_since(
    client: Client, prefix: str, variants: int
) -> None:
    key, store = key_of(prefix), Store(client, NearCache(0))
    await invoke(client, store.invalidate(key.entry, NOW + 1), ignored)
    for number in range(variants):
        await put(store, structs.replace(entry_for(key.entry, b"after", NOW + 2), variant=f"{number:024d}"))
    await put(store, structs.replace(entry_for(key.entry, b"late", NOW + 0.5), variant=f"{99:024d}"))
    found = (await store.look_up(key)).entries
    assert [entry.body for entry in found] == [b"after"] * min(variants, VARIANTS)


async def test_rfc9111_4_4_what_redis_refuses_does_not_stay_near(client: Client, prefix: str) -> None:
    """Another process invalidates, and no news of it comes: Redis's reply alone tells."""
    key = key_of(prefix)
    here, there = (Store(client, NearCache(10_000), prefix) for _ in range(2))
    await invoke(client, there.invalidate(key.entry, NOW + 1), ignored)
    stored = here.put(entry_for(key.entry, b"late", NOW), NOW)
    assert [entry.body for entry in here.look_near(key).entries] == [b"late"]
    await invoke(client, stored, ignored)
    assert here.look_near(key).entries == ()


async def test_a_late_answer_does_not_stay_near_beside_a_newer_one_in_redis(client: Client, prefix: str) -> None:
    key = key_of(prefix)
    here, there = (Store(client, NearCache(10_000), prefix) for _ in range(2))
    await put(there, entry_for(key.entry, b"new", NOW))
    await put(here, entry_for(key.entry, b"old", NOW - 5))
    assert here.look_near(key).entries == ()
    assert [entry.body for entry in (await here.look_up(key)).entries] == [b"new"]


async def test_rfc9111_4_4_the_news_of_an_invalidation_may_overtake_redis_replies(prefix: str) -> None:
    """Redis took the answer, or gave it, before the invalidation of which this process hears before the reply."""
    key = key_of(prefix)
    client = connect(Settings())
    store = Store(client, NearCache(10_000), prefix)
    late = entry_for(key.entry, b"late", store.clock.order())
    store.invalidate(key.entry, late.order + 1)
    store.put(late, NOW).heard(1)
    assert store.look_near(key).entries == ()
    await client.set(key.entry, encode(late))
    assert (await store.look_up(key)).entries == ()
    assert store.look_near(key).entries == ()
    await put(store, entry_for(key.entry, b"after", late.order + 2))
    assert [entry.body for entry in store.look_near(key).entries] == [b"after"]
    await client.aclose()


async def test_rfc9111_4_4_an_invalidation_told_late_spares_what_was_fetched_since(
    client: Client, prefix: str
) -> None:
    key = key_of(prefix)
    store = Store(client, NearCache(0), prefix)
    before, since = (Store(client, NearCache(0), prefix).invalidate(key.entry, NOW + at) for at in (1, 3))
    await put(store, entry_for(key.entry, b"old", NOW))
    await put(store, entry_for(key.entry, b"new", NOW + 2))
    await invoke(client, before, ignored)
    assert [entry.body for entry in (await store.look_up(key)).entries] == [b"new"]
    await invoke(client, since, ignored)
    await invoke(client, before, ignored)  # takes no later mark's place
    await put(store, entry_for(key.entry, b"between", NOW + 2))
    assert (await store.look_up(key)).entries == ()


async def test_rfc9111_4_4_who_invalidates_may_be_behind_whoever_asked(client: Client, prefix: str) -> None:
    """Redis's own time counts where it is the later one; and then this process knows that it is later."""
    key = key_of(prefix)
    behind = Clock()
    behind.sync(time.time() - 1, 0.0)
    asks, changes = Store(client, NearCache(10_000), prefix), Store(client, NearCache(10_000), prefix, behind)
    late = entry_for(key.entry, b"late", time.time())
    await invoke(client, changes.invalidate(key.entry, behind.order()), ignored)
    for store in (asks, changes):
        await put(store, late)
        assert store.look_near(key).entries == ()
        assert (await store.look_up(key)).entries == ()
    await put(changes, entry_for(key.entry, b"after", behind.order()))
    assert [entry.body for entry in (await asks.look_up(key)).entries] == [b"after"]


async def test_what_redis_did_not_take_is_told_again(shared_redis: RedisServer, prefix: str) -> None:
    key = key_of(prefix)
    client = connect(Settings(redis_url=SecretStr(shared_redis.url)))
    store = Store(client, NearCache(0), prefix)
    await put(store, entry_for(key.entry, b"old", store.clock.order() - 1))
    store.invalidate(key.entry, store.clock.order())  # the call is never made
    sending = asyncio.create_task(store.broadcast(Purges(client, prefix)))
    async with asyncio.timeout(20):
        while store.invalidations.unsent:
            await asyncio.sleep(0.05)
    assert invalidated_since(bytes(await client.get(key.entry) or b""))  # type: ignore[arg-type]
    sending.cancel()
    await asyncio.wait({sending})
    await client.aclose()


async def test_a_body_that_looks_like_a_mark_is_none(client: Client, prefix: str) -> None:
    key = key_of(prefix)
    here, there = (Store(client, NearCache(10_000), prefix) for _ in range(2))
    await put(here, entry_for(key.entry, MARK + b"%08d" % STAMP + stamp(NOW + 1)))
    assert (await there.look_up(key)).entries
    assert there.look_near(key).entries
    assert not there.invalidations


async def test_every_stored_record_has_a_time_to_live(client: Client, prefix: str) -> None:
    key = key_of(prefix)
    await put(Store(client, NearCache(0)), entry_for(key.entry))
    assert 0 < await client.pttl(key.entry) <= 30_000


@pytest.mark.parametrize("value", [b"", b"garbage", b"0" * 40, encode(entry_for("another key"))], ids=range(4))
async def test_what_cannot_be_decoded_is_a_miss_and_counted(client: Client, prefix: str, value: bytes) -> None:
    key = key_of(prefix)
    store = Store(client, NearCache(10_000))
    await client.set(key.entry, value)
    assert (await store.look_up(key)).entries == ()
    assert store.undecodable == 1


async def test_a_dead_redis_is_an_error_of_ours() -> None:
    dead = redis.asyncio.Redis(host="127.0.0.1", port=free_port())
    with pytest.raises(CacheUnavailable):
        await Store(dead, NearCache(0)).look_up(key_of("p"))
    await dead.aclose()


async def test_the_embedded_cache_stays_within_its_bounds(prefix: str) -> None:
    client = connect(Settings())
    store = Store(client, NearCache(0))
    for i in range(50):
        key = key_of(prefix, str(i))
        entry = Entry(key.entry, 200, [], bytes(900), b"", NOW, NOW, NOW, NOW, NOW + 100 + i)
        await put(store, entry)
    sweeper = Sweeper(client, prefix, 20_000)
    remaining = await sweeper.sweep()
    assert remaining <= 18_000
    assert (await store.look_up(key_of(prefix, "0"))).entries == ()
    assert (await store.look_up(key_of(prefix, "49"))).entries != ()
    await client.aclose()


async def test_a_sweep_of_the_embedded_redis_passes_by_what_is_no_entry(prefix: str) -> None:
    client = connect(Settings(redis_url=SecretStr(MEMORY), redis_prefix=prefix))
    usage = DayCounters(client, prefix, 30)
    answered(usage, Outcome.HIT, key_id="AbCdEf1234")
    await usage.flush()
    await Purges(client, prefix).purge(EVERYTHING)
    await RateLimiter(client, prefix, lambda: 1).admit("reports", TenantLimits(requests_per_second=1))
    before = await client.dbsize()
    assert await Sweeper(client, prefix, 0).sweep() == 0
    assert await client.dbsize() >= before >= 3  # a lease may have been taken meanwhile
    await client.aclose()


async def test_what_is_near_outlives_redis_and_is_forgotten_once_news_may_have_been_missed(prefix: str) -> None:
    key = key_of(prefix)
    with redis_server() as server:
        client = connect(Settings(redis_url=SecretStr(server.url), redis_timeout=0.3))
        store = Store(client, NearCache(10_000), prefix)
        follower = asyncio.create_task(store.follow())
        async with asyncio.timeout(20):
            while not (await client.pubsub_numsub(store.channel))[0][1]:
                await asyncio.sleep(0.01)
            store.near.put(entry_for(key.entry))
            server.kill()
            with pytest.raises(CacheUnavailable):
                await store.look_up(key)
            assert store.look_near(key).entries
            server.start()
            while store.look_near(key).entries:
                await asyncio.sleep(0.01)
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        await client.aclose()


@pytest.mark.parametrize("version", ["this", "an older"])
async def test_rfc9111_4_4_what_one_process_invalidates_another_forgets(
    client: Client, prefix: str, version: str
) -> None:
    """An older version tells the record alone."""
    key = key_of(prefix)
    here, there = (Store(client, NearCache(10_000), prefix) for _ in range(2))
    follower = asyncio.create_task(there.follow())
    async with asyncio.timeout(20):
        while not (await client.pubsub_numsub(there.channel))[0][1]:
            await asyncio.sleep(0.01)
        there.near.put(entry_for(key.entry))
        if version == "this":
            await invoke(client, here.invalidate(key.entry, NOW), ignored)
        else:
            await client.publish(there.channel, key.entry)
        while there.look_near(key).entries:
            await asyncio.sleep(0.01)
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
