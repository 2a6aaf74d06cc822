"""``serve``: from the settings to an exit code, in this process or as the supervisor of several workers."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import structlog
from prometheus_client.multiprocess import mark_process_dead

from gateway import __version__
from gateway.errors import ConfigurationError
from gateway.observe.logs import configure_logs, divert_standard_streams
from gateway.redis_url import masked_url
from gateway.server.listener import StartupFailed, bind, raise_open_files, url_of
from gateway.server.process import (
    Command,
    Factory,
    Reloader,
    Sockets,
    Worker,
    is_urgent,
    listen,
    prepare_signals,
    run_alone,
)
from gateway.settings import Settings, load_settings
from gateway.upstream.tasks import Background, signalled

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MEMORY_WARNING = """\
WARNING: no Redis. Answers, the queue and the budget live in this process's memory: they are lost when it ends,
WARNING: and another gateway process would ask the service on top of this one. For anything but trying it out,
WARNING: set STATS_GATEWAY_REDIS_URL."""
NO_ADMIN = """\
NOTE: no admin token: the admin API and the console answer nobody until STATS_GATEWAY_ADMIN_TOKEN is set."""

ATTEMPTS = 3
"""Starts in a row that may fail while no worker is ready."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds before a worker that died is replaced."""
STEADY = 60.0
"""Age in seconds from which a worker's death does not count as a failed start."""

Announce = Callable[[str], None]

log = structlog.get_logger("gateway")


def serve(
    settings: Settings,
    factory: Factory,
    announce: Announce,
    advice: Sequence[str] = (),
    read: Callable[[], Settings] = load_settings,
) -> int:
    """Serve until a signal; the exit code: 0 after a drained end, 1 when a start or an end failed, 128 + n when a
    second signal cut the end short.

    ``factory`` is called in each worker process, so it is a module's function. ``announce`` prints the opening and
    ``advice``; ``read`` reads the settings at a reload. Raises ConfigurationError: a port in use, or one of the
    factory's.
    """
    prepare_signals()
    divert_standard_streams()
    raise_open_files()
    configure_logs(settings.log_level, settings.log_format)
    with (
        closing(bind(settings.host, settings.port, "public")) as public,
        closing(bind(settings.admin_host, settings.admin_port, "admin")) as admin,
    ):
        reloader = Reloader(settings, read)
        ports = {"port": public.getsockname()[1], "admin_port": admin.getsockname()[1]}
        settings = settings.model_copy(update=ports)  # the real ones, where the system chose
        for text in (opening(settings, url_of(public), url_of(admin)), *advice):
            announce(text)

        def on_ready() -> None:
            announce("ready")
            if sys.stderr.isatty():
                announce(f"Console: {browsable(url_of(admin))}  (Ctrl-C ends)")

        return _serve(settings, factory, (public, admin), on_ready, reloader)


def opening(settings: Settings, public: str, admin: str) -> str:
    """The start's message: listeners and main settings, no secrets."""
    redis_url = settings.redis_url.get_secret_value()
    unlimited = settings.budget == "unlimited"
    lines = {
        "public": public,
        "admin": admin,
        "upstream": settings.upstream,
        "redis": masked_url(redis_url),
        "budget": settings.budget if unlimited else f"{settings.budget}, burst {settings.budget_burst}",
        "workers": settings.workers,
        "registry": _registry(settings),
    }
    said = [f"stats-gateway {__version__}", *(f"  {name:<9} {value}" for name, value in lines.items())]
    said += [MEMORY_WARNING] * (redis_url == "memory://")
    said += [NO_ADMIN] * (not settings.admin_token.get_secret_value() and not settings.admin_tokens)
    return "\n".join(said)


def browsable(url: str) -> str:
    """A listener's URL for a browser on this machine; a wildcard address becomes loopback."""
    return f"{url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')}/"


def _registry(settings: Settings) -> str:
    path = settings.registry_file
    return masked_url(settings.registry.get_secret_value()) if path is None else str(path.absolute())


