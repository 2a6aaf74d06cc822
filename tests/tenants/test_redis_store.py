"""The registry in Redis: followed by its stream of changes, refused where it could be lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from gateway.errors import ConfigurationError, RegistryUnavailable
from gateway.tenants import redis_store
from gateway.tenants.redis_store import RedisStore
from gateway.tenants.registry import Registry
from gateway.tenants.vault import Keyring
from tests.redis_server import RedisServer, redis_server
from tests.tenants.places import KEY, LBORO


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A redis-server of one test's own."""
    with redis_server() as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def opened(server: RedisServer) -> Registry:
    return Registry(RedisStore(server.url, "sgw", timeout=1.0), Keyring(KEY, None))


def test_nothing_of_it_has_a_ttl_and_nothing_is_in_clear(server: RedisServer, client: redis.Redis) -> None:
    registry = opened(server)
    registry.add("reports", pair=LBORO)
    secret = registry.add_key("reports").rpartition("_")[2]
    names = sorted(client.keys())
    assert names == [b"sgw:{registry}:changes", b"sgw:{registry}:owners", b"sgw:{registry}:tenants"]
    assert [client.ttl(name) for name in names] == [-1, -1, -1]
    for name in names:
        dumped = client.dump(name) or b""
        assert LBORO.password.encode() not in dumped
        assert secret.encode() not in dumped


def test_a_change_costs_the_changed_tenants_alone(server: RedisServer, client: redis.Redis) -> None:
    registry, follower = opened(server), opened(server)
    for number in range(20):
        registry.add(f"tenant-{number}")
    follower.load()
    untouched = follower.directory.tenants["tenant-3"]
    client.config_resetstat()
    registry.change("tenant-7", name="Seven")
    assert follower.refresh()
    assert "cmdstat_hgetall" not in client.info("commandstats")
    assert follower.directory.tenants["tenant-7"].name == "Seven"
    assert follower.directory.tenants["tenant-3"] is untouched


@pytest.mark.parametrize("lost", ["trimmed", "failover"])
def test_who_lost_its_place_reads_everything_anew(server: RedisServer, client: redis.Redis, lost: str) -> None:
    registry, follower = opened(server), opened(server)
    registry.add("reports")
    registry.add("other")
    follower.load()
    registry.remove("other")
    if lost == "trimmed":
        client.xtrim("sgw:{registry}:changes", maxlen=0)
        registry.add("third")
    else:
        # As a replica has it that never saw the last edits, and took others.
        client.delete("sgw:{registry}:changes")
        registry.add("third")
    assert follower.refresh()
    assert sorted(follower.directory.tenants) == ["reports", "third"]
    assert not follower.refresh()


def test_more_changes_than_one_look_takes_are_all_seen(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "PAGE", 3)
    registry, follower = opened(server), opened(server)
    registry.add("reports")
    follower.load()
    for number in range(10):
        registry.add(f"tenant-{number}")
    assert follower.refresh()
    assert len(follower.directory.tenants) == 11
    assert not follower.refresh()


def test_a_redis_that_is_flushed_keeps_the_last_good_state_and_is_told_once(
    server: RedisServer, client: redis.Redis
) -> None:
    registry = opened(server)
    registry.add("reports")
    registry.load()
    client.flushall()
    with pytest.raises(RegistryUnavailable, match="is gone; the tenants stay as they were"):
        registry.refresh()
    assert not registry.refresh()
    assert list(registry.directory.tenants) == ["reports"]
    registry.add("restored")
    assert registry.refresh()
    assert list(registry.directory.tenants) == ["restored"]


def test_a_redis_that_is_gone_keeps_the_last_good_state_and_is_followed_again() -> None:
    with redis_server(remembers=True) as server:
        registry, other = opened(server), opened(server)
        registry.add("reports")
        key = registry.add_key("reports")
        registry.load()
        server.kill()
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            registry.refresh()
        assert not registry.refresh()
        assert registry.directory.holder_of(key.encode(), time.time()) is not None
        server.start()
        other.revoke_key(key[4:14])
        assert registry.refresh()
        assert registry.directory.holder_of(key.encode(), time.time()) is None


def test_a_paused_redis_ends_in_a_clear_error(server: RedisServer) -> None:
    registry = opened(server)
    registry.load()
    server.pause()
    with pytest.raises(RegistryUnavailable, match=rf"at redis://127.0.0.1:{server.port}/0 does not answer"):
        registry.add("reports")


@pytest.mark.parametrize("record", ["not json", "[]", '{"colour": "red"}', '{"keys": {"x": {}}}'])
def test_a_record_that_cannot_be_used_is_named_at_the_start_and_harms_nobody_later(
    server: RedisServer, client: redis.Redis, record: str
) -> None:
    registry = opened(server)
    registry.add("reports")
    registry.load()
    registry.add("broken")
    registry.add("third")
    client.hset("sgw:{registry}:tenants", "broken", record)
    with pytest.raises(ConfigurationError, match="tenant 'broken'"):
        registry.refresh()
    assert list(registry.directory.tenants) == ["reports", "third"]
    with pytest.raises(ConfigurationError, match="tenant 'broken'"):
        opened(server).load()


def test_a_key_has_one_holder(server: RedisServer, client: redis.Redis) -> None:
    registry = opened(server)
    registry.add("reports")
    key = registry.add_key("reports")
    taken = {"thief": registry.store.read()["reports"]}
    with pytest.raises(ConfigurationError, match="also belongs to 'reports'"):
        registry.import_tables(taken)
    assert registry.load().tenants.keys() == {"reports"}
    registry.remove("reports")
    registry.import_tables(taken)
    holder = registry.load().holder_of(key.encode(), time.time())
    assert holder is not None
    assert holder.tenant.id == "thief"


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "noeviction"])
def test_a_redis_that_may_evict_tenants_is_refused(server: RedisServer, client: redis.Redis, policy: str) -> None:
    client.config_set("maxmemory-policy", policy)
    if policy.startswith("allkeys"):
        with pytest.raises(ConfigurationError, match=f"may evict tenants .maxmemory-policy {policy}"):
            opened(server).notes()
    else:
        assert opened(server).notes() == [
            f"the registry at redis://127.0.0.1:{server.port}/0 has no persistence: "
            "a restart of that Redis loses all tenants"
        ]


@pytest.mark.parametrize("kept", ["appendonly", "save"])
def test_a_redis_with_persistence_is_no_cause_for_a_note(
    server: RedisServer, client: redis.Redis, kept: str
) -> None:
    client.config_set(kept, "yes" if kept == "appendonly" else "3600 1")
    assert opened(server).notes() == []


def test_a_user_who_may_not_ask_for_that_is_told_so(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-info")
    tables = RedisStore(server.url.replace("redis://", "redis://limited:secret@"), "sgw", timeout=5.0)
    (note,) = tables.notes()
    assert note.endswith("does not say whether it keeps tenants: INFO is not permitted")


def test_no_password_of_the_url_is_ever_shown() -> None:
    tables = RedisStore("redis://user:hunter2-redis@127.0.0.1:1/0", "sgw", timeout=0.2)
    with pytest.raises(RegistryUnavailable) as error:
        tables.read()
    assert "hunter2" not in f"{error.value.message} {tables!r} {tables.name}"
