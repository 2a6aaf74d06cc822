"""One serving process: the signals it obeys, its two listeners from start to drained end, and its life as one of
several workers."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import current_process, get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Generic, Literal, TypeVar

import structlog
from starlette.applications import Starlette
from uvicorn.loops.auto import auto_loop_factory

from gateway.errors import ConfigurationError
from gateway.lifecycle import Lifecycle
from gateway.observe.logs import configure_logs, divert_standard_streams, set_level, settle
from gateway.server.fast_path import FastPath
from gateway.server.listener import (
    Listener,
    StartupFailed,
    admin_config,
    are_files_exhausted,
    open_files_limit,
    public_config,
)
from gateway.settings import Settings
from gateway.upstream.tasks import Background

Command = Literal["drain", "stop", "reload"]
COMMANDS: dict[signal.Signals, Command] = {
    signal.SIGTERM: "drain",
    signal.SIGQUIT: "drain",
    signal.SIGINT: "stop",
    signal.SIGHUP: "reload",
}
"""SIGQUIT is graceful as in nginx; a second signal that ends, ends at once."""
IGNORED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)
"""Their default is to end the process; other servers reopen their logs at SIGUSR1."""
LIVE = frozenset({"log_level"})
"""Settings that take effect at a reload; all others at the next start."""
UNCOLLECTED = 10_000
"""Objects that may be allocated, and not freed, before the collector looks at the youngest."""
WATCH_SECONDS = 0.05
"""Time between two checks for open files: connections that a shorter shortage ends are not seen."""
TELL_SECONDS = 10.0
"""Least time between two lines of the log about refused connections."""
NAME = "stats-gateway-worker-"
READY = ("ready", "")
"""A worker's message once it serves; ``("refused", why)`` when the settings cannot be used."""
Order = tuple[Command, str]
"""A supervisor's message: a command, and the log level of a reload."""

log = structlog.get_logger("gateway")


def prepare_signals() -> None:
    """Ignore the signals that would end this process by default; SIGHUP waits until there is a listener."""
    ignore(*IGNORED)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def ignore(*numbers: signal.Signals) -> None:
    """Ignore signals, also those that are pending."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def listen(on_command: Callable[[Command, int], None]) -> None:
    """Call ``on_command`` on the running event loop with each signal's command and number.

    SIGHUP also says that a terminal is gone (POSIX, General Terminal Interface, *Modem Disconnect*): where one of
    the standard streams was a terminal and is none any more, its command is to drain.
    """
    loop = asyncio.get_running_loop()
    terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]

    def received(number: signal.Signals) -> None:
        is_hangup = number == signal.SIGHUP and not all(map(os.isatty, terminals))
        on_command("drain" if is_hangup else COMMANDS[number], number)

    for number in COMMANDS:
        loop.add_signal_handler(number, received, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, COMMANDS)


def is_urgent(number: int) -> bool:
    """Whether a signal to a process that ends already means: at once. Not SIGHUP: system and shell both send it
    when a terminal ends."""
    return number != signal.SIGHUP


class Reloader:
    """Reads the settings of a running gateway again; ``settings`` are those it started with."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self._settings = settings
        self._read = read
        self.log_level: str = settings.log_level

    async def reload(self) -> str:
        """Read the settings, off the event loop, and log the result; the log level from now on. Settings that
        cannot be used change nothing."""
        try:
            settings = await asyncio.to_thread(self._read)
        except ConfigurationError as error:
            log.error("reload_failed", reason=error.message, consequence="the settings in force stay")
            return self.log_level
        self.log_level = settings.log_level
        set_level(settings.log_level)
        waiting = [name for name in self._changed(settings) if name not in LIVE]
        (log.warning if waiting else log.info)("reloaded", log_level=settings.log_level, needs_restart=waiting)
        return self.log_level

    def _changed(self, settings: Settings) -> list[str]:
        return [name for name in Settings.model_fields if getattr(settings, name) != getattr(self._settings, name)]


Public = TypeVar("Public", bound=Starlette, covariant=True)


@dataclass(frozen=True, slots=True)
class Application(Generic[Public]):
    """What a service serves: two ASGI apps, their lifecycle, the fast path before the public app, and
    ``look_again``, which has the registry read at once. The lifespan of ``public`` starts and stops the parts."""

    public: Public
    admin: Starlette
    lifecycle: Lifecycle
    look_again: Callable[[], None]
    fast_path: FastPath | None = None


Factory = Callable[[Settings], Application[Starlette]]
Sockets = tuple[socket.socket, socket.socket]
"""The public and the admin listener's."""


