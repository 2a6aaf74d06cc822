"""Service: one process's public and admin listener, from its start to its drained end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog
from uvicorn.loops.auto import auto_loop_factory

from gateway.lifecycle import Lifecycle
from gateway.listener import Listener, admin_config, public_config
from gateway.observe.logs import set_level
from gateway.observe.stream import settle
from gateway.open_files import exhausted, limit
from gateway.proxy.fast_path import Lane
from gateway.reload import Reload, Reloading
from gateway.settings import Settings
from gateway.signals import Wish, hurries, listen
from gateway.upstream.tasks import Background

UNCOLLECTED = 10_000
"""Objects that may have been made, and not gone by themselves, before the collector looks at the youngest."""
WATCH_SECONDS = 0.05
"""Between two looks for a file to open: connections that a shorter shortage ends are not seen."""
TELL_SECONDS = 10.0
"""Between two lines of the log about what was refused, at least."""


log = structlog.get_logger("gateway")


class Application(Protocol):
    """What a service serves. ``public`` has a lifespan, which starts and stops the parts."""

    @property
    def public(self) -> Any: ...

    @property
    def admin(self) -> Any: ...

    @property
    def lifecycle(self) -> Lifecycle: ...

    @property
    def lane(self) -> Lane | None: ...

    def look_again(self) -> None:
        """Looks at once for what changed in the registry."""


Factory = Callable[[Settings], Application]
Sockets = tuple[socket.socket, socket.socket]
"""The public and the admin listener's."""


class Service:
    """Both listeners of one process, on sockets that already listen."""

    def __init__(
        self, application: Application, settings: Settings, sockets: Sockets, on_ready: Callable[[], None]
    ) -> None:
        lifecycle = application.lifecycle
        self._application = application
        self._lifecycle = lifecycle
        self._drain_seconds = settings.drain_seconds
        self._sockets = sockets
        self._public = Listener(public_config(application.public, settings, lifecycle, application.lane), on_ready)
        self._admin = Listener(admin_config(application.admin, settings, lifecycle))
        self.stopping = False

    async def run(self) -> None:
        """Serves until stopped. Raises StartupFailed."""
        # What a request makes goes with it: the collector would mostly walk what was there from the start.
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
        """Tells, now and then, of connections that were refused, and of open files that ran out: the event loop
        then closes what it accepts without a word."""
        told, told_at, lifecycle = (0, 0), -TELL_SECONDS, self._lifecycle
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            lifecycle.exhausted += exhausted(descriptor)
            seen = lifecycle.refused, lifecycle.exhausted
            now = asyncio.get_running_loop().time()
            if seen == told or now - told_at < TELL_SECONDS:
                continue
            refused, looks = seen[0] - told[0], seen[1] - told[1]
            told, told_at = seen, now
            if looks:
                log.error("open_files_exhausted", open_files=limit(), consequence="new connections are reset")
            if refused:
                log.warning("connections_refused", connections=refused, reason="too many are open")

    def stop(self, *, drain: bool) -> None:
        """Begins the end; only the first call counts.

        Readiness turns 503 and answers close their connections. With ``drain`` this goes on for
        ``drain_seconds``, so that load balancers and clients move elsewhere, before the listeners stop.
        """
        if self.stopping:
            return
        self.stopping = True
        pause = self._drain_seconds if drain and self._lifecycle.ready else 0.0
        self._lifecycle.drain()
        asyncio.get_running_loop().call_later(pause, self._public.stop)

    def take_up(self, reload: Reload) -> None:
        """What changed takes effect."""
        set_level(reload.log_level)
        self._application.look_again()


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end on uvloop where there is one."""
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(main)


def run_alone(
    settings: Settings, factory: Factory, sockets: Sockets, on_ready: Callable[[], None], reloading: Reloading
) -> None:
    """Serves in this process until a signal asks for its end; a second one ends it at once.

    Raises ConfigurationError from the factory, and StartupFailed.
    """

    async def main() -> None:
        service = Service(factory(settings), settings, sockets, on_ready)
        background = Background()

        async def reload() -> None:
            service.take_up(await reloading.again())

        def heard(wish: Wish, number: int) -> None:
            if not service.stopping and wish == "reload":
                background.spawn(reload())
            elif not service.stopping:
                service.stop(drain=wish == "drain")
            elif hurries(number):
                settle()
                os._exit(128 + number)

        listen(heard)
        await service.run()

    run_loop(main())
