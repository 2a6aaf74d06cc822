"""What a real Redis says of itself, in every state that matters; and what is made of it."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway.admin.doctor.finding import Finding, State
from gateway.admin.doctor.redis import (
    ClockReading,
    RedisFacts,
    ServerFacts,
    ask_redis,
    clock,
    eviction,
    persistence,
    redis_findings,
    registry_findings,
    version,
)
from tests.chaos_redis import chaos_proxy
from tests.conftest import needs_redis
from tests.documents.pages import ROOT
from tests.redis_fleet import CLI, redis_cluster, watched_redis
from tests.redis_server import RedisServer, redis_server

PATIENCE = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server whose configuration these tests may change."""
    needs_redis()
    with redis_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _as_at_first(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        server: RedisServer = request.getfixturevalue("server")
        server.call("REPLICAOF", "NO", "ONE")
        for name, value in (
            ("maxmemory", 0),
            ("maxmemory-policy", "noeviction"),
            ("appendonly", "no"),
            ("save", ""),
        ):
            server.call("CONFIG", "SET", name, value)


async def states(server: RedisServer, *, registry: bool = False) -> dict[str, State]:
    facts = await ask_redis(server.url, "sgw", PATIENCE)
    return {finding.check: finding.state for finding in redis_findings(facts, registry=registry)}


def only(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


async def test_a_plain_redis_gets_notes_alone(server: RedisServer) -> None:
    assert await states(server) == {
        "redis.version": State.OK,
        "redis.permissions": State.OK,
        "redis.eviction": State.NOTE,
        "redis.persistence": State.NOTE,
        "redis.clock": State.OK,
    }


@pytest.mark.parametrize(
    ("policy", "limit", "cache", "registry"),
    [
        ("noeviction", "0", State.NOTE, State.NOTE),
        ("noeviction", "100mb", State.WARNING, State.WARNING),
        ("volatile-lru", "100mb", State.OK, State.OK),
        ("volatile-ttl", "0", State.NOTE, State.NOTE),
        ("allkeys-lru", "100mb", State.WARNING, State.PROBLEM),
        ("allkeys-random", "0", State.WARNING, State.PROBLEM),
    ],
)
async def test_the_eviction_policy_is_read_without_config(
    server: RedisServer, policy: str, limit: str, cache: State, registry: State
) -> None:
    server.call("CONFIG", "SET", "maxmemory-policy", policy)
    server.call("CONFIG", "SET", "maxmemory", limit)
    facts = await ask_redis(server.url, "sgw", PATIENCE)
    assert eviction(facts.servers[0], registry=False).state is cache
    assert eviction(facts.servers[0], registry=True).state is registry


def test_the_policy_it_names_is_the_one_that_operations_tells_to_set() -> None:
    (told,) = re.findall(r"Give Redis a `maxmemory` and `([\w-]+)`", (ROOT / "docs" / "operations.md").read_text())
    limited, unlimited = {"maxmemory": 100}, {"maxmemory": 0}
    given = [{"maxmemory_policy": "allkeys-lru"} | limited, {"maxmemory_policy": "noeviction"} | limited,
             {"maxmemory_policy": told} | unlimited]  # fmt: skip
    for memory, registry in itertools.product(given, (False, True)):
        todo = eviction(ServerFacts("a:1", {"memory": memory}), registry=registry).advice
        assert re.findall(r"volatile-\w+", todo) == [told]


async def test_a_registry_alone_is_right_with_noeviction_and_a_limit(server: RedisServer) -> None:
    server.call("CONFIG", "SET", "maxmemory", "100mb")
    findings = list(registry_findings(await ask_redis(server.url, "sgw", PATIENCE)))
    assert only(findings, "registry.eviction").state is State.OK


async def test_what_an_acl_forbids_is_unknown_and_no_error(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-info", "-config", "-ping")
    try:
        facts = await ask_redis(f"redis://limited:secret@127.0.0.1:{server.port}/0", "sgw", PATIENCE)
    finally:
        server.call("ACL", "DELUSER", "limited")
    found = {finding.check: finding.state for finding in redis_findings(facts, registry=False)}
    assert found == {
        "redis.version": State.UNKNOWN,
        "redis.permissions": State.OK,
        "redis.eviction": State.UNKNOWN,
        "redis.persistence": State.UNKNOWN,
        "redis.clock": State.OK,
    }
    # The registry's own start reads INFO memory too, and does not do without.
    assert eviction(facts.servers[0], registry=True).state is State.PROBLEM


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        (("~other:*", "&*", "+@all"), "to read"),
        (("~*", "&*", "+@read", "+@connection", "+subscribe"), "to run scripts that write"),
        (("~*", "&other:*", "+@all"), "to subscribe"),
        (("~*", "&*", "+@all", "-set"), "to run scripts that write"),
    ],
)
async def test_an_acl_that_forbids_what_the_gateway_needs_is_a_problem(
    server: RedisServer, rules: tuple[str, ...], missing: str
) -> None:
    server.call("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rules)
    try:
        facts = await ask_redis(f"redis://limited:secret@127.0.0.1:{server.port}/0", "sgw", PATIENCE)
    finally:
        server.call("ACL", "DELUSER", "limited")
    finding = only(list(redis_findings(facts, registry=False)), "redis.permissions")
    assert finding.state is State.PROBLEM
    assert f"{missing}: " in finding.what
    assert "secret" not in finding.what


async def test_the_acl_that_is_advised_is_enough(server: RedisServer) -> None:
    server.call("REPLICAOF", "127.0.0.1", 1)
    advice = only(
        list(redis_findings(await ask_redis(server.url, "sgw", PATIENCE), registry=False)), "redis.permissions"
    ).advice
    server.call("REPLICAOF", "NO", "ONE")
    rules = advice.rpartition("like: ")[2].split()
    server.call("ACL", "SETUSER", "advised", "reset", "on", ">secret", *rules)
    try:
        facts = await ask_redis(f"redis://advised:secret@127.0.0.1:{server.port}/0", "sgw", PATIENCE)
    finally:
        server.call("ACL", "DELUSER", "advised")
    assert (facts.trouble, facts.refused) == ("", {})
    assert set(facts.servers[0].info) == {"server", "memory", "persistence"}


async def test_a_replica_and_a_full_redis_refuse_scripts(server: RedisServer) -> None:
    server.call("REPLICAOF", "127.0.0.1", 1)
    assert (await states(server))["redis.permissions"] is State.PROBLEM
    server.call("REPLICAOF", "NO", "ONE")
    server.call("CONFIG", "SET", "maxmemory", "1")
    facts = await ask_redis(server.url, "sgw", PATIENCE)
    assert "to run scripts that write" in facts.refused


@pytest.mark.parametrize(
    ("name", "value", "cache", "registry"),
    [
        ("appendonly", "yes", State.OK, State.OK),
        ("save", "900 1", State.OK, State.OK),
        ("save", "", State.NOTE, State.WARNING),
    ],
)
async def test_persistence(server: RedisServer, name: str, value: str, cache: State, registry: State) -> None:
    server.call("CONFIG", "SET", name, value)
    facts = await ask_redis(server.url, "sgw", PATIENCE)
    assert persistence(facts.servers[0], registry=False).state is cache
    assert persistence(facts.servers[0], registry=True).state is registry


def test_saving_that_fails_is_a_problem() -> None:
    failed = {"persistence": {"aof_enabled": 0, "rdb_last_bgsave_status": "err"}}
    assert persistence(ServerFacts(info=failed, snapshots="900 1"), registry=False).state is State.PROBLEM
    unwritten = {"persistence": {"aof_enabled": 1, "aof_last_write_status": "err"}}
    assert persistence(ServerFacts(info=unwritten), registry=False).state is State.PROBLEM
    unsaid = {"persistence": {"aof_enabled": 1}}
    assert persistence(ServerFacts(info=unsaid), registry=False).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"redis_version": "6.0.16"}, State.PROBLEM),
        ({"redis_version": "5.0.14"}, State.PROBLEM),
        ({"redis_version": "6.2.0"}, State.OK),
        ({"redis_version": "10.0.1"}, State.OK),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.2", "server_name": "valkey"}, State.OK),
        ({"redis_version": "unstable"}, State.UNKNOWN),
    ],
)
async def test_versions(server: RedisServer, changes: dict[str, str], state: State) -> None:
    (facts,) = (await ask_redis(server.url, "sgw", PATIENCE)).servers
    told = replace(facts, info={**facts.info, "server": {**facts.info["server"], **changes}})
    assert version(told, check="redis.version").state is state


