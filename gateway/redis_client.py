"""The connection to Redis: what all parts that share something share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import fakeredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.errors import CacheUnavailable

if TYPE_CHECKING:
    from gateway.settings import Settings

T = TypeVar("T")

MEMORY = "memory://"

Client = Redis


def connect(settings: Settings) -> Client:
    """A client for ``settings.redis_url``; opens no connection yet.

    The pool blocks instead of failing when all its connections are in use, every command has a timeout, and
    none is retried by the library: the parts know which of theirs may be repeated.
    """
    url = settings.redis_url.get_secret_value()
    if url == MEMORY:
        return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(server_type="redis"))
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=settings.redis_connections,
        timeout=settings.redis_timeout,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        socket_keepalive=True,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Redis.from_pool(pool)


async def shielded(command: Coroutine[Any, Any, T]) -> T:
    """The result of a command that runs to its end even when its caller is cancelled.

    Cut off midway, a command leaves its reply to the next one on its connection (redis-py#2624), or swallows
    the cancellation.
    """
    return await asyncio.shield(asyncio.ensure_future(command))


@contextmanager
def redis_errors() -> Iterator[None]:
    """Maps whatever redis-py raises to CacheUnavailable; the message names no host."""
    try:
        yield
    except (TimeoutError, RedisError, OSError) as error:
        raise CacheUnavailable(f"the shared cache did not answer ({type(error).__name__})") from error
