"""The sandbox on a socket: uvicorn, our own signals, and a line that says where."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from gateway.sandbox.app import Sandbox

BACKLOG = 2_048
KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than a client's pool keeps one, so that it closes first."""


class SandboxServer(uvicorn.Server):
    """Stops at SIGINT and SIGTERM without raising them again, so that being told to stop is a success."""

    def __init__(self, sandbox: Sandbox, announce: Callable[[], None]) -> None:
        config = uvicorn.Config(
            sandbox,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)
        self._sandbox = sandbox
        self._announce = announce

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Installs our handlers for as long as the server runs."""
        before = {kind: signal.signal(kind, self.handle_exit) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Announces itself once requests are answered and signals are heard."""
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets go of all that is held, then stops."""
        self._sandbox.release()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one. Raises OSError where that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # asyncio sets TCP_NODELAY on what a socket accepts whose protocol says TCP, which that one's does not; without
    # it an answer in two writes waits for the client's delayed acknowledgement, some 40 ms.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def url_of(listener: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(sandbox: Sandbox, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serves until SIGINT or SIGTERM; calls ``announce`` once, when it is ready."""
    asyncio.run(SandboxServer(sandbox, announce).serve(sockets=[listener]))
