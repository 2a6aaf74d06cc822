"""Whether a Redis is fit for its use, by what it says of itself, and whether the gateways that share it agree."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.admin.doctor.finding import (
    Finding,
    State,
    counted,
    named,
    note,
    ok,
    problem,
    severity,
    unknown,
    warning,
)
from gateway.errors import ConfigurationError
from gateway.redis import client_at, servers_of
from gateway.redis_url import RedisPlace, masked_url
from gateway.settings import Settings
from gateway.tenants.registry import keyring_of
from gateway.upstream.pacing import Budget, Terms
from gateway.upstream.queue_state import QueueRules

SECTIONS = ("server", "memory", "persistence")
CONNECTIONS = 4
PROBE = """
redis.call('SET', KEYS[1], '1', 'PX', 1000)
redis.call('TIME')
redis.call('PUBLISH', KEYS[1], '')
return redis.call('DEL', KEYS[1])"""
"""The kinds of command that the gateway's scripts use, on a key that is deleted at once."""
OLDEST = (6, 2)
SKEW_SECONDS = 1.0
NEEDS = "needs Redis 6.2 or newer, or Valkey"
MICRO = 1e-6

Info = Mapping[str, Any]
Now = Callable[[], float]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Another clock's time, ``there``, read between two readings of ours; in seconds since the epoch."""

    sent: float
    there: float
    received: float

    @property
    def skew(self) -> float:
        """The least seconds by which the other clock is ahead of ours; negative where it is behind, 0 where the
        time that reading it took may explain the difference."""
        return max(0.0, self.there - self.received) + min(0.0, self.there - self.sent)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server, by its ``name`` in a cluster. ``info`` lacks the sections that may not be read; ``snapshots`` is
    its ``save`` setting, None where that may not be read."""

    name: str = ""
    info: Mapping[str, Info] = field(default_factory=dict)
    clock: ClockReading | None = None
    snapshots: str | None = None


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """A Redis: one server, or the masters of a cluster. ``prefix`` begins the gateway's keys and messages.

    ``trouble`` is why it could not be asked; ``refused`` is why it lets the gateway not do what it needs to.
    """

    place: str
    prefix: str = "sgw"
    trouble: str = ""
    servers: tuple[ServerFacts, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


async def ask_redis(
    url: str, prefix: str, timeout: float, *, sentinel_password: str = "", now: Now = time.time
) -> RedisFacts:
    """Ask a Redis about itself over the gateway's own kind of connection. Never raises.

    Each command takes at most ``timeout`` seconds.
    """
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
    with suppress(ResponseError):  # any answer will do, even that we may not ask
        await client.ping()


async def _server(client: Redis, now: Now) -> ServerFacts:
    host, port = getattr(client.connection_pool, "address", ("", ""))
    sections = {each: await _permitted(client.info(each)) for each in SECTIONS}
    sent = now()
    moment = await _permitted(client.time())
    clock = None if moment is None else ClockReading(sent, int(moment[0]) + int(moment[1]) * MICRO, now())
    snapshots = (await _permitted(client.config_get("save")) or {}).get("save")
    info = {section: fields for section, fields in sections.items() if fields is not None}
    return ServerFacts(f"{host}:{port}", info, clock, None if snapshots is None else str(snapshots))


async def _permitted(command: Awaitable[T]) -> T | None:
    """A command's reply; None where we may not give it: managed servers forbid CONFIG."""
    try:
        return await command
    except ResponseError:
        return None


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
    """An error in the operating system's words where it is the cause: the library's are a riddle."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
        return os.strerror(cause.errno)
    return " ".join(str(error).split())[:200] or type(error).__name__


def redis_findings(facts: RedisFacts, *, registry: bool) -> Iterator[Finding]:
    """Findings on the cache's Redis, which holds the ``registry`` too or does not."""
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
    """Findings on a Redis for the registry alone; reading the registry finds out whether it answers."""
    if facts.trouble:
        return
    yield from _each(
        facts,
        partial(version, check="registry.version"),
        partial(eviction, registry=True, check="registry.eviction"),
        partial(persistence, registry=True, check="registry.persistence"),
    )


def version(server: ServerFacts, *, check: str) -> Finding:
    info = server.info.get("server", {})
    kind, text = "Redis", info.get("redis_version")
    if "valkey_version" in info:
        kind, text = "Valkey", info["valkey_version"]
    found = re.match(r"(\d+)\.(\d+)", str(text))
    if text is None or found is None:
        return unknown(
            check, "which version of Redis this is may not be read (INFO server)", f"the gateway {NEEDS}"
        )
    if kind == "Redis" and (int(found[1]), int(found[2])) < OLDEST:
        return problem(check, f"this is {kind} {text}; the gateway {NEEDS}", "replace it by a newer one")
    return ok(check, f"this is {kind} {text}")


