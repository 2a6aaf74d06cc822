"""Connecting to the service, and the authorities that certify it."""

from __future__ import annotations

import asyncio
import os
import ssl
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio._backends._asyncio  # else it is loaded when the first connection is opened, and holds that up
import httpx2 as httpx

from gateway.errors import ConfigurationError, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.connection import Connection


class Sockets:
    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, seconds: float) -> Connection:
        """Connect within ``seconds``, name look-up included, and as many again for TLS.

        Raises UpstreamUnreachable, UpstreamTimeout.
        """
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
    """Raise where the connection has ended already: what a transport does then differs by event loop."""
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


FILE, FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
"""OpenSSL's variables, each for one half of the system's trust store."""
SETTING = "upstream_ca_file"
EMPTY = "it holds no certificate"


@dataclass(frozen=True, slots=True)
class TrustStore:
    """Authorities in a PEM ``file``, and in ``folders`` whose files are named by hash as OpenSSL does.

    ``source`` is the setting or variables that name them; without one they are the system's. The setting's file is
    ``required``; what a variable names may be missing, as with OpenSSL.
    """

    file: str = ""
    folders: tuple[str, ...] = ()
    source: str = ""
    required: bool = False

    @classmethod
    def of(cls, ca_file: str = "", environment: Mapping[str, str] = os.environ) -> TrustStore:
        """The setting's file alone, else what the environment names, else the system's store."""
        if ca_file:
            return cls(ca_file, source=SETTING, required=True)
        named = [name for name in (FILE, FOLDER) if environment.get(name)]
        if not named:
            return cls()
        system = ssl.get_default_verify_paths()
        file = environment.get(FILE) or _if_there(system.openssl_cafile)
        folders = environment.get(FOLDER) or _if_there(system.openssl_capath)
        return cls(file, tuple(filter(None, folders.split(os.pathsep))), " and ".join(named))

    def context(self) -> ssl.SSLContext:
        """A client's context that trusts these authorities. Slow: there may be hundreds.

        Raises ConfigurationError where a file cannot be read, or holds no certificate.
        """
        if not self.source:
            return httpx.create_ssl_context(trust_env=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.required or Path(self.file).is_file():
            self._load(context)
        for folder in filter(os.path.isdir, self.folders):
            context.load_verify_locations(capath=folder)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            content = Path(self.file).read_bytes()
            if content.startswith(BOM_UTF8):  # before which OpenSSL overlooks the first certificate
                context.load_verify_locations(cadata=content.decode("utf-8-sig", "replace"))
            else:
                context.load_verify_locations(cafile=self.file)
        except OSError as error:
            reason = EMPTY if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigurationError(f"{self.source}: {self.file} cannot be used: {reason}") from None
        except ValueError:
            raise ConfigurationError(f"{self.source}: {self.file} cannot be used: {EMPTY}") from None

    @property
    def places(self) -> list[str]:
        return [place for place in (self.file, *self.folders) if place]

    @property
    def missing(self) -> list[str]:
        """The named places that do not exist."""
        return [place for place in self.places if not Path(place).exists()]

    def __str__(self) -> str:
        if not self.source:
            return "the system's trust store"
        there = [place for place in self.places if place not in self.missing]
        return f"{', '.join(there) or 'nothing'} ({self.source})"


def _if_there(place: str) -> str:
    return place if Path(place).exists() else ""


def context_for(url: str) -> ssl.SSLContext:
    """A context for a client of ``url``; for plain HTTP one that trusts nobody, which costs nothing.

    Raises ConfigurationError.
    """
    return TrustStore.of().context() if url.startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
