"""Listeners: a bound socket, and the uvicorn server that answers on it.

Service: one process's public and admin listener, from its start to its drained end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Protocol

import structlog
import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from gateway.cache.dates import Dated
from gateway.errors import ConfigurationError, GatewayError
from gateway.lifecycle import Lifecycle
from gateway.observe.logs import set_level, settle
from gateway.proxy.methods import READING
from gateway.server import open_files
from gateway.server.fast_path import FastPath
from gateway.server.head import Limits
from gateway.server.open_files import exhausted, limit
from gateway.server.protocol import protocol_class
from gateway.server.signals import Reload, Reloading, Wish, hurries, listen
from gateway.settings import Settings
from gateway.upstream.tasks import Background

BACKLOG = 2_048
TRIED = ((0, 50), (0, 55))
"""The versions of uvicorn, from and below, whose protocol the fast lane was tried with."""
KEEP_ALIVE_SECONDS = 65
"""Longer than the 60 s after which usual load balancers drop an idle connection themselves."""
CHANGING = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE"})
ADMIN_BODY_BYTES = 64 * 1024
ADMIN_HEADERS = [("x-content-type-options", "nosniff"), ("cross-origin-resource-policy", "same-origin")]
"""Of every answer of the admin listener, its protocol's refusals too: nothing there is for another site's page."""
SLACK_SECONDS = 5.0
"""What a request that waits for an upstream call may take on top of that call."""

log = structlog.get_logger("gateway")


class StartupFailed(GatewayError):
    """A part of the app did not start; the log says why."""


class Listener(uvicorn.Server):
    """A uvicorn server that leaves the signals alone and tells when it accepts."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self.on_start = on_start

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises StartupFailed where uvicorn would end the process."""
        try:
            await super().startup(sockets)
        except SystemExit:
            raise StartupFailed("the gateway could not start; its log says why") from None
        self.on_start()

    def stop(self) -> None:
        """Accepts no more and ends once what is in flight is answered."""
        self.should_exit = True


def bind(host: str, port: int, name: str) -> socket.socket:
    """A listening socket. Raises ConfigurationError in one line: unknown host, port in use, not permitted."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"the {name} listener cannot use {host}: {error.strerror}") from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(BACKLOG)  # two sockets may bind one port; only one may listen
    except OSError as error:
        bound.close()
        raise ConfigurationError(f"the {name} listener cannot listen on {host}:{port}: {error.strerror}") from None
    return bound


def url_of(bound: socket.socket) -> str:
    """Where a bound socket is reached, with the port it really has."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def public_config(
    app: Any, settings: Settings, lifecycle: Lifecycle, lane: FastPath | None = None
) -> uvicorn.Config:
    """The public listener: runs the app's lifespan; requests in flight may wait for one upstream call."""
    graceful = math.ceil(settings.upstream_timeout + SLACK_SECONDS)
    open_lane = lane if settings.fast_lane and lane is not None and lane.max_bytes and is_tried() else None
    http = protocol_class(_within_open_files(settings), lifecycle, open_lane)
    return _config(app, http, lifespan="on", timeout_graceful_shutdown=graceful)


def admin_config(app: Any, settings: Settings, lifecycle: Lifecycle) -> uvicorn.Config:
    """The admin listener: no life of its own; its API's methods, small bodies, whatever the public one takes."""
    limits = replace(
        Limits.of(settings),
        connections=min(settings.max_connections, open_files.ADMIN_CONNECTIONS),
        methods=READING | CHANGING,
        hosts=frozenset(),
        body_bytes=ADMIN_BODY_BYTES,
        posted=frozenset(),
    )
    http = protocol_class(limits, lifecycle)
    graceful = math.ceil(SLACK_SECONDS)
    return _config(Dated(app), http, lifespan="off", timeout_graceful_shutdown=graceful, headers=ADMIN_HEADERS)


def is_tried(version: str = uvicorn.__version__) -> bool:
    """Whether the fast lane was tried with this uvicorn; where not, the log says so once."""
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if TRIED[0] <= release < TRIED[1]:
        return True
    log.warning("fast_lane_closed", reason=f"not tried with uvicorn {version}", consequence="hits cost more")
    return False


def _within_open_files(settings: Settings) -> Limits:
    """The public listener's limits, with no more connections than the system allows beside all else."""
    limits, files = Limits.of(settings), open_files.limit()
    connections = open_files.room(files, open_files.reserve(settings), limits.connections)
    if connections < limits.connections:
        wanted = limits.connections
        log.warning("max_connections_capped", max_connections=wanted, capped_at=connections, open_files=files)
    return replace(limits, connections=connections, spare=open_files.HEALTH_CONNECTIONS)


def _config(app: Any, http: type[asyncio.Protocol], **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level="warning",  # its own account of starting and ending; serve gives another
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # uvicorn would add its own to an answer that has one
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
        **more,
    )


UNCOLLECTED = 10_000
"""Objects that may have been made, and not gone by themselves, before the collector looks at the youngest."""
WATCH_SECONDS = 0.05
"""Between two looks for a file to open: connections that a shorter shortage ends are not seen."""
TELL_SECONDS = 10.0
"""Between two lines of the log about what was refused, at least."""


class Application(Protocol):
    """What a service serves. ``public`` has a lifespan, which starts and stops the parts."""

    @property
    def public(self) -> Any: ...

    @property
    def admin(self) -> Any: ...

    @property
    def lifecycle(self) -> Lifecycle: ...

    @property
    def fast_path(self) -> FastPath | None: ...

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
        self._public = Listener(
            public_config(application.public, settings, lifecycle, application.fast_path), on_ready
        )
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
