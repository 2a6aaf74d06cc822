"""Supervisor: keeps a number of workers running until told to end.

Workers: a service in a process of its own, as its supervisor and as itself see it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import current_process, get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Literal

import structlog
from prometheus_client.multiprocess import mark_process_dead

from gateway.errors import ConfigurationError
from gateway.observe.logs import configure_logs, divert_standard_streams
from gateway.server.listener import Factory, Service, Sockets, StartupFailed, run_loop
from gateway.server.signals import IGNORED, WISHES, Reload, Reloading, Wish, hurries, ignore, listen
from gateway.settings import Settings
from gateway.upstream.tasks import Background

READY = ("ready", "")
News = tuple[str, str]
"""``READY``, or ``("refused", why)`` when the settings cannot be used."""
Order = Literal["drain", "stop"] | Reload


NAME = "stats-gateway-worker-"


def worker_number() -> int | None:
    """Which of its supervisor's workers this process is, from 0; None where it is none.

    One that takes a dead one's place has its number.
    """
    name = current_process().name
    return int(name.removeprefix(NAME)) if name.startswith(NAME) else None


class Worker:
    """A worker process, from outside."""

    def __init__(self, settings: Settings, factory: Factory, sockets: Sockets, number: int) -> None:
        spawn = get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=work, args=(settings, factory, sockets, theirs), daemon=True, name=f"{NAME}{number}"
        )
        with held_back(WISHES):
            self._process.start()
        theirs.close()  # the worker's is then the only one, and its end is the worker's end
        self.ready = False
        self.refusal: str | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.pid} {'ready' if self.ready else 'starting'}>"

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    async def news(self) -> bool:
        """Waits until something is heard of the worker; False when it has ended."""
        await _readable(self._pipe)
        try:
            what, why = self._pipe.recv()
        except (EOFError, OSError):
            return False
        self.ready = what == "ready"
        self.refusal = why if what == "refused" else None
        return True

    async def ended(self) -> int:
        """Waits for the process's end; its exit code, negative for a signal."""
        self._pipe.close()
        await asyncio.to_thread(self._process.join)
        return self._process.exitcode or 0

    def order(self, order: Order) -> None:
        """Tells the worker to end or to reload; one that has just ended does not mind."""
        try:
            self._pipe.send(order)
        except OSError:
            return

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()


def work(settings: Settings, factory: Factory, sockets: Sockets, pipe: Connection) -> None:
    """The worker process: serves until ordered to end, or until the supervisor is gone.

    Orders come through the pipe and all signals but SIGTERM are ignored, because what a terminal sends (Ctrl-C,
    its own end) reaches supervisor and workers alike and must count once.
    """
    ignore(signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, *IGNORED)
    divert_standard_streams()
    configure_logs(settings.log_level, settings.log_format)

    async def main() -> None:
        service = Service(factory(settings), settings, sockets, lambda: pipe.send(READY))
        loop = asyncio.get_running_loop()

        def ordered() -> None:
            try:
                order: Order = pipe.recv()
            except (EOFError, OSError):
                loop.remove_reader(pipe.fileno())
                order = "stop"  # whoever takes the supervisor's place needs the ports
            if isinstance(order, Reload):
                service.take_up(order)
            else:
                service.stop(drain=order == "drain")

        loop.add_reader(pipe.fileno(), ordered)
        loop.add_signal_handler(signal.SIGTERM, lambda: service.stop(drain=True))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WISHES)
        await service.run()

    try:
        run_loop(main())
    except ConfigurationError as error:
        pipe.send(("refused", error.message))
        sys.exit(2)
    except StartupFailed:
        sys.exit(1)


@contextmanager
def held_back(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Signals wait, for this process and for one started meanwhile until it is prepared for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        # Else the first start of a process would do so, and let some through. It keeps the others blocked: what
        # a terminal sends must not end it before the workers.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _readable(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    something = asyncio.Event()
    loop.add_reader(pipe.fileno(), something.set)
    try:
        await something.wait()
    finally:
        loop.remove_reader(pipe.fileno())


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
