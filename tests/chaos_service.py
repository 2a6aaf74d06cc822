"""A proxy in front of the service that drips, floods, refuses, and ends its connections, when it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.loopback import running
from tests.redis_server import free_port

FIREWALL_PAGE = b"<html><body><h1>403 Forbidden</h1></body></html>\n"
REFUSALS: dict[str, bytes] = {
    "403-html": b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b"
    % (len(FIREWALL_PAGE), FIREWALL_PAGE),
    "503-html": b"HTTP/1.1 503 Sorry\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
    "429": b"HTTP/1.1 429 Slow down\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
    "403-json": b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 70\r\n\r\n"
    b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}',
    "reset": b"",
}
"""By name, what a target that holds the refused word gets; ``reset`` ends the connection with RST."""
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 50


@dataclass
class ChaosService:
    """Passes calls on to a service on ``target``, until it is told to misbehave.

    - ``drips``: bodies come in chunks of one byte, as fast as they are read.
    - ``floods``: interim answers without end.
    - ``ends_on_reuse``: the second request on a connection finds it ended (FIN), before a byte of its answer.
    - ``refuses``: targets that hold this word get ``refusal``, a name of REFUSALS.
    - ``unstorable``: answers for targets that hold this word are marked ``no-store``.

    ``arrivals`` has the monotonic time of each request that came, ``targets`` its target.
    """

    target: int
    port: int = field(default_factory=free_port)
    drips: bool = False
    floods: bool = False
    ends_on_reuse: bool = False
    refuses: str = ""
    refusal: str = "403-html"
    unstorable: str = ""
    arrivals: list[float] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behave(self) -> None:
        """Passes on only, from the next request on."""
        self.drips = self.floods = self.ends_on_reuse = False
        self.refuses = self.unstorable = ""

    async def serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        """Serves until it is over."""
        served: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connection(reader, writer))
            served.add(task)
            task.add_done_callback(served.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", self.port)
        ready.set()
        await over.wait()
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        await asyncio.sleep(0)  # what was closed ends in the next turn

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._answer_all(reader, writer)
        finally:
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, goes_on = True, True
        while goes_on:
            head = await reader.readuntil(b"\r\n\r\n")
            if self.ends_on_reuse and not first:
                return
            first = False
            self.arrivals.append(time.monotonic())
            self.targets.append(head.split(b" ", 2)[1].decode("latin-1"))
            goes_on = await self._answer(head, self.targets[-1], writer)

    async def _answer(self, head: bytes, target: str, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; False where the connection is reset."""
        if self.refuses and self.refuses in target:
            if self.refusal == "reset":
                reset(writer)
                return False
            writer.write(REFUSALS[self.refusal])
            return True
        while self.floods:
            writer.write(INTERIM)
            await writer.drain()
        status, body = await self._asked(head)
        if self.unstorable and self.unstorable in target:
            status += b"\r\nCache-Control: no-store"
        if not self.drips:
            writer.write(status + b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return True
        writer.write(status + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.writelines([b"1\r\n%c\r\n" % byte for byte in body])
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _asked(self, head: bytes) -> tuple[bytes, bytes]:
        """The service's own answer: its head without a length or the last line's end, and its body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            writer.write(head)
            lines = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")
            lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
            body = await reader.readexactly(lengths[0])
        finally:
            writer.close()
        return b"\r\n".join(line for line in lines if not line.lower().startswith(b"content-length:")), body


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST, not FIN."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def chaos_service(target: int) -> Iterator[ChaosService]:
    """A proxy in a thread of its own."""
    proxy, ready, over = ChaosService(target), threading.Event(), asyncio.Event()
    with running(proxy.serve(ready, over), ready, over.set):
        try:
            yield proxy
        finally:
            proxy.behave()
