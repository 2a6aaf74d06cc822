"""Redis: the client, Lua scripts, the fleet's clock, and the sweeper of ``memory://``."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from gateway.errors import CacheUnavailable, GatewayError
from gateway.redis_cluster import ClusterClient, SentinelPool
from gateway.redis_pool import Pool, PooledClient
from gateway.redis_url import RedisPlace

if TYPE_CHECKING:
    from gateway.settings import Settings


T = TypeVar("T")

MEMORY = "memory://"

Client = Redis

log = structlog.get_logger("gateway")


def connect(settings: Settings) -> Client:
    """A client for ``settings.redis_url``; opens no connection yet.

    Its pool blocks instead of failing when all its connections are in use, every command has a deadline, and none
    is repeated by the library: callers know which of theirs may be. While Redis is silent, commands fail at once.
    """
    url = settings.redis_url.get_secret_value()
    if url == MEMORY:
        import fakeredis  # late: with a Redis the start is faster without it

        return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    password = settings.redis_sentinel_password.get_secret_value()
    return client_at(RedisPlace.parse(url), settings.redis_timeout, settings.redis_connections, password)


def client_at(place: RedisPlace, limit: float, connections: int, sentinel_password: str) -> Client:
    """A client for a place; each command takes at most ``limit`` seconds."""
    match place.kind:
        case "cluster":
            return ClusterClient(place, limit, connections)
        case "sentinel":
            return PooledClient.from_pool(SentinelPool(place, limit, connections, sentinel_password))
        case "one":
            return PooledClient.from_pool(Pool(place, place.hosts[0], limit, connections))
        case _:
            assert_never(place.kind)


async def servers_of(client: Client) -> list[Client]:
    """Clients of the servers that hold the keys: one, or every master of a cluster. Raises redis-py's errors."""
    if not isinstance(client, ClusterClient):
        return [client]
    await client.nodes.look()
    return client.nodes.masters()


