"""Redis connections with a deadline for every command, and a breaker that fails commands at once while Redis is
silent.

redis-py's own way of a command leads through retries and telemetry, which are not wanted here and cost each
look-up.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
from redis._parsers import _AsyncHiredisParser
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, InvalidResponse, NoScriptError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.redis_url import Address, RedisPlace

RENEWAL_SECONDS = 1.0


class RedisBreaker:
    """Closed while Redis answers. Open from the first failure until a trial has succeeded: no command waits, and
    only the trial connects.

    ``epoch`` counts the events that made all connections doubtful; a connection of an earlier epoch is not used
    again, and its failures do not count. ``errors`` counts failures, error replies included.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.epoch = 0
        self.opened = 0
        self.errors = 0
        self._renewed = float("-inf")
        self._closed = float("-inf")

    def __repr__(self) -> str:
        return f"<RedisBreaker {'open' if self.is_open else 'closed'}, epoch {self.epoch}>"

    def lost(self, epoch: int) -> bool:
        """Note that a connection of this epoch failed; whether that opened the breaker."""
        self.errors += 1
        if self.is_open or epoch != self.epoch:
            return False
        self.is_open = True
        self.epoch += 1
        self.opened += 1
        return True

    def answered(self, now: float) -> None:
        """Close the breaker after a trial succeeded."""
        self.is_open = False
        self._closed = now

    def flapping(self, now: float) -> bool:
        """Whether the last trial succeeded so short a time ago that the next trial had better wait."""
        return now - self._closed < RENEWAL_SECONDS

    def demoted(self, now: float) -> None:
        """Renew all connections, at most once a second, after a server refused to write: its name may lead to
        another since a failover."""
        if now - self._renewed >= RENEWAL_SECONDS:
            self._renewed = now
            self.epoch += 1


TRIAL_SECONDS = 0.3
REPLY_MAX_BYTES = 64 * 1024 * 1024
POOL_SHARE = 0.5
"""The part of a command's time that it may wait for a connection; the rest is for Redis."""
EXPECTED = (NoScriptError, AskError, TryAgainError)
"""Error replies that are no failures: a script not seen yet, a slot that moved or moves."""


class CircuitOpen(RedisConnectionError):
    """The breaker is open. Messages name this class."""


class BoundedParser(_AsyncHiredisParser):
    """Rejects a reply longer than any of ours can be, and push messages, which RESP 2 does not have."""

    async def handle_push_response(self, response: Any) -> Any:  # type: ignore[override]
        raise InvalidResponse("a push message that nobody asked for")

    async def read_from_socket(self) -> bool:
        await super().read_from_socket()  # type: ignore[no-untyped-call]
        if self._reader.len() > REPLY_MAX_BYTES:  # type: ignore[attr-defined]
            raise InvalidResponse("a reply beyond all bounds")
        return True


