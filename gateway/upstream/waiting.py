"""Waiting: what the loops of the queue share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger("gateway")


async def kept_alive(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Begins a loop again that a fault of ours ended: without it, requests would wait for nothing, or be answered
    by what is no longer so."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("loop_failed")
            await asyncio.sleep(jittered(1.0))


async def signalled(signal: asyncio.Event, timeout: float) -> bool:
    """Whether the signal came within ``timeout`` seconds."""
    try:
        async with asyncio.timeout(timeout):
            return await signal.wait()
    except TimeoutError:
        return False


def jittered(seconds: float) -> float:
    """About so many seconds, so that processes do not move in step."""
    return seconds * random.uniform(0.7, 1.3)  # noqa: S311 (jitter)


class Background:
    """Tasks that nobody awaits, kept from being collected until they end."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self.tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