async def shielded(command: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """The result of a command that runs to its end even when its caller is cancelled.

    A command cancelled midway leaves its reply to the next one on its connection (redis-py#2624), or swallows the
    cancellation.
    """
    task = asyncio.ensure_future(command)
    task.add_done_callback(_retrieve)
    return await asyncio.shield(task)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Retrieve the exception, which asyncio would log where the caller was cancelled."""
    if not task.cancelled():
        task.exception()


@contextmanager
def redis_errors(client: Client | None = None) -> Iterator[None]:
    """Map every failure of Redis to CacheUnavailable; the message names no host.

    That includes errors of its parser and, where a reply is also read in here, a reply of the wrong shape; with
    the ``client`` given, its connections are then not used again.
    """
    try:
        yield
    except GatewayError:
        raise
    except (TimeoutError, RedisError, OSError) as error:
        raise CacheUnavailable(f"Redis does not answer ({type(error).__name__})") from error
    except Exception as error:
        log.debug("redis_reply_unusable", error=type(error).__name__)
        distrust = getattr(None if client is None else client.connection_pool, "distrust", None)
        if distrust is not None:
            distrust()
        raise CacheUnavailable(f"Redis answers nonsense ({type(error).__name__})") from error


Argument = bytes | str | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """A script's source and its SHA-1, the name by which Redis knows it."""

    source: str
    sha: str

    @classmethod
    def load(cls, package: str, *names: str, prelude: str = "") -> Script:
        """Read the named files of a package, joined, as one script that begins with ``prelude``."""
        texts = (files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
        source = prelude + "\n".join(texts)
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a script: its key, or several on one server, and its arguments. ``heard`` is called with each
    reply."""

    script: Script
    key: str
    args: tuple[Argument, ...]
    heard: Callable[[Any], object] = field(default=lambda _: None, compare=False, repr=False)
    more_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key, *self.more_keys)


async def invoke(client: Client, invocation: Invocation, read: Callable[[Any], T]) -> T:
    """Run one script, and ``read`` its reply. Raises CacheUnavailable, also for a reply that cannot be read."""
    with redis_errors(client):
        return read((await invoke_all(client, [invocation]))[0])


async def execute(client: Client, read: Callable[[Any], T], *command: Argument) -> T:
    """Run one command, and ``read`` its reply. Raises as ``invoke``."""
    with redis_errors(client):
        return read(await shielded(client.execute_command(*command)))  # type: ignore[no-untyped-call]


def ignored(reply: object) -> None:
    """Read a reply that says nothing."""


def flag(reply: object) -> bool:
    """Read 0 or 1."""
    if reply not in (0, 1):
        raise TypeError("neither 0 nor 1")
    return bool(reply)


def text(reply: object) -> bytes | None:
    """Read a string, or nothing."""
    if reply is not None and not isinstance(reply, bytes):
        raise TypeError("no string")
    return reply


async def invoke_all(client: Client, invocations: Sequence[Invocation]) -> list[Any]:
    """Run scripts in order, in one round trip; in a Cluster in one each, since their keys are on several nodes.

    A script that Redis has not seen (a new server, a failover) is sent whole; since a later one may have run
    before it then, callers put last what announces the others' work, and each script tolerates a repetition.
    Raises CacheUnavailable when any of them fails.
    """
    with redis_errors(client):
        if len(invocations) == 1 or isinstance(client, ClusterClient):
            return [await shielded(_one(client, each)) for each in invocations]
        return await shielded(_several(client, invocations))


async def _several(client: Client, invocations: Sequence[Invocation]) -> list[Any]:
    pipe = client.pipeline(transaction=False)
    for each in invocations:
        pipe.evalsha(each.script.sha, len(each.keys), *each.keys, *each.args)
    replies = list(await pipe.execute(raise_on_error=False))
    for i, reply in enumerate(replies):
        if _unknown(reply):
            replies[i] = await _whole(client, invocations[i])
        elif isinstance(reply, Exception):
            raise reply
        invocations[i].heard(replies[i])
    return replies


async def _one(client: Client, invocation: Invocation) -> Any:
    keys = invocation.keys
    try:
        reply = await client.evalsha(invocation.script.sha, len(keys), *keys, *invocation.args)
    except ResponseError as error:
        if not _unknown(error):
            raise
        reply = await _whole(client, invocation)
    invocation.heard(reply)
    return reply


async def _whole(client: Client, invocation: Invocation) -> Any:
    keys = invocation.keys
    return await client.eval(invocation.script.source, len(keys), *keys, *invocation.args)


def _unknown(reply: object) -> bool:
    return isinstance(reply, NoScriptError) or (
        isinstance(reply, ResponseError) and str(reply).startswith("NOSCRIPT")
    )


LEAP = 1.5
"""Seconds by which a time may be ahead of ours and still be believed, as in prelude.lua."""
INSTANT = 1e-6


class Clock:
    """This machine's clock, corrected to Redis's by each heartbeat, so that replicas agree on ages.

    Redis's clock may step. It is ``skew`` seconds behind the fleet's own time, which never does
    (``lua/prelude.lua``): ``order`` is by that one, and changes of ``skew`` reveal a step.
    """

    def __init__(self) -> None:
        self.skew = 0.0
        self._offset = 0.0
        self._reached = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def order(self) -> float:
        """Seconds of the fleet's own time, which never goes back."""
        return self.now() + self.skew

    def sync(self, fleet: float, skew: float) -> bool:
        """Adopt the time ``fleet`` of Redis's clock; whether it stepped since the last time."""
        stepped, self.skew = skew != self.skew, skew
        self._offset = fleet - time.time()
        self.reached(self._reached)
        return stepped

    def reached(self, order: float) -> None:
        """Move on to a time that the fleet's own clock has reached.

        A heartbeat's reply takes time, and our clock is behind by that: a call dispatched after a purge would
        count as dispatched before it, and what a purge made stale would be fresh for a moment more.
        """
        behind = order - self.order()
        if behind >= LEAP:
            return
        self._reached = max(self._reached, order)
        if behind >= 0:
            self._offset += behind + INSTANT


SWEEP_SECONDS = 5.0
PAGE = 500
KEEP = 0.9


class Sweeper:
    """Keeps ``memory://`` within ``max_bytes``, since the embedded Redis evicts nothing: a walk over all keys
    drops the expired ones, and above the bound the entries with the least time to live until a tenth is free."""

    def __init__(self, client: Client, prefix: str, max_bytes: int) -> None:
        self._client = client
        self._match = f"{prefix}:*"
        self._entries = re.compile(re.escape(f"{prefix}:{{".encode()) + rb"[0-9a-f]{40}\}")
        self._max_bytes = max_bytes

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """Walk once; the bytes that remain. Raises CacheUnavailable."""
        with redis_errors():
            sizes = await self._sizes()
            total = sum(size for size, _ in sizes.values())
            if total <= self._max_bytes:
                return total
            for key, (size, _) in sorted(sizes.items(), key=lambda item: item[1][1]):
                if total <= self._max_bytes * KEEP:
                    break
                await self._client.delete(key)
                total -= size
            return total

    async def _sizes(self) -> dict[bytes, tuple[int, int]]:
        """The size in bytes and time to live in milliseconds of every entry."""
        sizes: dict[bytes, tuple[int, int]] = {}
        cursor = 0
        while True:
            cursor, keys = await self._client.scan(cursor, match=self._match, count=PAGE)
            for name in keys:
                key = name if isinstance(name, bytes) else name.encode()
                left = await self._client.pttl(key)
                if self._entries.match(key):
                    sizes[key] = (await self._client.strlen(key), left)
            await asyncio.sleep(0)
            if cursor == 0:
                return sizes
