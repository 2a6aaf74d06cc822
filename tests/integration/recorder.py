"""An origin on plain sockets that keeps every byte it was sent, and reads it as HTTP should be read."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
BIG = 7 * 1024 * 1024


@dataclass(frozen=True)
class Heard:
    """One request: its request line, its head and its body."""

    line: bytes
    head: bytes
    body: bytes


Answering = Callable[[Heard], bytes]
"""The bytes of an answer; none where the connection ends instead."""


class Recorder(socketserver.ThreadingTCPServer):
    """Answers as it is told to; ``wires`` are its connections' bytes."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answering: Answering) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.answering = answering
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.heard: list[Heard] = []
        self.wires: list[bytearray] = []

    def forget(self) -> None:
        """Begins anew."""
        self.heard.clear()
        for wire in self.wires:
            wire.clear()

    @property
    def wire(self) -> bytes:
        """All bytes that came since, connection by connection."""
        return b"".join(map(bytes, self.wires))


class Connection(socketserver.BaseRequestHandler):
    """One connection, request by request."""

    server: Recorder

    def handle(self) -> None:
        wire, rest = bytearray(), b""
        self.server.wires.append(wire)
        while data := self.request.recv(65_536):
            wire += data
            rest += data
            while (whole := _first(rest)) is not None:
                heard, rest = whole
                self.server.heard.append(heard)
                answer = self.server.answering(heard)
                if not answer:
                    return
                self.request.sendall(answer)


def _first(data: bytes) -> tuple[Heard, bytes] | None:
    """The first whole request, and what comes after it."""
    head, end, rest = data.partition(b"\r\n\r\n")
    found = LENGTH.search(head + b"\r\n")
    size = int(found[1]) if found else 0
    if not end or len(rest) < size:
        return None
    return Heard(head.partition(b"\r\n")[0], head, rest[:size]), rest[size:]


def nothing_but_big(heard: Heard) -> bytes:
    """``{}`` to everything, and ``BIG`` bytes to ``/big``."""
    body = bytes(BIG) if b" /big" in heard.line else b"{}"
    lines = [b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"Cache-Control: no-store"]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""]) + body


@contextmanager
def recording(answering: Answering = nothing_but_big) -> Iterator[Recorder]:
    """A recorder that listens until the block ends."""
    with Recorder(answering) as recorder:
        thread = threading.Thread(target=recorder.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield recorder
        finally:
            recorder.shutdown()
            thread.join()