class PooledConnection(AbstractConnection):
    """A connection that reports to its pool when Redis is silent, gone or sends nonsense.

    Each such failure closes the connection, so that no command reads another's reply. Error replies (OOM,
    READONLY, …) are answers.
    """

    __slots__ = ()
    pool: Pool
    epoch: int
    deadline: float
    host: str
    port: int

    async def is_clean(self) -> bool:
        """Whether it is connected, and no unread bytes wait."""
        try:
            return self.is_connected and not await self.can_read()
        except (RedisConnectionError, OSError):
            return False

    async def connect(self) -> None:
        """Connect within the limit, also where the library reconnects on its own, as for a subscription."""
        self.deadline = now() + self.pool.limit
        async with asyncio.timeout_at(self.deadline):
            self.host, self.port = await self.pool.locate()
            await super().connect()  # type: ignore[no-untyped-call]

    def pack_command(self, *args: Any) -> list[bytes]:
        """A command's bytes; its name may be several words."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            async with asyncio.timeout(self.pool.limit):
                await super().send_packed_command(command, check_health)
        except Exception:
            self.pool.lost(self.epoch)
            raise

    async def read_response(
        self, disable_decoding: bool = False, timeout: float | None = None, **options: Any
    ) -> Any:
        """The reply, by the command's deadline; with a ``timeout`` of its own (a subscription's), None by then."""
        try:
            async with asyncio.timeout_at(self.deadline if timeout is None else None):
                return await super().read_response(disable_decoding, timeout, **options)
        except Exception as error:
            self._failed(error)
            raise

    async def ask(self, *command: Any) -> Any:
        """Send a command and return its reply, by its deadline. Raises redis-py's errors, TimeoutError."""
        packed = self.pack_command(*command)
        try:
            async with asyncio.timeout_at(self.deadline):
                await super().send_packed_command(packed, check_health=False)
                return await super().read_response()
        except Exception as error:
            self._failed(error)
            raise

    async def ask_all(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """Send commands together and return their replies, error replies among them, by their deadline. Closes the
        connection where it raises redis-py's errors or TimeoutError."""
        packed = [self.pack_command(*command)[0] for command in commands]
        try:
            async with asyncio.timeout_at(self.deadline):
                await super().send_packed_command(packed, check_health=False)
                return [await self._reply() for _ in packed]
        except BaseException as error:
            if isinstance(error, Exception):
                self._failed(error)
            await self.disconnect(nowait=True)  # there may be replies to come
            raise

    async def _reply(self) -> Any:
        try:
            return await super().read_response()
        except ResponseError as error:
            self._failed(error)
            return error

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, ResponseError):
            self.pool.lost(self.epoch)
            return
        self.pool.breaker.errors += not isinstance(error, EXPECTED)
        if "READONLY" in f"{type(error).__name__} {error}".upper():
            self.pool.breaker.demoted(now())


class PlainConnection(PooledConnection, Connection):
    __slots__ = ()


class SecureConnection(PooledConnection, SSLConnection):
    __slots__ = ()


