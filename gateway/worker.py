"""Workers: a service in a process of its own, as its supervisor and as itself see it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Literal

from gateway.errors import ConfigurationError
from gateway.listener import StartupFailed
from gateway.observe.logs import configure_logs
from gateway.observe.stream import divert_standard_streams
from gateway.reload import Reload
from gateway.service import Factory, Service, Sockets, run_loop
from gateway.settings import Settings
from gateway.signals import IGNORED, WISHES, ignore

READY = ("ready", "")
News = tuple[str, str]
"""``READY``, or ``("refused", why)`` when the settings cannot be used."""
Order = Literal["drain", "stop"] | Reload


class Worker:
    """A worker process, from outside."""

    def __init__(self, settings: Settings, factory: Factory, sockets: Sockets) -> None:
        spawn = get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=work, args=(settings, factory, sockets, theirs), daemon=True, name="stats-gateway-worker"
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
