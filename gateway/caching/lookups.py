"""LookUps: reads of records, several in one command where they come close together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Any

from gateway.errors import CacheUnavailable
from gateway.redis_client import Client, redis_errors
from gateway.redis_cluster import ClusterClient

MOST = 8
"""Look-ups of one command: so many of the largest answers fit into the longest reply."""
AT_ONCE = 3
"""Commands under way while which fewer than that many wait for company: the busier, the more share a command."""

Keys = tuple[str, ...]
Waiting = dict[Keys, list[asyncio.Future[list[Any]]]]


class LookUps:
    """Those of one turn of the event loop share a command, and so do those that come while others are under way.
    Whoever asks gets what Redis had after they asked: nobody joins a command that was sent.

    What one reads in a cluster lies in one slot, what several read does not, and is asked for apart.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._apart = isinstance(client, ClusterClient)
        self._waiting: Waiting = {}
        self._asking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<LookUps {len(self._waiting)} waiting, {len(self._asking)} commands under way>"

    async def values(self, *keys: str) -> list[Any]:
        """What Redis has under these keys, None where nothing. Raises CacheUnavailable."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send)
        found: asyncio.Future[list[Any]] = loop.create_future()
        self._waiting.setdefault(keys, []).append(found)
        if len(self._waiting) >= MOST:
            self._send()
        return await found

    def _send(self) -> None:
        most = 1 if self._apart else MOST
        while self._waiting and (len(self._asking) < AT_ONCE or len(self._waiting) >= most):
            group = dict(islice(self._waiting.items(), most))
            for keys in group:
                del self._waiting[keys]
            task = asyncio.create_task(self._ask(group))
            self._asking.add(task)
            task.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        self._send()

    async def _ask(self, waiting: Mapping[Keys, list[asyncio.Future[list[Any]]]]) -> None:
        try:
            with redis_errors(self._client):
                values = await self._client.mget([key for keys in waiting for key in keys])
                parts = _parted(values, waiting)
        except CacheUnavailable as error:
            for found in _open(waiting):
                found.set_exception(CacheUnavailable(error.message))
        except BaseException:
            for found in _open(waiting):
                found.set_exception(CacheUnavailable("the shared cache is not asked any more"))
            raise
        else:
            for keys, part in parts.items():
                for found in waiting[keys]:
                    if not found.done():
                        found.set_result(part)


def _parted(values: list[Any], waiting: Mapping[Keys, Any]) -> dict[Keys, list[Any]]:
    """Each asker's part of a reply. Raises ValueError where it is none to the command."""
    if len(values) != sum(map(len, waiting)):
        raise ValueError("a reply of another length")
    rest = iter(values)
    return {keys: list(islice(rest, len(keys))) for keys in waiting}


def _open(waiting: Mapping[Keys, list[asyncio.Future[list[Any]]]]) -> list[asyncio.Future[list[Any]]]:
    return [found for founds in waiting.values() for found in founds if not found.done()]
