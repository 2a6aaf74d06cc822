"""Server: ``serve``, from bound sockets to an exit code."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from gateway import __version__
from gateway.observe.logs import configure_logs, divert_standard_streams
from gateway.redis_url import masked_url
from gateway.server import open_files, signals
from gateway.server.listener import Factory, Sockets, StartupFailed, bind, run_alone, url_of
from gateway.server.signals import Read, Reloading
from gateway.server.workers import Supervisor, Worker
from gateway.settings import Settings, load_settings

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MEMORY_WARNING = """\
WARNING: no Redis. Answers, the queue and the budget live in this process's memory: they are lost when it ends,
WARNING: and another gateway process would ask the service on top of this one. For anything but trying it out,
WARNING: set STATS_GATEWAY_REDIS_URL."""
NO_ADMIN = """\
NOTE: no admin token: the admin API and the console answer nobody until STATS_GATEWAY_ADMIN_TOKEN is set."""

Announce = Callable[[str], None]


def serve(
    settings: Settings,
    factory: Factory,
    announce: Announce,
    advice: Sequence[str] = (),
    read: Read = load_settings,
) -> int:
    """Serves until told to end; the exit code. ``advice`` is announced with the rest; ``read`` reads the settings
    again where that is asked for.

    0 after a drained end, 1 when a start or an end failed, 128 + n when a second signal cut the end short.
    ``factory`` is called in each worker process, so it is a module's function. Raises ConfigurationError: a
    port in use, or whatever the factory raises.
    """
    signals.prepare()
    divert_standard_streams()
    open_files.raise_limit()
    configure_logs(settings.log_level, settings.log_format)
    with (
        closing(bind(settings.host, settings.port, "public")) as public,
        closing(bind(settings.admin_host, settings.admin_port, "admin")) as admin,
    ):
        reloading = Reloading(settings, read)
        ports = {"port": public.getsockname()[1], "admin_port": admin.getsockname()[1]}
        settings = settings.model_copy(update=ports)  # those that it really has, where one was free to choose
        for text in (opening(settings, url_of(public), url_of(admin)), *advice):
            announce(text)

        def on_ready() -> None:
            announce("ready")
            if sys.stderr.isatty():
                announce(f"Console: {browsable(url_of(admin))}  (Ctrl-C ends)")

        return _serve(settings, factory, (public, admin), on_ready, reloading)


def opening(settings: Settings, public: str, admin: str) -> str:
    """What a gateway says of itself when it starts; no secrets."""
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
    told = [f"stats-gateway {__version__}", *(f"  {name:<9} {value}" for name, value in lines.items())]
    told += [MEMORY_WARNING] * (redis_url == "memory://")
    told += [NO_ADMIN] * (not settings.admin_token.get_secret_value() and not settings.admin_tokens)
    return "\n".join(told)


def browsable(url: str) -> str:
    """A listener's URL as a browser on this machine reaches it: all addresses are no address."""
    return f"{url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')}/"


def _registry(settings: Settings) -> str:
    path = settings.registry_file
    return masked_url(settings.registry.get_secret_value()) if path is None else str(path.absolute())


def _serve(
    settings: Settings, factory: Factory, sockets: Sockets, on_ready: Callable[[], None], reloading: Reloading
) -> int:
    if settings.workers > 1:
        with shared_metrics():
            return asyncio.run(_supervise(settings, factory, sockets, on_ready, reloading))
    try:
        run_alone(settings, factory, sockets, on_ready, reloading)
    except StartupFailed:
        return 1
    return 0


async def _supervise(
    settings: Settings, factory: Factory, sockets: Sockets, on_ready: Callable[[], None], reloading: Reloading
) -> int:
    def stop_listening() -> None:
        # Else the kernel would go on accepting, for nobody, once the workers have closed theirs.
        for each in sockets:
            each.close()

    def start(number: int) -> Worker:
        level = {"log_level": reloading.now.log_level}
        return Worker(settings.model_copy(update=level), factory, sockets, number)

    return await Supervisor(start, settings.workers, on_ready, stop_listening, reloading).run()


@contextmanager
def shared_metrics() -> Iterator[None]:
    """A folder in which prometheus_client adds the workers' metrics up; the operator's own if there is one."""
    if METRICS_FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="stats-gateway-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER]
