"""An origin on raw sockets that says to each target, byte for byte, what a check tells it to."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedIOBase

PATIENCE = 20.0
"""Seconds that anything may take here before a check fails."""
BODY = b"0123456789"
BODILESS = (204, 304)


@dataclass(frozen=True)
class Asked:
    """A request as it reached the origin; requests of one connection have the same number for it."""

    method: str
    target: str
    head: bytes
    body: bytes
    connection: int

    def all(self, name: str) -> list[str]:
        """The values of each line of a field, in their order."""
        found = re.findall(rb"\r\n" + re.escape(name.encode()) + rb":[ \t]*([^\r]*)", self.head, re.IGNORECASE)
        return [value.decode("latin-1") for value in found]

    def header(self, name: str) -> str | None:
        """The value of its first line; None where there is none."""
        return next(iter(self.all(name)), None)


@dataclass(eq=False)
class Reply:
    """What is said to one request. One that is ``held`` is not said before ``let_go``; one that ``closes`` ends
    the connection."""

    wire: bytes
    closes: bool = False
    held: bool = False
    _arrived: threading.Event = field(default_factory=threading.Event)
    _free: threading.Event = field(default_factory=threading.Event)

    def await_request(self) -> None:
        """Waits until the request is there that it answers."""
        assert self._arrived.wait(PATIENCE), "nobody asked the origin"

    def let_go(self) -> None:
        """Has it said."""
        self._free.set()

    def due(self) -> bool:
        """Waits until it may be said; False where nobody lets it go."""
        self._arrived.set()
        return not self.held or self._free.wait(PATIENCE)


Say = bytes | Reply | Callable[[Asked], "bytes | Reply"]


def said(*fields: str, status: int = 200, body: bytes = BODY, length: bool = True) -> bytes:
    """An answer, with a Content-Length unless its status has no content or there is to be none."""
    bodiless = status in BODILESS
    lines = [f"HTTP/1.1 {status} Said", *fields]
    if length and not bodiless:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if bodiless else body)


def chunked(*fields: str, status: int = 200, body: bytes = BODY) -> bytes:
    """The same in one chunk."""
    head = said(*fields, "Transfer-Encoding: chunked", status=status, body=b"", length=False)
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


UNSCRIPTED = said(status=404, body=b"No check has said what this target answers.")


class Origin:
    """Its ``url``, and for each target what it says, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self._says: dict[str, list[Say]] = {}
        self._asked: dict[str, list[Asked]] = {}
        self._held: list[Reply] = []
        self._lock = threading.Lock()

    def on(self, target: str, *says: Say) -> None:
        """From now on the next requests for a target get these, one after another, and all later ones the last.
        A function is given the request."""
        with self._lock:
            self._says[target] = list(says)

    def asked(self, target: str) -> list[Asked]:
        """The requests for a target so far, held ones included."""
        with self._lock:
            return list(self._asked.get(target, ()))

    def calls(self, target: str) -> int:
        """How many there were."""
        return len(self.asked(target))

    def reply_to(self, asked: Asked) -> Reply:
        """Notes a request, and answers it."""
        with self._lock:
            self._asked.setdefault(asked.target, []).append(asked)
            says = self._says.get(asked.target, [UNSCRIPTED])
            say = says.pop(0) if len(says) > 1 else says[0]
        if callable(say):
            say = say(asked)
        reply = Reply(say) if isinstance(say, bytes) else say
        if reply.held:
            self._held.append(reply)
        return reply

    def let_go(self) -> None:
        """Has all said that is held, so that a check that fails holds up no gateway for those after it."""
        while self._held:
            self._held.pop().let_go()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100


@contextmanager
def origin_server() -> Iterator[Origin]:
    """Runs an origin on a free port, each of its connections in a thread."""
    origin = Origin()

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with suppress(OSError):
                while (asked := _read(self.rfile, self.client_address[1])) is not None:
                    reply = origin.reply_to(asked)
                    if not reply.due():
                        return
                    self.wfile.write(reply.wire)
                    if reply.closes:
                        return

    with _Server(("127.0.0.1", 0), Handler) as server:
        origin.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def _read(stream: BufferedIOBase, connection: int) -> Asked | None:
    """The next request; None where none comes."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    method, target, _ = head.decode("latin-1").split(" ", 2)
    found = re.search(rb"\r\ncontent-length: *(\d+)\r\n", head, re.IGNORECASE)
    return Asked(method, target, head, stream.read(int(found[1])) if found else b"", connection)
