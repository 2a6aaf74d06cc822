"""Supervisor: keeps a number of workers running until told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client.multiprocess import mark_process_dead

from gateway.errors import ConfigurationError
from gateway.reload import Reloading
from gateway.signals import Wish, hurries, listen
from gateway.upstream.tasks import Background
from gateway.worker import Order, Worker

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Restarts:
    """When a worker that died is replaced. Durations are in seconds."""

    attempts: int = 3
    """Starts in a row that may fail while no worker is ready."""
    first_pause: float = 0.25
    longest_pause: float = 10.0
    steady: float = 60.0
    """A worker that lived this long did not die of its start."""

    def pause(self, deaths: int) -> float:
        """How long to wait after this many deaths in a row."""
        return min(self.longest_pause, self.first_pause * 2.0 ** min(deaths - 1, 32))


class Supervisor:
    """The parent of the workers. It serves nothing itself."""

    def __init__(
        self,
        start: Callable[[int], Worker],
        workers: int,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        reloading: Reloading,
        restarts: Restarts | None = None,
    ) -> None:
        self._start = start
        self._slots = workers
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._reloading = reloading
        self._background = Background()
        self._restarts = restarts or Restarts()
        self._workers: set[Worker] = set()
        self._announced = False
        self._stopping = asyncio.Event()
        self._hurried: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._refusal: str | None = None
        self._failed = False

    async def run(self) -> int:
        """Keeps the workers until a signal; the exit code: 0 when all drained well, 128 + n when hurried.

        Raises ConfigurationError when the workers cannot use the settings.
        """
        listen(self._heard)
        kept = asyncio.gather(*(self._keep(number) for number in range(self._slots)))
        ends: set[asyncio.Future[Any]] = {kept, self._hurried}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._hurried.done():
            for worker in self._workers:
                worker.kill()
        await kept
        if self._refusal is not None:
            raise ConfigurationError(self._refusal)
        return self._hurried.result() if self._hurried.done() else int(self._failed)

    async def _keep(self, number: int) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            worker = self._start(number)
            self._workers.add(worker)
            code = await self._watch(worker)
            self._workers.discard(worker)
            if self._stopping.is_set():
                self._failed |= code != 0
                return
            lived = asyncio.get_running_loop().time() - began
            deaths = 1 if lived > self._restarts.steady else deaths + 1
            await self._bury(worker, code, deaths)

    async def _watch(self, worker: Worker) -> int:
        while await worker.news():
            if len(self._ready) == self._slots and not self._announced:
                self._announced = True
                self._on_ready()
        code = await worker.ended()
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        return code

    async def _bury(self, worker: Worker, code: int, deaths: int) -> None:
        """Gives up, or waits before the next start."""
        others = self._ready
        if worker.refusal is not None and not others:
            self._refusal = worker.refusal
            self._stop("stop")
        elif deaths >= self._restarts.attempts and not worker.ready and not others:
            log.error("workers_keep_dying", pid=worker.pid, exit_code=code, attempts=deaths)
            self._failed = True
            self._stop("stop")
        else:
            pause = self._restarts.pause(deaths)
            log.error("worker_died", pid=worker.pid, exit_code=code, why=worker.refusal, restart_in=pause)
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    @property
    def _ready(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ready]

    def _heard(self, wish: Wish, number: int) -> None:
        if not self._stopping.is_set():
            if wish == "reload":
                self._background.spawn(self._reload())
            else:
                self._stop(wish)
        elif hurries(number) and not self._hurried.done():
            self._hurried.set_result(128 + number)

    async def _reload(self) -> None:
        order = await self._reloading.again()
        for worker in self._workers:
            worker.order(order)

    def _stop(self, order: Order) -> None:
        self._stopping.set()
        self._on_stop()
        for worker in self._workers:
            worker.order(order)
