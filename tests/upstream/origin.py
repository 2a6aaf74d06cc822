"""An origin that says exactly what a test tells it to, on a raw socket, and keeps what it was told."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.upstream.client import UpstreamClient, UpstreamRequest, UpstreamResponse
from gateway.upstream.transport import BeforeWrite, Timeouts

Behaviour = Callable[["Peer"], Awaitable[None]]
LIMIT = 20.0
"""Seconds after which a test with an origin is given up."""
PATIENT = Timeouts(connect=1000, read=1000, write=1000, pool=1000, total=1000)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """One accepted connection."""

    def __init__(self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.origin = origin
        self.reader = reader
        self.writer = writer
        origin.connections += 1
        self.number = origin.connections

    async def head(self) -> bytes:
        """The next request's head, also kept in ``origin.heads``; the handler ends where none comes."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.origin.heads.append(head)
        return head

    async def body(self) -> bytes:
        """The content that the last head announced."""
        found = re.search(rb"\r\ncontent-length: (\d+)\r\n", self.origin.heads[-1].lower())
        return await self.reader.readexactly(int(found[1])) if found else b""

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        self.writer.transport.abort()

    async def until_closed(self) -> None:
        """Reads on until the other side closes."""
        while await self.reader.read(65_536):
            pass


class Origin:
    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.stop_listening: Callable[[], None] = lambda: None
        self.heads: list[bytes] = []
        self.connections = 0


def answering(*answers: bytes, then_close: bool = False) -> Behaviour:
    """Gives each request on a connection the next of ``answers``, then keeps the connection or closes it."""

    async def behave(peer: Peer) -> None:
        for answer in answers:
            await peer.head()
            await peer.say(answer)
        if not then_close:
            await peer.until_closed()

    return behave


@asynccontextmanager
async def serving(
    behaviour: Behaviour, tls: ssl.SSLContext | None = None, port: int = 0, limit: float = LIMIT
) -> AsyncIterator[Origin]:
    """Runs an origin, on a free port unless one is given, until the block ends and all that it started has."""
    origin = Origin()
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await behaviour(Peer(origin, reader, writer))
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        handlers.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", port, ssl=tls, limit=1 << 20)
    scheme = "http" if tls is None else "https"
    origin.port = server.sockets[0].getsockname()[1]
    origin.url = f"{scheme}://127.0.0.1:{origin.port}"
    origin.stop_listening = server.close
    try:
        async with asyncio.timeout(limit):
            yield origin
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers)


@asynccontextmanager
async def calling(url: str, timeouts: Timeouts = PATIENT, **options: object) -> AsyncIterator[UpstreamClient]:
    """A client of an origin, closed at the block's end."""
    cap = options.pop("body_max_bytes", 1 << 20)
    client = UpstreamClient(url, timeouts, cap, **options)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.aclose()


async def ask(
    client: UpstreamClient,
    target: bytes = b"/",
    before_write: BeforeWrite | None = None,
    *,
    authorization: bytes | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    method: bytes = b"GET",
    content: bytes = b"",
) -> UpstreamResponse:
    return await client.fetch(UpstreamRequest(target, authorization, headers, method, content), before_write)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a self-signed certificate for 127.0.0.1, and a client's that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "origin.pem"
    file.write_bytes(pem + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=pem.decode())
