"""RedisFacts: what a Redis says of itself, as far as it may be asked."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.masking import masked_url
from gateway.redis_client import client_at, servers_of
from gateway.redis_place import RedisPlace

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
class Reading:
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
    clock: Reading | None = None
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


async def _clock(client: Redis, now: Now) -> Reading | None:
    try:
        sent = now()
        seconds, micros = await client.time()
        return Reading(sent, int(seconds) + int(micros) * 1e-6, now())
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
