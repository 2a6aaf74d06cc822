"""A real cluster, and what its client makes of slots on the move, odd topologies, and nodes that are gone."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import httpx2 as httpx
import pytest
from pydantic import SecretStr
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.cache.purges import EVERYTHING, Purges, preview
from gateway.derivation.trust import Check, Verdict
from gateway.derivation.trust_store import Place, TrustStore
from gateway.errors import CacheUnavailable
from gateway.observe.counters import DayCounters
from gateway.observe.outcome import Outcome
from gateway.redis import Invocation, Script, connect, invoke, invoke_all, redis_errors, text
from gateway.redis_cluster import ClusterClient, owners_of, slot_of
from gateway.settings import Settings
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair, TenantLimits
from tests.cache.test_preview import known, stored
from tests.integration.stage import get, staged
from tests.integration.test_jobs_fleet import check, followed, ordered
from tests.loopback import LOOPBACK
from tests.observe.counting import answered
from tests.redis_fleet import ClusterOfServers, redis_cluster
from tests.redis_server import RedisServer, free_port
from tests.tenants.limits.test_limiter import settled
from tests.tenants.places import KEY

SET = Script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])", "")
KEYS = [f"key-{number}" for number in range(60)]


@pytest.fixture(scope="module")
def cluster(shared_redis: RedisServer) -> Iterator[ClusterOfServers]:
    with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: ClusterOfServers) -> AsyncIterator[ClusterClient]:
    found = connect(Settings(redis_url=SecretStr(cluster.url), redis_timeout=20))
    assert isinstance(found, ClusterClient)
    yield found
    await found.aclose()


def script() -> Script:
    return Script(SET.source, hashlib.sha1(SET.source.encode(), usedforsecurity=False).hexdigest())


async def test_keys_are_found_on_whichever_node_they_are(client: ClusterClient) -> None:
    for key in KEYS:
        assert await client.set(key, key)
    assert [await client.get(key) for key in KEYS] == [key.encode() for key in KEYS]
    assert await client.mget("{a}1", "{a}2") == [None, None]
    assert len(client.nodes.masters()) == 3


async def test_scripts_reach_every_node_also_one_that_never_saw_them(client: ClusterClient) -> None:
    invocations = [Invocation(script(), key, (key,)) for key in KEYS]
    assert await invoke_all(client, invocations) == [key.encode() for key in KEYS]


async def test_a_slot_on_the_move_is_asked_for_where_its_key_is(
    cluster: ClusterOfServers, client: ClusterClient
) -> None:
    """The source answers ASK for what it has no more; ASKING and the command share a connection, many at once."""
    tag = "{moving}"
    slot, source = key_slot(tag.encode()), cluster.owner(tag)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    ids = {node.port: node.call("CLUSTER", "MYID").decode() for node in (source, target)}
    await client.set(f"{tag}stays", "1")
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    try:
        names = [f"{tag}{number}" for number in range(100)]
        assert all(await asyncio.gather(*(client.set(name, name) for name in names)))
        assert await asyncio.gather(*(client.get(name) for name in names)) == [name.encode() for name in names]
        assert await client.get(f"{tag}stays") == b"1"
        assert await invoke(client, Invocation(script(), f"{tag}script", ("x",)), text) == b"x"
    finally:
        target.call("CLUSTER", "SETSLOT", slot, "STABLE")
        source.call("CLUSTER", "SETSLOT", slot, "STABLE")


async def test_a_moved_slot_is_followed_at_once(cluster: ClusterOfServers, client: ClusterClient) -> None:
    await client.set("followed", "1")
    owners, slot = client.nodes._owners, key_slot(b"followed")
    right = owners[slot]
    owners[slot] = next(each for each in owners if each != right)
    assert await client.get("followed") == b"1"
    assert client.nodes._owners[slot] == right


async def test_the_parts_that_use_pipelines_and_scans_work_in_a_cluster(
    client: ClusterClient, prefix: str
) -> None:
    usage = DayCounters(client, prefix, days=3)
    answered(usage, Outcome.HIT, key_id="aaaaaaaaaa")
    await usage.flush()
    assert set(await usage.last_used(["aaaaaaaaaa"])) == {"aaaaaaaaaa"}
    await stored(client, prefix, *(f"/total/views/article/{number}" for number in range(30)))
    look = await preview(client, prefix, EVERYTHING, known)
    assert (look.matching, look.complete) == (30, True)
    assert await Purges(client, prefix).purge(EVERYTHING, hard=True) > 0


async def test_limits_of_callers_whose_records_are_on_several_nodes_are_renewed(
    client: ClusterClient, prefix: str
) -> None:
    admission = RateLimiter(client, prefix, lambda: 1)
    limits = TenantLimits(requests_per_second=1_000)
    await asyncio.gather(*(admission.admit(f"caller-{number}", limits) for number in range(12)))
    leases = list(admission._leases.values())
    for lease in leases:
        await settled(lease)
    assert all(lease.tokens and not lease.failed and not lease.local.owed for lease in leases)


async def test_trust_in_derivations_is_kept_on_whichever_nodes(client: ClusterClient, prefix: str) -> None:
    store, places = TrustStore(client, prefix), [Place("public", f"i{number}") for number in range(6)]
    check = Check("/1", Verdict.EQUAL, 1.0)
    for place in places:
        await store.change(place, "listed", lambda trust: trust.after(check, 60), 0.0)
    assert [(await store.of(place, 0.0))["listed"].row for place in places] == [1] * 6
    assert {*await store.places()} == {*places}
    assert [await store.permit("ask", 60.0) == 0.0 for _ in range(2)] == [True, False]


async def test_a_message_reaches_whoever_listens_at_any_node(client: ClusterClient, prefix: str) -> None:
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(prefix)
        assert (await pubsub.get_message(timeout=5.0))["type"] == "subscribe"
        for node in client.nodes.masters():
            await node.publish(prefix, "news")
            assert (await pubsub.get_message(timeout=5.0))["data"] == b"news"


async def test_a_cluster_that_is_not_there_is_an_error_of_ours() -> None:
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    client = connect(Settings(redis_url=SecretStr(url), redis_timeout=0.5))
    for _ in range(3):
        with pytest.raises(CacheUnavailable), redis_errors(client):
            await client.get("key")
    await client.aclose()


async def test_a_single_server_is_no_cluster(shared_redis: RedisServer) -> None:
    client = connect(Settings(redis_url=SecretStr(f"redis+cluster://127.0.0.1:{shared_redis.port}")))
    with pytest.raises(CacheUnavailable), redis_errors(client):
        await client.get("key")
    await client.aclose()


@pytest.mark.parametrize(
    "odd", [None, 7, b"x", [[0]], [[0, 1, None]], [["a", "b", [b"h", 1]]], [[0, 99_999, [b"h", 1]]]]
)
def test_a_topology_that_is_none_is_refused(odd: object) -> None:
    with pytest.raises(RedisConnectionError):
        owners_of(odd, "h")


def test_commands_are_sent_by_their_first_key() -> None:
    assert slot_of(("EVALSHA", "sha", 1, "{a}b", "c")) == slot_of(("GET", b"a")) == key_slot(b"a")
    assert slot_of(("PING",)) is None


def test_a_job_in_a_cluster_outlives_its_leader(cluster: ClusterOfServers) -> None:
    place = {"redis_url": cluster.url, "redis_timeout": 20, "budget": "20/s", "fleet_size": 2}
    with staged("--no-examples", "--latency", "0.1", **place) as stage, ExitStack() as stack:
        stage.tenant("lib", "lboro")
        leader, other = stage.serve_several(2)
        path, _ = ordered(stage, leader, stack)
        leader.kill()
        check(stage, followed(stage, other, path), twice=3)
        url, key = other.url + path, {"X-API-Key": stage.keys["lib"]}
        assert [job["state"] for job in get(other.url + "/-/jobs", headers=key).json()["jobs"]] == ["done"]
        assert httpx.delete(url, headers=key, timeout=20, **LOOPBACK).status_code == 204
        assert get(url, headers=key).status_code == 404


def test_the_registry_can_be_in_a_cluster(cluster: ClusterOfServers, prefix: str) -> None:
    settings = Settings(
        registry=SecretStr(cluster.url),
        redis_prefix=prefix,
        encryption_keys=SecretStr(KEY),
    )
    editor, follower = open_registry(settings), open_registry(settings)
    follower.load()
    editor.add("reports", "Reports", Pair("lboro", "lboro", "secret"))
    key = editor.add_key("reports")
    assert follower.refresh()
    assert list(follower.directory.tenants) == ["reports"]
    assert key.split("_")[1] in follower.directory.tenants["reports"].keys
    assert follower.notes() is not None