async def test_a_clock_that_differs_is_told_with_its_way(server: RedisServer) -> None:
    late = await ask_redis(server.url, "sgw", PATIENCE, now=lambda: time.time() - 90)
    early = await ask_redis(server.url, "sgw", PATIENCE, now=lambda: time.time() + 90)
    for facts, way in ((late, "90.0 s behind"), (early, "ahead of")):
        finding = clock(facts.servers[0].clock)
        assert finding.state is State.WARNING
        assert way in finding.what or f" s {way}" in finding.what


@pytest.mark.parametrize(
    ("sent", "there", "received", "skew"),
    [(10, 10.5, 11, 0), (10, 9.9, 20, -0.1), (10, 20.1, 20, 0.1), (10, 15, 20, 0), (10, 40, 10, 30)],
)
def test_what_the_look_itself_took_is_no_skew(sent: float, there: float, received: float, skew: float) -> None:
    assert ClockReading(sent, there, received).skew == pytest.approx(skew)


def test_a_clock_that_may_not_be_read_is_unknown() -> None:
    assert clock(None).state is State.UNKNOWN


async def test_nothing_is_left_behind(server: RedisServer) -> None:
    server.call("FLUSHALL")
    await ask_redis(server.url, "sgw", PATIENCE)
    assert server.call("DBSIZE") == 0


