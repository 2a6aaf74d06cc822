"""Parts: what has a life of its own in a gateway, and is started and stopped with its public app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from gateway.admin.sessions import Sessions
from gateway.cache.purges import Marks
from gateway.cache.store import Store
from gateway.errors import ConfigurationError, RegistryDoubtful
from gateway.lifecycle import Lifecycle
from gateway.observe.aggregate import Aggregates
from gateway.observe.counters import DayCounters, MinuteCounters
from gateway.observe.metrics import Metrics
from gateway.redis import MEMORY, Client, Sweeper
from gateway.server.fast_path import FastPath
from gateway.settings import Settings
from gateway.tenants.directory import Difference, Directory
from gateway.tenants.following import is_many
from gateway.tenants.limiter import Admission
from gateway.tenants.registry import Registry
from gateway.upstream.client import UpstreamClient
from gateway.upstream.queue import Queue
from gateway.upstream.tasks import kept_alive, signalled

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

SHOW_SECONDS = 1.0
STUBBORN = 5
NAMED = 20
"""Tenants that one line of the log names."""

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Parts:
    """What has a life of its own, and is started and stopped with the app."""

    settings: Settings
    redis: Client
    registry: Registry
    admission: Admission
    marks: Marks
    usage: DayCounters
    pulse: MinuteCounters
    queue: Queue
    client: UpstreamClient
    store: Store
    metrics: Metrics
    tallies: Aggregates
    fast_path: FastPath
    tracing: Tracing | None
    lifecycle: Lifecycle
    sessions: Sessions
    notes: list[str]
    look: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The parts run: flights finish and connections close when it ends."""
        for note in self.notes:
            log.warning("registry", note=note)
        watchers = [asyncio.create_task(kept_alive(each)) for each in self._watchers()]
        await self.queue.start()
        self.lifecycle.started()
        try:
            yield
        finally:
            await self.queue.stop(grace=self.settings.upstream_timeout)
            await _ended(watchers)
            self.show()  # other workers' metrics go on telling what this one did
            await self.admission.stop()
            await self.client.aclose()
            await self.redis.aclose()
            if self.tracing is not None:
                await asyncio.to_thread(self.tracing.close)

    def look_again(self) -> None:
        """Looks at the registry at once, instead of at the next second."""
        self.look.set()

    async def _until_look(self, seconds: float) -> None:
        await signalled(self.look, seconds)
        self.look.clear()

    def show(self) -> None:
        """Brings counters and gauges up to date."""
        self.tallies.gather()
        self.metrics.show(self.queue, self.store, self.redis)
        self.metrics.show_registry(self.registry.standing)
        self.metrics.prepared.reached(self.fast_path.served)
        self.metrics.connections_refused.reached(self.lifecycle.refused)
        self.metrics.files_exhausted.reached(self.lifecycle.exhausted)

    async def _shows(self) -> None:
        """Other workers are scraped through a shared directory, without being asked."""
        while True:
            self.show()
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(SHOW_SECONDS)
            self.metrics.passed(asyncio.get_running_loop().time() - began, degraded=self.queue.degraded)

    def _watchers(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        follow = partial(self.registry.watch, pause=self._until_look)
        loops: list[Callable[[], Coroutine[Any, Any, None]]] = [
            partial(follow, _registry_changed, _registry_troubled, _registry_well),
            self.admission.run,
            self.marks.follow,
            partial(self.store.tell, self.marks),
            self.usage.run,
            self.sessions.run,
            self.pulse.run,
            self._shows,
        ]
        if self.settings.profile == "generic" or self.settings.pass_methods:
            loops.append(self.store.follow)
        if self.settings.redis_url.get_secret_value() == MEMORY:
            sweeper = Sweeper(self.redis, self.settings.redis_prefix, self.settings.memory_max_bytes)
            loops.append(sweeper.run)
        return loops


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels until it is heard: a client library may swallow a cancellation."""
    for _ in range(STUBBORN):
        for task in tasks:
            task.cancel()
        if not (await asyncio.wait(tasks, timeout=1.0))[1]:
            return


def _registry_changed(directory: Directory, difference: Difference) -> None:
    """Who was added, changed and removed, by whatever means; of many the first, and how many in all."""
    told: dict[str, Any] = {}
    for how, ids in difference._asdict().items():
        if ids:
            told |= {how: len(ids), f"{how}_ids": ids[:NAMED]}
    now, gone = len(directory.tenants), len(difference.removed)
    many = is_many(gone, now - len(difference.added) + gone, left=now > 0)
    (log.warning if many else log.info)("registry_reloaded", tenants=now, **told)


def _registry_troubled(error: ConfigurationError) -> None:
    if isinstance(error, RegistryDoubtful):
        log.warning("registry_doubtful", reason=error.message, consequence="only keys that it revokes end now")
    else:
        log.error("registry_broken", reason=error.message, consequence="the last good state stays in force")


def _registry_well() -> None:
    log.info("registry_well")
