"""Commands: a client of one Redis that sends them on the connections of redis_pool.py.

redis-py's own way of a command leads through retries and telemetry, which are not wanted here and cost each look-up.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from gateway.redis_pool import Pool


class PooledClient(Redis):
    """``connection_pool`` is a ``Pool``, whose deadlines and circuit hold for every command."""

    connection_pool: Pool

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply, in redis-py's form. Raises redis-py's errors, TimeoutError."""
        connection = await self.connection_pool.get_connection()
        try:
            reply = await connection.ask(*args)
        finally:
            await self.connection_pool.release(connection)
        options.pop("keys", None)  # meant for redis-py's own cache
        callback = self.response_callbacks.get(args[0])
        return reply if callback is None else callback(reply, **options)