def _serve(
    settings: Settings, factory: Factory, sockets: Sockets, on_ready: Callable[[], None], reloader: Reloader
) -> int:
    if settings.workers > 1:
        with shared_metrics():
            return asyncio.run(Supervisor(settings, factory, sockets, on_ready, reloader).run())
    try:
        run_alone(settings, factory, sockets, on_ready, reloader)
    except StartupFailed:
        return 1
    return 0


@contextmanager
def shared_metrics() -> Iterator[None]:
    """The folder in which prometheus_client adds the workers' metrics up: the operator's, else a temporary one."""
    if METRICS_FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="stats-gateway-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER]


def restart_pause(deaths: int) -> float:
    """Seconds before a worker is replaced, after this many deaths in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 1, 32))


class Supervisor:
    """The parent process: keeps a number of workers running, and serves nothing itself."""

    def __init__(
        self,
        settings: Settings,
        factory: Factory,
        sockets: Sockets,
        on_ready: Callable[[], None],
        reloader: Reloader,
    ) -> None:
        self._settings = settings
        self._factory = factory
        self._sockets = sockets
        self._on_ready = on_ready
        self._reloader = reloader
        self._background = Background()
        self._workers: set[Worker] = set()
        self._announced = False
        self._stopping = asyncio.Event()
        self._second_signal: asyncio.Future[int]
        self._refusal: str | None = None
        self._failed = False

    async def run(self) -> int:
        """Keep the workers running until a signal; the exit code: 0 when all drained, 128 + n at a second signal.

        Raises ConfigurationError when the workers cannot use the settings.
        """
        self._second_signal = asyncio.get_running_loop().create_future()
        listen(self._on_command)
        kept = asyncio.gather(*(self._keep(number) for number in range(self._settings.workers)))
        ends: set[asyncio.Future[Any]] = {kept, self._second_signal}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._second_signal.done():
            for worker in self._workers:
                worker.kill()
        await kept
        if self._refusal is not None:
            raise ConfigurationError(self._refusal)
        return self._second_signal.result() if self._second_signal.done() else int(self._failed)

    async def _keep(self, number: int) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            settings = self._settings.model_copy(update={"log_level": self._reloader.log_level})
            worker = Worker(settings, self._factory, self._sockets, number)
            self._workers.add(worker)
            code = await self._watch(worker)
            self._workers.discard(worker)
            if self._stopping.is_set():
                self._failed |= code != 0
                return
            lived = asyncio.get_running_loop().time() - began
            deaths = 1 if lived > STEADY else deaths + 1
            await self._replace(worker, code, deaths)

    async def _watch(self, worker: Worker) -> int:
        while await worker.message():
            if len(self._ready) == self._settings.workers and not self._announced:
                self._announced = True
                self._on_ready()
        code = await worker.ended()
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        return code

    async def _replace(self, worker: Worker, code: int, deaths: int) -> None:
        """Give up, or wait before the next start."""
        others = self._ready
        if worker.refusal is not None and not others:
            self._refusal = worker.refusal
            self._stop("stop")
        elif deaths >= ATTEMPTS and not worker.ready and not others:
            log.error("workers_keep_dying", pid=worker.pid, exit_code=code, attempts=deaths)
            self._failed = True
            self._stop("stop")
        else:
            pause = restart_pause(deaths)
            log.error("worker_died", pid=worker.pid, exit_code=code, why=worker.refusal, restart_in=pause)
            await signalled(self._stopping, pause)

    @property
    def _ready(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.ready]

    def _on_command(self, command: Command, number: int) -> None:
        if not self._stopping.is_set():
            if command == "reload":
                self._background.spawn(self._reload())
            else:
                self._stop(command)
        elif is_urgent(number) and not self._second_signal.done():
            self._second_signal.set_result(128 + number)

    async def _reload(self) -> None:
        log_level = await self._reloader.reload()
        for worker in self._workers:
            worker.order("reload", log_level)

    def _stop(self, command: Command) -> None:
        self._stopping.set()
        for each in self._sockets:  # else the kernel would go on accepting connections that no worker takes
            each.close()
        for worker in self._workers:
            worker.order(command)
