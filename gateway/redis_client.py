"""The connection to Redis: what all parts that share something share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.errors import CacheUnavailable, GatewayError
from gateway.redis_cluster import ClusterClient
from gateway.redis_commands import PooledClient
from gateway.redis_place import RedisPlace
from gateway.redis_pool import Pool
from gateway.redis_sentinel import SentinelPool

if TYPE_CHECKING:
    from gateway.settings import Settings

T = TypeVar("T")

MEMORY = "memory://"

Client = Redis

log = structlog.get_logger("gateway")


def connect(settings: Settings) -> Client:
    """A client for ``settings.redis_url``; opens no connection yet.

    Its pool blocks instead of failing when all its connections are in use, every command has a deadline, and
    none is repeated by the library: the parts know which of theirs may be. While Redis is silent, commands
    fail at once (circuit.py).
    """
    url = settings.redis_url.get_secret_value()
    if url == MEMORY:
        import fakeredis  # here, since whoever has a Redis starts sooner without it

        return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    password = settings.redis_sentinel_password.get_secret_value()
    return client_at(RedisPlace.parse(url), settings.redis_timeout, settings.redis_connections, password)


def client_at(place: RedisPlace, limit: float, connections: int, sentinel_password: str) -> Client:
    """A client of a Redis anywhere; each command takes at most ``limit`` seconds."""
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
    """The servers that hold its keys: one, or every master of a cluster. Raises redis-py's errors."""
    if not isinstance(client, ClusterClient):
        return [client]
    await client.nodes.look()
    return client.nodes.masters()


async def shielded(command: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """The result of a command that runs to its end even when its caller is cancelled.

    Cut off midway, a command leaves its reply to the next one on its connection (redis-py#2624), or swallows
    the cancellation.
    """
    task = asyncio.ensure_future(command)
    task.add_done_callback(_retrieve)
    return await asyncio.shield(task)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Takes what a command raised: where its caller has gone, asyncio would log it as never retrieved."""
    if not task.cancelled():
        task.exception()


@contextmanager
def redis_errors(client: Client | None = None) -> Iterator[None]:
    """Maps whatever goes wrong with Redis to CacheUnavailable; the message names no host.

    That includes what its parser stumbles over, and, where a reply is also read in here, a reply of the
    wrong shape; with the ``client`` given, its connections are then not used again.
    """
    try:
        yield
    except GatewayError:
        raise
    except (TimeoutError, RedisError, OSError) as error:
        raise CacheUnavailable(f"the shared cache did not answer ({type(error).__name__})") from error
    except Exception as error:
        log.debug("redis_reply_unusable", error=type(error).__name__)
        distrust = getattr(None if client is None else client.connection_pool, "distrust", None)
        if distrust is not None:
            distrust()
        raise CacheUnavailable(f"the shared cache answered nonsense ({type(error).__name__})") from error
