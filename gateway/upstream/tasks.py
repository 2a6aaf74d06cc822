"""Background tasks, waits with a timeout, and the end of what a client sends on its connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

log = structlog.get_logger("gateway")


async def kept_alive(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Restart a loop that ended by a fault of ours: without it, requests would wait for nothing, or get outdated
    answers."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("loop_failed")
            await asyncio.sleep(jittered(1.0))


async def signalled(signal: asyncio.Event, timeout: float) -> bool:
    """Whether the event was set within ``timeout`` seconds."""
    try:
        async with asyncio.timeout(timeout):
            return await signal.wait()
    except TimeoutError:
        return False


def jittered(seconds: float) -> float:
    """The given seconds, up to 30 % more or less, so that processes do not move in step."""
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


END_OF_INPUT = "gateway.end_of_input"
"""The key in an ASGI scope under which a protocol leaves the ``EndOfInput`` of the request's connection."""


class EndOfInput:
    """The end of what one client sends; ``reached`` says whether it has come.

    It does not prove that the client has gone: one that sends no more may read on (RFC 9112 §9.6). But most
    disconnects show as no more than that, so other requests should not have to wait for such a client.
    """

    def __init__(self) -> None:
        self.reached = False
        self._callbacks: set[Callable[[], None]] = set()

    def reach(self) -> None:
        self.reached = True
        for callback in tuple(self._callbacks):
            callback()

    @contextmanager
    def notifying(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call ``callback`` when the end comes while the context is open; at once if it has come already."""
        if self.reached:
            callback()
        self._callbacks.add(callback)
        try:
            yield
        finally:
            self._callbacks.discard(callback)