class Pool(ConnectionPool):
    """Connections to one Redis at an ``address``, with its breaker.

    A command takes at most ``limit`` seconds from asking for a connection to its reply, connecting included.
    """

    def __init__(self, place: RedisPlace, address: Address, limit: float, max_connections: int) -> None:
        super().__init__(
            SecureConnection if place.secure else PlainConnection,
            max_connections,
            **OPTIONS,
            socket_connect_timeout=limit,
            **place.options,
        )
        self.address = address
        self.limit = limit
        self.timeout = limit * POOL_SHARE
        self.breaker = RedisBreaker()
        self._free = asyncio.Semaphore(max_connections)
        self._trials: asyncio.Task[None] | None = None

    def make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = super().make_connection()  # type: ignore[no-untyped-call]
        assert isinstance(connection, PooledConnection)
        connection.pool, connection.epoch, connection.deadline = self, -1, 0.0
        return connection

    async def get_connection(self, *_: Any, **__: Any) -> PooledConnection:
        """A ready connection. Raises CircuitOpen at once while the breaker is open."""
        self._admit()
        return await self._connection()

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back; the command that has waited longest gets it."""
        self._in_use_connections.remove(connection)
        try:
            if connection.should_reconnect():  # type: ignore[no-untyped-call]
                await connection.disconnect(nowait=True)
        finally:
            self._available_connections.append(connection)
            self._free.release()

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Nothing: ``get_connection`` does it, within what waiting has left of the time."""

    async def locate(self) -> Address:
        """The address for the next connection."""
        return self.address

    def lost(self, epoch: int) -> None:
        """Open the breaker after a failure on a connection of this epoch, and start trials."""
        if self.breaker.lost(epoch):
            self._trials = asyncio.create_task(self._try_until_back())

    def distrust(self) -> None:
        """Use no connection again: a reply did not fit its command, so replies may be out of step."""
        self.lost(self.breaker.epoch)

    async def aclose(self) -> None:
        if self._trials is not None:
            self._trials.cancel()
            await asyncio.wait({self._trials})
        await super().aclose()

    def _admit(self) -> None:
        if self.breaker.is_open:
            raise CircuitOpen("Redis does not answer")

    async def _connection(self, *, trial: bool = False) -> PooledConnection:
        deadline = now() + self.limit
        connection = await self._taken()
        try:
            if not trial:
                self._admit()  # the breaker may have opened while we waited
            await self._made_ready(connection, deadline)
        except BaseException:
            await connection.disconnect(nowait=True)
            await self.release(connection)
            raise
        return connection

    async def _taken(self) -> PooledConnection:
        if self._free.locked():
            try:
                async with asyncio.timeout(self.timeout):
                    await self._free.acquire()
            except TimeoutError as error:
                raise RedisConnectionError("no connection became free") from error
        else:
            await self._free.acquire()
        try:
            connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._free.release()
            raise
        assert isinstance(connection, PooledConnection)
        return connection

    async def _made_ready(self, connection: PooledConnection, deadline: float) -> None:
        if connection.epoch != self.breaker.epoch:
            await connection.disconnect(nowait=True)
            connection.epoch = self.breaker.epoch
        if not await connection.is_clean():
            await self._made_clean(connection, deadline)
        connection.deadline = deadline

    async def _made_clean(self, connection: PooledConnection, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await super().ensure_connection(connection)
        except Exception:
            self.lost(connection.epoch)
            raise

    async def _try_until_back(self) -> None:
        """Run one trial at a time; the first at once, since perhaps only one connection broke."""
        back = not self.breaker.flapping(now()) and await self._trial()
        while not back:
            await asyncio.sleep(TRIAL_SECONDS * random.uniform(0.7, 1.3))  # noqa: S311 (jitter)
            back = await self._trial()
        self.breaker.answered(now())

    async def _trial(self) -> bool:
        """Whether Redis echoes a random token, which garbage never does."""
        token = secrets.token_hex(8)
        try:
            connection = await self._connection(trial=True)
            try:
                await connection.send_command("PING", token)
                echoed: bool = await connection.read_response() == token.encode()
                if not echoed:
                    await connection.disconnect(nowait=True)
                return echoed
            finally:
                await self.release(connection)
        except Exception:
            return False


def now() -> float:
    return asyncio.get_running_loop().time()


KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
"""Seconds, seconds, times: so that a subscription, which only listens, notices that its server vanished."""

OPTIONS: dict[str, Any] = {
    "socket_timeout": None,  # each read and write has its command's deadline instead
    "socket_keepalive": True,
    "socket_keepalive_options": {getattr(socket, k): v for k, v in KEEPALIVE.items() if hasattr(socket, k)},
    "health_check_interval": 0,
    "retry": Retry(NoBackoff(), 0),
    "protocol": 2,
    "parser_class": BoundedParser,
    "driver_info": None,
}


class PooledClient(Redis):
    """A client on a ``Pool``, whose deadlines and breaker hold for every command; subscriptions and transactions
    use redis-py's code."""

    connection_pool: Pool

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its reply in redis-py's form. Raises redis-py's errors, TimeoutError."""
        connection = await self.connection_pool.get_connection()
        try:
            reply = await connection.ask(*args)
        finally:
            await self.connection_pool.release(connection)
        return _formed(self.response_callbacks, reply, args, options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        kind = Pipeline if transaction else PooledPipeline
        return kind(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class PooledPipeline(Pipeline):
    """Commands of one round trip without a transaction, on the connections of a ``Pool``."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The replies, in order; error replies are among them unless ``raise_on_error``."""
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
    callback = None if isinstance(reply, Exception) else callbacks.get(args[0])
    options.pop("keys", None)  # meant for redis-py's own cache
    return reply if callback is None else callback(reply, **options)
