"""Direct: a Redis client whose commands go straight to a connection of its pool.

redis-py's own way repeats, measures and announces each command, which costs more than the command. Here none is
repeated, connections have deadlines of their own, and nobody listens.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError


class Direct(Redis):
    """As redis-py's client, for commands; a subscription, or a transaction, goes its way."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to a command. Raises redis-py's errors."""
        pool: Any = self.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_command(*args)
            return await self.parse_response(connection, args[0], **options)
        finally:
            await pool.release(connection)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Commands that go together; without a transaction, directly."""
        kind = Pipeline if transaction else DirectPipeline
        return kind(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class DirectPipeline(Pipeline):
    """Commands of one round trip, no transaction."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The replies, in order; error replies are among them, unless the first is to be raised."""
        commands, self.command_stack = self.command_stack, []
        if not commands:
            return []
        pool: Any = self.connection_pool
        connection = await pool.get_connection()
        try:
            packed = connection.pack_commands([args for args, _ in commands])
            await connection.send_packed_command(packed)
            replies = [await self._reply(connection, *command) for command in commands]
        finally:
            await pool.release(connection)
        if raise_on_error:
            self.raise_first_error(commands, replies)
        return replies

    async def _reply(self, connection: Any, args: Any, options: Any) -> Any:
        try:
            return await self.parse_response(connection, args[0], **options)
        except ResponseError as error:
            return error
