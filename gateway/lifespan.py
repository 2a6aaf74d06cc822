"""The gateway's lifespan: what runs beside its requests, started and stopped with the public app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import structlog

from gateway.errors import ConfigurationError, RegistryDoubtful
from gateway.lifecycle import Lifecycle
from gateway.observe.metrics import Metrics
from gateway.tenants.directory import Difference, Directory
from gateway.tenants.following import is_many
from gateway.tenants.registry import Registry
from gateway.upstream.queue import Queue
from gateway.upstream.tasks import kept_alive, signalled

SHOW_SECONDS = 1.0
STUBBORN = 5
NAMED = 20
"""Tenants that one line of the log names."""

log = structlog.get_logger("gateway")

Loop = Callable[[], Coroutine[Any, Any, None]]


class Part(NamedTuple):
    """A part with a life of its own: a loop, begun again after a fault, and what stops the part for good."""

    run: Loop | None = None
    stop: Callable[[], Awaitable[object]] | None = None


class Lifespan:
    """Runs the queue and the other parts. They stop in their order, once the flights have had ``grace`` seconds to
    finish."""

    def __init__(self, queue: Queue, parts: Sequence[Part], lifecycle: Lifecycle, grace: float) -> None:
        self._queue = queue
        self._parts = parts
        self._lifecycle = lifecycle
        self._grace = grace

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The parts run within this block."""
        loops = [asyncio.create_task(kept_alive(part.run)) for part in self._parts if part.run is not None]
        await self._queue.start()
        self._lifecycle.started()
        try:
            yield
        finally:
            await self._queue.stop(grace=self._grace)
            await _cancel(loops)
            for part in self._parts:
                if part.stop is not None:
                    await part.stop()


class RegistryWatch:
    """Takes up edits of the registry, at once when ``look`` is called, and logs what they change."""

    def __init__(self, registry: Registry, notes: Sequence[str]) -> None:
        self._registry = registry
        self._notes = notes
        self._look = asyncio.Event()

    def look(self) -> None:
        """Read the registry at once, instead of at the next second."""
        self._look.set()

    async def run(self) -> None:
        for note in self._notes:
            log.warning("registry", note=note)
        self._notes = ()
        await self._registry.watch(_log_change, _log_trouble, _log_recovery, pause=self._pause)

    async def _pause(self, seconds: float) -> None:
        await signalled(self._look, seconds)
        self._look.clear()


class MetricsRefresh:
    """Brings counters and gauges up to date, for other workers too, which read them from a shared folder."""

    def __init__(self, metrics: Metrics, queue: Queue, show: Callable[[], None]) -> None:
        self._metrics = metrics
        self._queue = queue
        self._show = show

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._show()
            began = clock()
            await asyncio.sleep(SHOW_SECONDS)
            self._metrics.passed(clock() - began, degraded=self._queue.degraded)

    async def stop(self) -> None:
        """Refresh them once more: other workers go on showing what this one did."""
        self._show()


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they end: a client library may swallow a cancellation."""
    for _ in range(STUBBORN):
        for task in tasks:
            task.cancel()
        if not (await asyncio.wait(tasks, timeout=1.0))[1]:
            return


def _log_change(directory: Directory, difference: Difference) -> None:
    """Log which tenants were added, changed and removed: of many the first, and their number."""
    fields: dict[str, Any] = {}
    for change, ids in difference._asdict().items():
        if ids:
            fields |= {change: len(ids), f"{change}_ids": ids[:NAMED]}
    now, gone = len(directory.tenants), len(difference.removed)
    many = is_many(gone, now - len(difference.added) + gone, left=now > 0)
    (log.warning if many else log.info)("registry_reloaded", tenants=now, **fields)


def _log_trouble(error: ConfigurationError) -> None:
    if isinstance(error, RegistryDoubtful):
        log.warning("registry_doubtful", reason=error.message, consequence="only keys that it revokes end now")
    else:
        log.error("registry_broken", reason=error.message, consequence="the last good state stays in force")


def _log_recovery() -> None:
    log.info("registry_well")
