"""Waiting: what the loops of the queue share.

EndOfInput: the end of what a client sends on its connection, and who is told of it.

It does not say that the client has gone: whoever sends no more may read on (RFC 9112 §9.6). But most who go say no
more than that, so that nobody else should have to wait for them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
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


def log_closing(why: str, **facts: int) -> None:
    """Says that the gate has closed, and for what sign."""
    log.warning("gate_closed", why=why, **facts)


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


END_OF_INPUT = "gateway.end_of_input"
"""The key of the ASGI scope under which the protocol leaves the connection's EndOfInput."""


class EndOfInput:
    """The end of what a client sends on its connection; ``reached`` once it has half-closed it."""

    def __init__(self) -> None:
        self.reached = False
        self._callbacks: set[Callable[[], None]] = set()

    def reach(self) -> None:
        """Record the half-close, and run the callbacks."""
        self.reached = True
        for callback in tuple(self._callbacks):
            callback()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Run ``callback`` if the end is reached within this block; at once if it has been already."""
        if self.reached:
            callback()
        self._callbacks.add(callback)
        try:
            yield
        finally:
            self._callbacks.discard(callback)
