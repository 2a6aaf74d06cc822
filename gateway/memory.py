"""Memory: keeps memory:// within its bounds, since the embedded Redis evicts nothing."""

from __future__ import annotations

import asyncio
import re

from gateway.redis_client import Client, redis_errors

SWEEP_SECONDS = 5.0
PAGE = 500
KEEP = 0.9


class Sweeper:
    """Now and then walks over all keys: touching one drops it when it has expired, and above ``max_bytes`` the
    entries with the least time to live go until a tenth is free."""

    def __init__(self, client: Client, prefix: str, max_bytes: int) -> None:
        self._client = client
        self._match = f"{prefix}:*"
        self._entries = re.compile(re.escape(f"{prefix}:{{".encode()) + rb"[0-9a-f]{40}\}")
        self._max_bytes = max_bytes

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """One walk; answers the bytes that remain. Raises CacheUnavailable."""
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
        """Every entry's size in bytes and time to live in milliseconds."""
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
