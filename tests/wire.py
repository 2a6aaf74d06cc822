"""A raw HTTP/1.1 client: sends literal bytes and reads whole answers, one after another."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any

Address = tuple[str, int]


@dataclass(frozen=True)
class WireAnswer:
    """One answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The ``code`` of an answer in the service's error shape."""
        shape = json.loads(self.body)
        assert set(shape) == {"message", "code", "data"}
        return str(shape["code"])

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


class Wire:
    """One connection."""

    def __init__(self, address: Address, timeout: float = 10.0, source: str = "") -> None:
        own = (source, 0) if source else None
        self.socket = socket.create_connection(address, timeout=timeout, source_address=own)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> Wire:
        self.socket.sendall(data)
        return self

    def answer(self, *, head: bool = False) -> WireAnswer:
        """The next answer, whole; ``head`` says that its request was a HEAD."""
        line = self._file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers: dict[str, str] = {}
        while (field := self._file.readline()) != b"\r\n":
            name, _, value = field.decode("latin-1").partition(":")
            name = name.lower()
            assert name == "vary" or name not in headers, f"{name} twice"
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        status = int(line.split()[1])
        size = 0 if head or status in (204, 304) else int(headers["content-length"])
        body = self._file.read(size)
        assert len(body) == size
        return WireAnswer(status, headers, body)

    def ended(self) -> bool:
        """Whether nothing more comes: the peer has closed."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


def ask(address: Address, data: bytes, *, head: bool = False, source: str = "") -> WireAnswer:
    """One request on a connection of its own, from a ``source`` address of this machine."""
    with Wire(address, source=source) as wire:
        return wire.send(data).answer(head=head)


def get(target: str = "/", *headers: str) -> bytes:
    """The bytes of a GET."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: gateway", *headers, "", ""]).encode("latin-1")


def shown(answer: WireAnswer) -> Any:
    """A JSON body."""
    return json.loads(answer.body)


def resets(connection: socket.socket) -> None:
    """Has the connection end with a reset when it is closed: that alone tells its peer that nobody is there."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_closed(wire: Wire, data: bytes) -> Wire:
    """Sends, and says that no more comes."""
    wire.send(data).socket.shutdown(socket.SHUT_WR)
    return wire