class Service:
    """Both listeners of one process, on sockets that already listen."""

    def __init__(
        self,
        application: Application[Starlette],
        settings: Settings,
        sockets: Sockets,
        on_ready: Callable[[], None],
    ) -> None:
        lifecycle = application.lifecycle
        self._application = application
        self._lifecycle = lifecycle
        self._drain_seconds = settings.drain_seconds
        self._sockets = sockets
        self._public = Listener(
            public_config(application.public, settings, lifecycle, application.fast_path), on_ready
        )
        self._admin = Listener(admin_config(application.admin, settings, lifecycle))
        self.stopping = False

    async def run(self) -> None:
        """Serve until stopped. Raises StartupFailed."""
        # A request's objects are freed with it: the collector would mostly walk what was there from the start.
        gc.freeze()
        gc.set_threshold(UNCOLLECTED)
        public, admin = self._sockets
        scraped = asyncio.create_task(self._admin.serve([admin]))
        watched = asyncio.create_task(self._watch(admin.fileno()))
        try:
            await self._public.serve([public])
        finally:
            watched.cancel()
            self._admin.stop()  # last, so that the end can be watched
            await scraped

    async def _watch(self, descriptor: int) -> None:
        """Log refused connections now and then, and a lack of open files: the event loop then closes what it
        accepts without a word."""
        logged, logged_at, lifecycle = (0, 0), -TELL_SECONDS, self._lifecycle
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            lifecycle.exhausted += are_files_exhausted(descriptor)
            seen = lifecycle.refused, lifecycle.exhausted
            now = asyncio.get_running_loop().time()
            if seen == logged or now - logged_at < TELL_SECONDS:
                continue
            refused, looks = seen[0] - logged[0], seen[1] - logged[1]
            logged, logged_at = seen, now
            if looks:
                files = open_files_limit()
                log.error("open_files_exhausted", open_files=files, consequence="new connections are reset")
            if refused:
                log.warning("connections_refused", connections=refused, reason="too many are open")

    def stop(self, *, drain: bool) -> None:
        """Begin the end; only the first call counts.

        Readiness turns 503 and answers close their connections. With ``drain`` this goes on for
        ``drain_seconds``, so that load balancers and clients move elsewhere, before the listeners stop.
        """
        if self.stopping:
            return
        self.stopping = True
        pause = self._drain_seconds if drain and self._lifecycle.ready else 0.0
        self._lifecycle.drain()
        asyncio.get_running_loop().call_later(pause, self._public.stop)

    def reload(self, log_level: str) -> None:
        """Take up a log level, and read the registry."""
        set_level(log_level)
        self._application.look_again()


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, on uvloop where it is installed."""
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(main)


def run_alone(
    settings: Settings, factory: Factory, sockets: Sockets, on_ready: Callable[[], None], reloader: Reloader
) -> None:
    """Serve in this process until a signal asks for its end; a second one ends it at once.

    Raises ConfigurationError from the factory, and StartupFailed.
    """

    async def main() -> None:
        service = Service(factory(settings), settings, sockets, on_ready)
        background = Background()

        async def reload() -> None:
            service.reload(await reloader.reload())

        def on_command(command: Command, number: int) -> None:
            if not service.stopping and command == "reload":
                background.spawn(reload())
            elif not service.stopping:
                service.stop(drain=command == "drain")
            elif is_urgent(number):
                settle()
                os._exit(128 + number)

        listen(on_command)
        await service.run()

    run_loop(main())


class Worker:
    """A worker process, as its supervisor sees it."""

    def __init__(self, settings: Settings, factory: Factory, sockets: Sockets, number: int) -> None:
        spawn = get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=work, args=(settings, factory, sockets, theirs), daemon=True, name=f"{NAME}{number}"
        )
        with blocked(COMMANDS):
            self._process.start()
        theirs.close()  # the worker's is then the only one, and its end is the worker's end
        self.ready = False
        self.refusal: str | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.pid} {'ready' if self.ready else 'starting'}>"

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    async def message(self) -> bool:
        """Wait for the worker's next message; False when it has ended."""
        await _readable(self._pipe)
        try:
            what, why = self._pipe.recv()
        except (EOFError, OSError):
            return False
        self.ready = what == "ready"
        self.refusal = why if what == "refused" else None
        return True

    async def ended(self) -> int:
        """Wait for the process's end; its exit code, negative for a signal."""
        self._pipe.close()
        await asyncio.to_thread(self._process.join)
        return self._process.exitcode or 0

    def order(self, command: Command, log_level: str = "") -> None:
        """Send the worker a command, unless it has just ended."""
        try:
            self._pipe.send((command, log_level))
        except OSError:
            return

    def kill(self) -> None:
        self._process.kill()


def worker_number() -> int | None:
    """This process's number among its supervisor's workers, from 0, which its replacement inherits; None where it
    is no worker."""
    name = current_process().name
    return int(name.removeprefix(NAME)) if name.startswith(NAME) else None


def work(settings: Settings, factory: Factory, sockets: Sockets, pipe: Connection) -> None:
    """The worker process: serve until ordered to end, or until the supervisor is gone.

    Orders come through the pipe and all signals but SIGTERM are ignored, because what a terminal sends (Ctrl-C,
    its own end) reaches supervisor and workers alike and must count once.
    """
    ignore(signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, *IGNORED)
    divert_standard_streams()
    configure_logs(settings.log_level, settings.log_format)

    async def main() -> None:
        service = Service(factory(settings), settings, sockets, lambda: pipe.send(READY))
        loop = asyncio.get_running_loop()

        def obey() -> None:
            try:
                order: Order = pipe.recv()
            except (EOFError, OSError):
                loop.remove_reader(pipe.fileno())
                order = ("stop", "")  # the supervisor's successor needs the ports
            command, log_level = order
            if command == "reload":
                service.reload(log_level)
            else:
                service.stop(drain=command == "drain")

        loop.add_reader(pipe.fileno(), obey)
        loop.add_signal_handler(signal.SIGTERM, lambda: service.stop(drain=True))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, COMMANDS)
        await service.run()

    try:
        run_loop(main())
    except ConfigurationError as error:
        pipe.send(("refused", error.message))
        sys.exit(2)
    except StartupFailed:
        sys.exit(1)


@contextmanager
def blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block signals in this process, and in one started meanwhile until it is prepared for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        # Else the first start of a process would start it, and let some signals through. It keeps the others
        # blocked: what a terminal sends must not end it before the workers.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _readable(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe.fileno())
