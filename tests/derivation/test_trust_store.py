"""The fleet's trust in a real Redis and in the embedded one."""

from __future__ import annotations

import asyncio
from typing import Any

import fakeredis
import pytest
import redis.asyncio
from msgspec.structs import replace

from gateway.derivation.trust import SUSPENDED_SECONDS, Check, State, Trust, Verdict, encoded
from gateway.derivation.trust_store import LIFE, Place, TrustStore
from gateway.errors import CacheUnavailable

PLACE, OTHER = Place("f00d", "lboro"), Place("beef", "lboro")


@pytest.fixture(params=["redis", "memory"])
def client(request: pytest.FixtureRequest) -> redis.asyncio.Redis:
    if request.param == "redis":
        real: redis.asyncio.Redis = request.getfixturevalue("redis_client")
        return real
    return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))


@pytest.fixture
def store(client: redis.asyncio.Redis, prefix: str) -> TrustStore:
    return TrustStore(client, prefix)


def checked(number: int) -> Any:
    """A change that adds a check."""
    check = Check(f"/{number}", Verdict.EQUAL, float(number))
    return lambda trust: trust.after(check, 1_000)


async def test_no_check_is_lost_between_processes(
    store: TrustStore, client: redis.asyncio.Redis, prefix: str
) -> None:
    other = TrustStore(client, prefix)
    changes = [(store, other)[each % 2].change(PLACE, "listed", checked(each), 0.0) for each in range(6)]
    await asyncio.gather(*changes)
    found = await store.of(PLACE, 0.0)
    assert {subject: (trust.row, trust.agreed) for subject, trust in found.items()} == {"listed": (6, 6)}


async def test_scopes_and_institutions_are_apart(store: TrustStore) -> None:
    await store.change(PLACE, "listed", checked(1), 0.0)
    await store.change(OTHER, "absent", checked(1), 0.0)
    assert set(await store.of(PLACE, 0.0)) == {"listed"}
    assert set(await store.of(OTHER, 0.0)) == {"absent"}
    assert await store.of(Place("f00d", "monash"), 0.0) == {}
    assert set(await store.places()) == {PLACE, OTHER}


async def test_everything_has_a_time_to_live(store: TrustStore, client: redis.asyncio.Redis, prefix: str) -> None:
    await store.change(PLACE, "listed", checked(1), 0.0)
    assert await store.permit("ask", 60.0) == 0.0
    keys = [key async for key in client.scan_iter(f"{prefix}:*")]
    lives = [await client.pttl(key) for key in keys]
    assert len(keys) == 3
    assert all(0 < life <= LIFE * 1_000 for life in lives)


async def test_a_permit_is_given_once(store: TrustStore, client: redis.asyncio.Redis, prefix: str) -> None:
    waits = await asyncio.gather(*[TrustStore(client, prefix).permit("ask", 60.0) for _ in range(5)])
    assert waits.count(0.0) == 1
    assert all(0 <= wait <= 60.0 for wait in waits)
    assert await store.permit("another", 60.0) == 0.0
    assert [await store.permit("free", 0.0) for _ in range(2)] == [0.0, 0.0]


async def test_a_suspension_ends_when_it_is_read_a_day_later(store: TrustStore) -> None:
    await store.change(PLACE, "listed", lambda trust: trust.suspended(10.0, "differs"), 10.0)
    assert (await store.of(PLACE, 11.0))["listed"].state is State.SUSPENDED
    assert (await store.of(PLACE, 10.0 + SUSPENDED_SECONDS))["listed"].state is State.UNTESTED


async def test_what_was_forgotten_begins_anew(store: TrustStore) -> None:
    await store.change(PLACE, "listed", lambda trust: trust.suspended(10.0, "differs"), 10.0)
    await store.forget(PLACE, "listed")
    assert await store.of(PLACE, 10.0) == {}


async def test_a_later_versions_record_is_neither_trusted_nor_changed(
    store: TrustStore, client: redis.asyncio.Redis, prefix: str
) -> None:
    key, later = f"{prefix}:derivation:{PLACE.name}", encoded(replace(Trust(), version=2))
    await client.hset(key, "listed", later)
    assert await store.of(PLACE, 0.0) == {}
    assert await store.change(PLACE, "listed", checked(1), 0.0) is None
    assert await client.hget(key, "listed") == later


async def test_a_damaged_record_begins_anew(store: TrustStore, client: redis.asyncio.Redis, prefix: str) -> None:
    await client.hset(f"{prefix}:derivation:{PLACE.name}", "listed", b"\xc1\xff")
    changed = await store.change(PLACE, "listed", checked(1), 0.0)
    assert changed is not None
    assert (await store.of(PLACE, 0.0))["listed"].row == 1


@pytest.mark.parametrize("reply", [None, 7, [b"odd"], b"text", {b"listed": 5}, {b"\xff": b"x"}], ids=str)
async def test_a_reply_of_another_shape_is_a_failure_of_the_cache(reply: Any, prefix: str) -> None:
    class Odd:
        connection_pool = None

        async def execute_command(self, *command: Any) -> Any:
            return reply

        async def evalsha(self, *command: Any) -> Any:
            return [reply]

    store = TrustStore(Odd(), prefix)  # type: ignore[arg-type]
    with pytest.raises(CacheUnavailable):
        await store.of(PLACE, 0.0)
    with pytest.raises(CacheUnavailable):
        await store.change(PLACE, "listed", checked(1), 0.0)


async def test_without_redis_there_is_neither_trust_nor_a_permit(prefix: str) -> None:
    store = TrustStore(redis.asyncio.Redis(port=1), prefix)
    with pytest.raises(CacheUnavailable):
        await store.of(PLACE, 0.0)
    with pytest.raises(CacheUnavailable):
        await store.permit("ask", 1.0)
