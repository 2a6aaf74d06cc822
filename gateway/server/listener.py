"""The listeners: bound sockets, the uvicorn servers on them, and how many connections the system has room for.

A connection is an open file. Clients may have only as many as leave a reserve: without one, they would take away
all else that needs an open file: Redis, the service, the registry, the metrics, a health check.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

import structlog
import uvicorn

from gateway.cache.dates import DateMiddleware
from gateway.errors import ConfigurationError, GatewayError
from gateway.jobs.wanted import MOST_BYTES
from gateway.lifecycle import Lifecycle
from gateway.proxy.methods import READING
from gateway.redis_url import RedisPlace
from gateway.server.fast_path import FastPath
from gateway.server.head import Limits
from gateway.server.protocol import protocol_class
from gateway.settings import Settings
from gateway.upstream.transport import CONNECTIONS as UPSTREAM_CONNECTIONS

BACKLOG = 65_535
"""Connections that may wait to be accepted; systems allow fewer (Linux: net.core.somaxconn, 4,096). Clients beyond
send their first request again after a second or more."""
TRIED = ((0, 50), (0, 55))
"""The versions of uvicorn, from and below, that the fast path was tried with."""
KEEP_ALIVE_SECONDS = 65
"""Longer than the 60 s after which usual load balancers drop an idle connection themselves."""
CHANGING = frozenset({b"POST", b"PUT", b"PATCH", b"DELETE"})
ADMIN_BODY_BYTES = 64 * 1024
ADMIN_ORDERS = (b"/reports", b"/api/reports", b"/api/reports/preview")
"""Where a report is ordered at the admin listener, with its list of items."""
ADMIN_HEADERS = [("x-content-type-options", "nosniff"), ("cross-origin-resource-policy", "same-origin")]
"""Headers of every admin answer, refusals too: no other site's page may use them."""
SLACK_SECONDS = 5.0
"""Seconds that a request may take besides its upstream call."""

ADMIN_CONNECTIONS = 64
"""Most connections of the admin listener."""
HEALTH_CONNECTIONS = 32
"""Most connections of the public listener beyond ``max_connections``, for health checks."""
OWN_FILES = 64
"""Listening sockets, event loop, metrics shared by workers, standard streams, registry, name look-ups."""
LEAST_SHARE = 4
"""Clients have at least this part of all open files (a quarter), however few there are."""
LATE_IMPORTS = (
    *("anyio.lowlevel", "anyio.streams.memory", "anyio.streams.stapled", "anyio._backends._asyncio"),
    *("anyio._core._sockets", "anyio._core._streams", "anyio._core._testing"),
    *("encodings.idna", "encodings.unicode_escape"),
)
"""Modules that libraries import at their first use: an import opens a file."""
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = structlog.get_logger("gateway")


class StartupFailed(GatewayError):
    """A part of the app did not start; the log says why."""


class Listener(uvicorn.Server):
    """A uvicorn server that leaves signals alone and calls ``on_start`` once it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self.on_start = on_start

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept. Raises StartupFailed where uvicorn would end the process."""
        try:
            await super().startup(sockets)
        except SystemExit:
            raise StartupFailed("the gateway could not start; its log says why") from None
        self.on_start()

    def stop(self) -> None:
        """Accept no more, and end once all requests in flight are answered."""
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
    if address[0] == "::":  # both families, whatever the system's default
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        bound.bind(address)
        bound.listen(BACKLOG)  # two sockets may bind one port; only one may listen
    except OSError as error:
        bound.close()
        raise ConfigurationError(f"the {name} listener cannot listen on {host}:{port}: {error.strerror}") from None
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL of a bound socket, with its real port."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def public_config(
    app: Any, settings: Settings, lifecycle: Lifecycle, lane: FastPath | None = None
) -> uvicorn.Config:
    """The public listener, which runs the app's lifespan; its end waits for one upstream call."""
    graceful = math.ceil(settings.upstream_timeout + SLACK_SECONDS)
    open_lane = lane if settings.fast_lane and lane is not None and lane.max_bytes and is_tried() else None
    http = protocol_class(_within_open_files(settings), lifecycle, open_lane)
    return _config(app, http, lifespan="on", timeout_graceful_shutdown=graceful)


def admin_config(app: Any, settings: Settings, lifecycle: Lifecycle) -> uvicorn.Config:
    """The admin listener, without a lifespan: its API's methods, small bodies, few connections."""
    limits = replace(
        Limits.of(settings),
        connections=min(settings.max_connections, ADMIN_CONNECTIONS),
        methods=READING | CHANGING,
        hosts=frozenset(),
        body_bytes=ADMIN_BODY_BYTES,
        posted=dict.fromkeys(ADMIN_ORDERS, MOST_BYTES),
    )
    http = protocol_class(limits, lifecycle)
    graceful = math.ceil(SLACK_SECONDS)
    return _config(
        DateMiddleware(app), http, lifespan="off", timeout_graceful_shutdown=graceful, headers=ADMIN_HEADERS
    )


def is_tried(version: str = uvicorn.__version__) -> bool:
    """Whether the fast path was tried with this uvicorn; logs where not."""
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if TRIED[0] <= release < TRIED[1]:
        return True
    log.warning("fast_lane_closed", reason=f"not tried with uvicorn {version}", consequence="hits cost more")
    return False


def _within_open_files(settings: Settings) -> Limits:
    """The public listener's limits, with no more connections than the open files allow."""
    limits, files = Limits.of(settings), open_files_limit()
    connections = client_connections(files, reserved_files(settings), limits.connections)
    if connections < limits.connections:
        wanted = limits.connections
        log.warning("max_connections_capped", max_connections=wanted, capped_at=connections, open_files=files)
    return replace(limits, connections=connections, spare=HEALTH_CONNECTIONS)


def _config(app: Any, http: type[asyncio.Protocol], **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level="warning",  # serve logs its start and end
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # uvicorn would add its own to an answer that has one
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
        **more,
    )


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one, for this process and its children."""
    with suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def import_ahead() -> None:
    """Import now what would be imported under load."""
    for name in LATE_IMPORTS:
        with suppress(ImportError):  # where a library's other version has no such part
            import_module(name)


def open_files_limit() -> int | None:
    """This process's limit of open files, or None where there is none."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def reserved_files(settings: Settings) -> int:
    """Open files reserved for all but the public listener's clients."""
    url = settings.redis_url.get_secret_value()
    nodes = 0 if url == "memory://" else len(RedisPlace.parse(url).hosts)
    redis = settings.redis_connections * nodes
    return ADMIN_CONNECTIONS + HEALTH_CONNECTIONS + UPSTREAM_CONNECTIONS + redis + OWN_FILES


def client_connections(files: int | None, reserved: int, wanted: int) -> int:
    """How many of the ``wanted`` connections fit within a limit of open files, ``reserved`` ones apart."""
    if files is None:
        return wanted
    return min(wanted, max(files - reserved, files // LEAST_SHARE, 1))


def are_files_exhausted(descriptor: int) -> bool:
    """Whether no file can be opened now, tried by copying an open one."""
    try:
        os.close(os.dup(descriptor))
    except OSError as error:
        return error.errno in EXHAUSTED
    return False
