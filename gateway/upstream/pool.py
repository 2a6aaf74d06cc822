"""Pool: the connections to the service, each kept for those whose credential it was opened for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.errors import UpstreamTimeout
from gateway.upstream.connection import Connection

Connect = Callable[[], Awaitable[Connection]]


class Pool:
    """At most ``most`` connections in all. ``owner`` says on whose behalf one is used: a connection that was
    opened for one owner is never used for another, so that whatever goes wrong on it stays with that one.

    One that rests costs nothing but its socket, ends by itself, and makes room where another owner needs it.
    """

    def __init__(self, connect: Connect, most: int) -> None:
        self._connect = connect
        self._most = most
        self._turns = asyncio.Semaphore(most)
        self._used = 0
        self._closed = False
        self._resting: dict[Connection, Any] = {}  # and their owners, the longest rested first

    def __repr__(self) -> str:
        return f"<Pool {self._used} used, {len(self._resting)} resting, {self._most} at most>"

    async def take(self, owner: Any, seconds: float, *, fresh: bool = False) -> Connection:
        """A connection, a new one where ``fresh`` or where none rests. Give it back.

        Raises UpstreamTimeout where so many are used for so long, and what connecting raises.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise UpstreamTimeout("No connection to the service became free in time.") from error
        self._used += 1
        try:
            rested = None if fresh else self._rested(owner)
            if rested is not None:
                return rested
            self._make_room()
            return await self._connect()
        except BaseException:
            self._leave()
            raise

    def give(self, connection: Connection, owner: Any, seconds: float) -> None:
        """Gives a connection back, to rest for up to so many seconds where it is still usable."""
        self._leave()
        if seconds <= 0 or self._closed or not connection.usable:
            connection.close()
            return
        self._resting[connection] = owner
        connection.rest(seconds, lambda: self._resting.pop(connection, None))

    def close(self) -> None:
        """Closes every connection that rests, and each other one when it is given back."""
        self._closed = True
        for connection in list(self._resting):
            connection.close()

    def _rested(self, owner: Any) -> Connection | None:
        """The one that rested last, since that lives longest."""
        for connection in reversed([each for each, whose in self._resting.items() if whose == owner]):
            if connection.wake():
                del self._resting[connection]
                return connection
        return None

    def _make_room(self) -> None:
        if self._used + len(self._resting) > self._most:
            next(iter(self._resting)).close()

    def _leave(self) -> None:
        self._used -= 1
        self._turns.release()