def eviction(server: ServerFacts, *, registry: bool, check: str = "redis.eviction") -> Finding:
    """Whether tenants, the queue and purge marks stay when memory is short."""
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
    """Whether a restart loses anything, and whether saving fails, which stops all writes."""
    info = server.info.get("persistence", {})
    if info.get("aof_enabled"):
        return _saving(check, "an append-only file", info.get("aof_last_write_status"))
    if server.snapshots or info.get("rdb_saves"):
        return _saving(check, "snapshots", info.get("rdb_last_bgsave_status"))
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


def _saving(check: str, how: str, status: object) -> Finding:
    if status is None:
        return unknown(check, f"Redis keeps its data in {how}; whether the last write of it succeeded is not said")
    if status == "ok":
        return ok(check, f"Redis keeps its data in {how}")
    return problem(
        check,
        f"Redis failed to write {how} lately, and then refuses to store anything",
        "see its log: most often a disk is full or may not be written",
    )


def clock(reading: ClockReading | None) -> Finding:
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
    refusals = "; ".join(f"{what}: {why}" for what, why in facts.refused.items())
    return problem(
        "redis.permissions",
        f"{facts.place} refuses the gateway ({refusals})",
        "use a writable primary, and an ACL user like: "
        f"~{facts.prefix}:* &{facts.prefix}:* +@all -@admin -@dangerous +info",
    )


def _each(facts: RedisFacts, *checks: Callable[[ServerFacts], Finding]) -> Iterator[Finding]:
    """The worst finding of each check among the servers, with the server's name if there are several."""
    for check in checks:
        found = [(check(server), server.name) for server in facts.servers]
        finding, name = max(found, key=lambda each: severity(each[0].state))
        several = len(found) > 1 and finding.state is not State.OK
        yield replace(finding, what=f"{name}: {finding.what}") if several else finding


# The gateways that share a Redis


async def ask_fleet(settings: Settings) -> list[Terms] | None:
    """The terms of each process of the fleet's last sign of life; None where Redis does not say.

    Processes that all ended together still count.
    """
    password = settings.redis_sentinel_password.get_secret_value()
    place = RedisPlace.parse(settings.redis_url.get_secret_value())
    client = client_at(place, settings.redis_timeout, CONNECTIONS, password)
    key = f"{settings.redis_prefix}:{{queue}}"
    try:
        last: Any = await client.hget(f"{key}:fleet", "last")
        since = float(last or 0) - QueueRules().dead_after / MICRO
        living: Any = await client.zrangebyscore(f"{key}:live", since, "+inf")
        terms: Any = await client.hgetall(f"{key}:terms")
        return [Terms.parse(terms[each].decode()) for each in living if each in terms]
    except (RedisError, OSError, TimeoutError, ValueError):
        return None
    finally:
        await client.aclose()


def fleet_findings(fleet: list[Terms] | None, settings: Settings) -> Iterator[Finding]:
    """Findings on the processes that share a Redis: whether ``fleet_size`` allows for them, and their terms."""
    if fleet is None:
        yield unknown("fleet.size", "which gateways share this Redis could not be read")
        return
    if not fleet:
        yield note("fleet.size", "no gateway was seen on this Redis")
        return
    size = f"{counted(len(fleet), 'process')} last seen on this Redis; fleet_size is {settings.fleet_size}"
    if len(fleet) <= max(settings.fleet_size, settings.workers):
        yield ok("fleet.size", size)
    else:
        yield warning(
            "fleet.size",
            f"{size}, so that those which start without Redis would ask the service too fast",
            "set STATS_GATEWAY_FLEET_SIZE to the most replicas there may be, times workers",
        )
    if differing := terms_of(settings).differing(tuple(fleet)):
        yield problem(
            "fleet.agreement",
            f"processes on this Redis have another {named(differing)} than these settings",
            "give all gateways on one Redis the same, or another redis_prefix; the lowest budget holds meanwhile",
        )
    else:
        key = " and this encryption key" if terms_of(settings).mark else ""
        yield ok("fleet.agreement", f"all of them have this budget{key}")


def terms_of(settings: Settings) -> Terms:
    """The terms of a gateway with these settings."""
    try:
        mark = "" if settings.profile == "generic" else keyring_of(settings).vault().mark
    except ConfigurationError:
        mark = ""
    return Terms(*Budget(settings.budget_interval, settings.budget_burst).arguments, mark)
