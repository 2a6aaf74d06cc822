"""Network: how connections to the service are opened."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import anyio
import anyio._backends._asyncio  # else it is loaded when the first connection is opened, and holds that up

from gateway.errors import UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.connection import Connection


class Network(Protocol):
    """How connections are opened."""

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> Connection:
        """Connects within ``seconds``, name look-up included, and as many again for TLS.

        Raises UpstreamUnreachable, UpstreamTimeout.
        """


class Sockets:
    """The real ones."""

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> Connection:
        """See Network."""
        with _connecting():
            async with asyncio.timeout(seconds):
                # anyio tries a host's addresses side by side (RFC 8305), which uvloop does not.
                stream = await anyio.connect_tcp(host, port)
        transport: asyncio.Transport = stream._transport  # type: ignore[attr-defined]
        _check(transport)
        connection = Connection()
        connection.connection_made(transport)
        transport.set_protocol(connection)
        transport.resume_reading()
        if tls is not None:
            await _encrypt(connection, transport, tls, host, seconds)
        return connection


async def _encrypt(
    connection: Connection, transport: asyncio.Transport, tls: ssl.SSLContext, host: str, seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    try:
        with _connecting():
            async with asyncio.timeout(seconds):
                encrypted = await loop.start_tls(transport, connection, tls, server_hostname=host)
    except BaseException:
        transport.abort()
        raise
    if encrypted is None:
        raise UpstreamUnreachable("The service cannot be reached.")
    connection.connection_made(encrypted)


def _check(transport: asyncio.BaseTransport) -> None:
    """Refuses a connection that has ended already: what a transport does then differs by event loop."""
    if transport.is_closing():
        raise UpstreamUnreachable("The service cannot be reached.")


@contextmanager
def _connecting() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimeout("The service did not answer in time.") from error
    except OSError as error:
        raise UpstreamUnreachable("The service cannot be reached.") from error
