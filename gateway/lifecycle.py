"""The phase of this process, and the start and end of what runs beside its requests."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from typing import Any

import structlog

from gateway.errors import NotStarted

START_SECONDS = 5.0
"""Longest time that a request waits for the start."""

log = structlog.get_logger("gateway")


class Phase(Enum):
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


class Lifecycle:
    """The phase, set by the app's lifespan and by signals, read by the readiness route and the proxy.

    While ``draining``, answers close their connections. ``refused`` counts connections beyond the listeners'
    limits, ``exhausted`` the checks, a sample, at which no file could be opened.
    """

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.draining = False  # the phase again, for each request to read
        self.refused = 0
        self.exhausted = 0

    def __repr__(self) -> str:
        return f"<Lifecycle {self.phase.value}>"

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send requests here."""
        return self.phase is Phase.RUNNING

    def started(self) -> None:
        if self.phase is Phase.STARTING:
            self.phase = Phase.RUNNING

    def drain(self) -> None:
        self.phase, self.draining = Phase.DRAINING, True


class Life:
    """Enters and leaves ``running`` once in a process, in a task of its own.

    A server with ASGI's lifespan protocol does so by ``lifespan``. Under any other the first request begins it by
    ``begun``, and it ends with the event loop: with the loop's tasks where those are cancelled, else when the
    process exits.
    """

    def __init__(
        self, running: Callable[[], AbstractAsyncContextManager[None]], patience: float = START_SECONDS
    ) -> None:
        self._running = running
        self._patience = patience
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._over = asyncio.Event()
        self._logged = False

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """ASGI's lifespan protocol. Raises what the start raises."""
        await self._start()
        try:
            yield
        finally:
            await self._end()

    async def begun(self) -> None:
        """Wait for the start, and begin it where nobody has. Raises NotStarted."""
        if self._task is None:
            log.warning("started_by_request", reason="this server runs no lifespan")
            atexit.register(self._end_at_exit, asyncio.get_running_loop())
        try:
            async with asyncio.timeout(self._patience):
                await self._start()
        except TimeoutError:
            raise NotStarted("The gateway is starting.", retry_after=1) from None
        except Exception as error:
            if not self._logged:
                self._logged = True
                log.error("start_failed", exc_info=error)
            reason = f"The gateway could not be started by a request: {type(error).__name__}. Its log says more."
            raise NotStarted(reason, retry_after=30) from error

    async def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._live())
        started = asyncio.ensure_future(self._started.wait())
        try:
            await asyncio.wait({self._task, started}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        if self._task.done():
            self._task.result()

    async def _live(self) -> None:
        async with self._running():
            self._started.set()
            await self._over.wait()

    async def _end(self) -> None:
        assert self._task is not None
        self._over.set()
        await self._task

    def _end_at_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._task is not None and not (self._task.done() or loop.is_closed() or loop.is_running()):
            loop.run_until_complete(self._end())
