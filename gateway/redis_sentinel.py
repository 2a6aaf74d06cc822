"""Sentinel: connections to whichever Redis the sentinels call the master of a service."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from gateway.redis_place import Address, RedisPlace
from gateway.redis_pool import Pool, now

KNOWN_SECONDS = 0.5
"""For how long an answer of the sentinels serves: connections are made many at a time."""
SHARE = 0.5
"""The part of a command's time that asking the sentinels may take, all of them together."""


class SentinelPool(Pool):
    """Asks the sentinels for the master whenever a connection is made. What makes connections new (a failure, a
    master that was demoted) therefore finds the next master.

    ``password`` is the sentinels' own, where they have one; TLS they have where Redis has.
    """

    def __init__(self, place: RedisPlace, limit: float, max_connections: int, password: str = "") -> None:
        super().__init__(place, place.hosts[0], limit, max_connections)
        patience = limit * SHARE / len(place.hosts)
        options: dict[str, Any] = {name: value for name, value in place.options.items() if name.startswith("ssl_")}
        options |= {"ssl": place.secure, "password": password or None, "protocol": 2}
        options |= {"socket_timeout": patience, "socket_connect_timeout": patience}
        options |= {"retry": Retry(NoBackoff(), 0), "driver_info": None}
        self._service = place.service
        self._sentinel = Sentinel(list(place.hosts), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()
        self._known_until = float("-inf")
        self._known_epoch = -1

    async def locate(self) -> Address:
        """The master, as the sentinels say. Raises redis-py's ConnectionError where none of them knows."""
        async with self._asking:
            if now() >= self._known_until or self._known_epoch != self.circuit.epoch:
                epoch = self.circuit.epoch
                host, port = await self._sentinel.discover_master(self._service)
                self.address = (host, int(port))
                self._known_until, self._known_epoch = now() + KNOWN_SECONDS, epoch
            return self.address

    async def aclose(self) -> None:
        """Closes every connection, the sentinels' too."""
        await super().aclose()
        for each in self._sentinel.sentinels:
            await each.aclose()