async def test_what_cannot_be_used_is_one_problem_and_never_shows_the_password() -> None:
    needs_redis()
    with redis_server("right") as server:
        wrong = await ask_redis(f"redis://:hunter2@127.0.0.1:{server.port}/0", "sgw", PATIENCE)
        none = await ask_redis(f"redis://127.0.0.1:{server.port}/0", "sgw", PATIENCE)
        server.pause()
        silent = await ask_redis(server.url, "sgw", 0.3)
        server.resume()
    gone = await ask_redis(server.url, "sgw", PATIENCE)
    for facts in (wrong, none, silent, gone):
        (finding,) = redis_findings(facts, registry=False)
        assert (finding.check, finding.state) == ("redis.reach", State.PROBLEM)
        assert "hunter2" not in finding.what
    assert "no answer within 0.3 s" in silent.trouble
    assert gone.trouble == "Connection refused"


@pytest.mark.parametrize("kind", ["random-bytes", "wrong-shape", "deep-nesting", "http", "half-a-reply"])
async def test_nonsense_is_a_problem_too(server: RedisServer, kind: str) -> None:
    with chaos_proxy(server.port) as proxy:
        proxy.nonsense = kind
        facts = await ask_redis(proxy.url, "sgw", 0.5)
    assert facts.trouble


def test_of_a_cluster_the_worst_master_counts_and_is_named() -> None:
    good = {"memory": {"maxmemory_policy": "volatile-lfu", "maxmemory": 1_000}}
    bad = {"memory": {"maxmemory_policy": "allkeys-lru", "maxmemory": 1_000}}
    servers = (ServerFacts("a:1", good), ServerFacts("b:2", bad), ServerFacts("c:3", good))
    finding = only(list(redis_findings(RedisFacts("r", servers=servers), registry=False)), "redis.eviction")
    assert finding.state is State.WARNING
    assert finding.what.startswith("b:2: maxmemory-policy allkeys-lru")


@pytest.mark.skipif(CLI is None, reason="needs redis-cli")
async def test_sentinels_and_clusters_are_asked_too() -> None:
    needs_redis()
    with watched_redis() as watched:
        facts = await ask_redis(watched.url, "sgw", PATIENCE)
    assert (facts.trouble, facts.refused, len(facts.servers)) == ("", {}, 1)
    assert facts.place.startswith("redis+sentinel://127.0.0.1:")
    with redis_cluster() as cluster:
        cluster.nodes[0].call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        facts = await ask_redis(cluster.url, "sgw", PATIENCE)
    assert (facts.trouble, facts.refused, len(facts.servers)) == ("", {}, 3)
    finding = only(list(redis_findings(facts, registry=False)), "redis.eviction")
    assert finding.what.startswith(f"127.0.0.1:{cluster.nodes[0].port}: maxmemory-policy allkeys-lru")
