"""Listeners: a bound socket, and the uvicorn server that answers on it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import structlog
import uvicorn

from gateway import open_files
from gateway.cache.dates import Dated
from gateway.errors import ConfigurationError, GatewayError
from gateway.lifecycle import Lifecycle
from gateway.limits import Limits
from gateway.protocol import protocol_class
from gateway.proxy.fast_path import Lane
from gateway.proxy.methods import READING
from gateway.settings import Settings

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


def public_config(app: Any, settings: Settings, lifecycle: Lifecycle, lane: Lane | None = None) -> uvicorn.Config:
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
