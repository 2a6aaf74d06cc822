"""Whether a Redis is fit for what it is used for. Pure.

RedisFacts: what a Redis says of itself, as far as it may be asked.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.admin.doctor.finding import Finding, State, note, ok, problem, severity, unknown, warning
from gateway.redis import client_at, servers_of
from gateway.redis_url import RedisPlace, masked_url

SECTIONS = ("server", "memory", "persistence")
CONNECTIONS = 4
PROBE = """
redis.call('SET', KEYS[1], '1', 'PX', 1000)
redis.call('TIME')
redis.call('PUBLISH', KEYS[1], '')
return redis.call('DEL', KEYS[1])"""
"""The kinds of command that the gateway's scripts use, on a key that is gone at once."""

Info = Mapping[str, Any]
Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What another clock showed, ``there``, between two looks at ours; seconds since the epoch."""

    sent: float
    there: float
    received: float

    @property
    def skew(self) -> float:
        """Seconds by which the other clock is ahead of ours at least; negative where it is behind, 0 where the
        time that the look took may explain it all."""
        return max(0.0, self.there - self.received) + min(0.0, self.there - self.sent)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server: of ``info`` a section is missing that may not be read; ``snapshots`` is its ``save`` setting,
    None where that may not be read. ``name`` tells it from others of a cluster."""

    name: str = ""
    info: Mapping[str, Info] = field(default_factory=dict)
    clock: ClockReading | None = None
    snapshots: str | None = None


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """A Redis: one server, or the masters of a cluster. ``prefix`` begins the gateway's keys and messages there.

    ``trouble`` says why it could not be asked, ``refused`` why it does not do what the gateway needs, by what that
    is.
    """

    place: str
    prefix: str = "sgw"
    trouble: str = ""
    servers: tuple[ServerFacts, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


async def ask_redis(
    url: str, prefix: str, timeout: float, *, sentinel_password: str = "", now: Now = time.time
) -> RedisFacts:
    """Asks a Redis about itself, with the gateway's own kind of connection; each command takes at most ``timeout``
    seconds. Never raises."""
    client = client_at(RedisPlace.parse(url), timeout, CONNECTIONS, sentinel_password)
    place = masked_url(url)
    try:
        await _greet(client)
        servers = [await _server(each, now) for each in await servers_of(client)]
        if not servers:
            return RedisFacts(place, prefix, "the cluster has no slots yet")
        return RedisFacts(place, prefix, "", tuple(servers), await _refused(client, prefix, timeout))
    except TimeoutError:
        return RedisFacts(place, prefix, f"no answer within {timeout:g} s")
    except (RedisError, OSError) as error:
        return RedisFacts(place, prefix, _said(error))
    except Exception as error:
        return RedisFacts(place, prefix, f"it answers nonsense ({type(error).__name__})")
    finally:
        await client.aclose()


async def _greet(client: Redis) -> None:
    with suppress(ResponseError):  # it answers, be it that we may not ask
        await client.ping()


async def _server(client: Redis, now: Now) -> ServerFacts:
    host, port = getattr(client.connection_pool, "address", ("", ""))
    info = {section: told for section in SECTIONS if (told := await _info(client, section)) is not None}
    return ServerFacts(f"{host}:{port}", info, await _clock(client, now), await _snapshots(client))


async def _info(client: Redis, section: str) -> Info | None:
    try:
        told: Info = await client.info(section)
    except ResponseError:
        return None
    return told


async def _clock(client: Redis, now: Now) -> ClockReading | None:
    try:
        sent = now()
        seconds, micros = await client.time()
        return ClockReading(sent, int(seconds) + int(micros) * 1e-6, now())
    except ResponseError:
        return None


async def _snapshots(client: Redis) -> str | None:
    """Managed servers forbid CONFIG: then nobody knows."""
    try:
        told = await client.config_get("save")
    except ResponseError:
        return None
    value = told.get("save")
    return None if value is None else str(value)


async def _refused(client: Redis, prefix: str, timeout: float) -> dict[str, str]:
    key = f"{prefix}:{{doctor}}:{secrets.token_hex(6)}"
    attempts: dict[str, Awaitable[Any]] = {
        "to read": client.mget([key, key]),
        "to run scripts that write": client.eval(PROBE, 1, key),
        "to subscribe": _subscribe(client, key, timeout),
    }
    refused = {}
    for name, attempt in attempts.items():
        try:
            await attempt
        except ResponseError as error:
            refused[name] = _said(error)
    return refused


async def _subscribe(client: Redis, key: str, timeout: float) -> None:
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(key)
        await pubsub.get_message(timeout=timeout)


def _said(error: BaseException) -> str:
    """In the system's words where they are the cause: the library's are a riddle."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return " ".join(str(error).split())[:200] or type(error).__name__


OLDEST = (6, 2)
SKEW_SECONDS = 1.0
NEEDS = "needs Redis 6.2 or newer, or Valkey"

Check = Callable[[ServerFacts], Finding]


def redis_findings(facts: RedisFacts, *, registry: bool) -> Iterator[Finding]:
    """What is to be said of the Redis of the cache, which also holds the registry or does not."""
    if facts.trouble:
        yield problem(
            "redis.reach",
            f"{facts.place} cannot be used: {facts.trouble}",
            "start it, or set STATS_GATEWAY_REDIS_URL; until then every process has a cache of its own",
        )
        return
    yield _permissions(facts)
    yield from _each(
        facts,
        partial(version, check="redis.version"),
        partial(eviction, registry=registry),
        partial(persistence, registry=registry),
        lambda server: clock(server.clock),
    )


def registry_findings(facts: RedisFacts) -> Iterator[Finding]:
    """What is to be said of a Redis that holds the registry alone; that it cannot be read, the reading says."""
    if facts.trouble:
        return
    yield from _each(
        facts,
        partial(version, check="registry.version"),
        partial(eviction, registry=True, check="registry.eviction"),
        partial(persistence, registry=True, check="registry.persistence"),
    )


def version(server: ServerFacts, *, check: str) -> Finding:
    """Whether it is one that the gateway works with."""
    told = server.info.get("server", {})
    kind, text = "Redis", told.get("redis_version")
    if "valkey_version" in told:
        kind, text = "Valkey", told["valkey_version"]
    found = re.match(r"(\d+)\.(\d+)", str(text))
    if text is None or found is None:
        return unknown(
            check, "which version of Redis this is may not be read (INFO server)", f"the gateway {NEEDS}"
        )
    if kind == "Redis" and (int(found[1]), int(found[2])) < OLDEST:
        return problem(check, f"this is {kind} {text}; the gateway {NEEDS}", "replace it by a newer one")
    return ok(check, f"this is {kind} {text}")


def eviction(server: ServerFacts, *, registry: bool, check: str = "redis.eviction") -> Finding:
    """Whether what must stay stays when memory is short: tenants, the queue, purge marks."""
    memory = server.info.get("memory", {})
    policy = memory.get("maxmemory_policy")
    if not memory and registry:
        return problem(
            check,
            "whether Redis may evict tenants may not be read (INFO memory), and no gateway starts without",
            "allow the gateway's user INFO: ACL SETUSER … +info",
        )
    if policy is None:
        return unknown(
            check,
            "which keys Redis evicts when memory is short may not be read (INFO memory)",
            "make sure that maxmemory-policy is a volatile-… one",
        )
    if str(policy).startswith("allkeys") and registry:
        return problem(
            check,
            f"maxmemory-policy {policy} may evict tenants, and no gateway starts on it",
            "set maxmemory-policy volatile-lru, or give the registry a Redis of its own",
        )
    if str(policy).startswith("allkeys"):
        return warning(
            check,
            f"maxmemory-policy {policy} may evict the queue, purge marks and holds before any answer",
            "set maxmemory-policy volatile-lru: answers go first then, since they have a TTL",
        )
    return _room(check, str(policy), memory, registry=registry)


def _room(check: str, policy: str, memory: Info, *, registry: bool) -> Finding:
    limit = memory.get("maxmemory", 0)
    if not limit:
        return note(
            check,
            f"maxmemory-policy {policy}, but no maxmemory: Redis takes what memory there is",
            "set maxmemory, with maxmemory-policy volatile-lru",
        )
    if policy == "noeviction" and check.startswith("redis"):
        used = 100 * int(memory.get("used_memory", 0)) // int(limit)
        return warning(
            check,
            f"maxmemory-policy noeviction: once its memory is full ({used} % is), Redis stores nothing more",
            "set maxmemory-policy volatile-lru" + (", which keeps tenants: they have no TTL" if registry else ""),
        )
    return ok(check, f"maxmemory-policy {policy}: what must stay stays")


def persistence(server: ServerFacts, *, registry: bool, check: str = "redis.persistence") -> Finding:
    """Whether a restart of Redis loses anything, and whether saving fails, which stops all writes."""
    told = server.info.get("persistence", {})
    if told.get("aof_enabled"):
        return _saving(check, "an append-only file", str(told.get("aof_last_write_status", "ok")))
    if server.snapshots or told.get("rdb_saves"):
        return _saving(check, "snapshots", str(told.get("rdb_last_bgsave_status", "ok")))
    if server.snapshots is None:
        return unknown(check, "whether Redis keeps its data over a restart may not be read (CONFIG GET save)")
    if registry:
        return warning(
            check,
            "Redis saves nothing: a restart of it loses all tenants",
            "turn on appendonly, or save; and keep an export: stats-gateway tenant export",
        )
    return note(
        check,
        "Redis saves nothing: a restart of it loses the answers, usage, purge marks and holds",
        "turn on appendonly where that matters; the gateway goes on working either way",
    )


def _saving(check: str, how: str, status: str) -> Finding:
    if status == "ok":
        return ok(check, f"Redis keeps its data in {how}")
    return problem(
        check,
        f"Redis failed to write {how} lately, and then refuses to store anything",
        "see its log: most often a disk is full or may not be written",
    )


def clock(reading: ClockReading | None) -> Finding:
    """Whether this machine and Redis agree on what time it is."""
    check = "redis.clock"
    if reading is None:
        return unknown(check, "what time it is for Redis may not be read (TIME), but the gateway goes by it")
    skew = reading.skew
    if abs(skew) <= SKEW_SECONDS:
        return ok(check, "the clocks of Redis and this machine agree")
    way = "behind" if skew > 0 else "ahead of"
    return warning(
        check,
        f"this machine's clock is {abs(skew):.1f} s {way} Redis's, by which the fleet goes",
        "synchronise both with a time server (NTP): keys would end, and days begin, at the wrong time",
    )


def _permissions(facts: RedisFacts) -> Finding:
    if not facts.refused:
        return ok(
            "redis.permissions", f"{facts.place} lets the gateway read, run scripts that write, and subscribe"
        )
    told = "; ".join(f"{what}: {why}" for what, why in facts.refused.items())
    return problem(
        "redis.permissions",
        f"{facts.place} refuses the gateway ({told})",
        "use a writable primary, and an ACL user like: "
        f"~{facts.prefix}:* &{facts.prefix}:* +@all -@admin -@dangerous +info",
    )


def _each(facts: RedisFacts, *checks: Check) -> Iterator[Finding]:
    """For each check what is worst among the servers; of several it names the one that it is about."""
    for check in checks:
        found = [(check(server), server.name) for server in facts.servers]
        finding, name = max(found, key=lambda each: severity(each[0].state))
        several = len(found) > 1 and finding.state is not State.OK
        yield replace(finding, what=f"{name}: {finding.what}") if several else finding
