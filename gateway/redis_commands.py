"""Commands: a client of one Redis that sends them on the connections of redis_pool.py.

redis-py's own way of a command leads through retries and telemetry, which are not wanted here and cost each
look-up.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from gateway.redis_pool import Pool


class PooledClient(Redis):
    """``connection_pool`` is a ``Pool``, whose deadlines and circuit hold for every command; a subscription, or a
    transaction, goes redis-py's way."""

    connection_pool: Pool

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply, in redis-py's form. Raises redis-py's errors, TimeoutError."""
        connection = await self.connection_pool.get_connection()
        try:
            reply = await connection.ask(*args)
        finally:
            await self.connection_pool.release(connection)
        return _formed(self.response_callbacks, reply, args, options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Commands that go together."""
        kind = Pipeline if transaction else PooledPipeline
        return kind(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class PooledPipeline(Pipeline):
    """Commands of one round trip, no transaction, on the connections of a ``Pool``."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The replies, in order; error replies are among them, unless the first is to be raised."""
        commands, self.command_stack = self.command_stack, []
        if not commands:
            return []
        pool: Any = self.connection_pool
        connection = await pool.get_connection()
        try:
            replies = await connection.ask_all([args for args, _ in commands])
        finally:
            await pool.release(connection)
        if raise_on_error:
            self.raise_first_error(commands, replies)
        each = zip(commands, replies, strict=True)
        return [_formed(self.response_callbacks, reply, *command) for command, reply in each]


def _formed(callbacks: Any, reply: Any, args: Any, options: Any) -> Any:
    """A reply in redis-py's form."""
    callback = None if isinstance(reply, Exception) else callbacks.get(args[0])
    options.pop("keys", None)  # meant for redis-py's own cache
    return reply if callback is None else callback(reply, **options)
