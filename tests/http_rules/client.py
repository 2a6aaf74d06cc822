"""A raw client that reads any answer as it came: repeated fields, interim answers, and each kind of framing."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tests.http_rules.origin import PATIENCE
from tests.wire import Address

WITHOUT_CONTENT = (204, 304)


@dataclass(frozen=True)
class Answer:
    """A final answer; the names of its fields are lower case, ``interim`` are the statuses that came before it."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    interim: tuple[int, ...] = ()

    def all(self, name: str) -> list[str]:
        """The values of each line of a field, in their order."""
        return [value for key, value in self.fields if key == name.lower()]

    def header(self, name: str) -> str:
        """All lines of a field as one value (RFC 9110 §5.3); empty where there is none."""
        return ", ".join(self.all(name))

    @property
    def cache_status(self) -> str:
        """What the gateway says of the way of this answer."""
        return self.header("cache-status").removeprefix("stats-gateway; ")

    @property
    def hit(self) -> bool:
        """Whether it came from the cache, fresh or stale, without a call."""
        return self.cache_status.startswith("hit")

    @property
    def ttl(self) -> int | None:
        """How long it is fresh still, in seconds, as far as it says."""
        found = re.search(r"\bttl=(-?\d+)", self.cache_status)
        return None if found is None else int(found[1])


def request(target: str, *fields: str, method: str = "GET", body: bytes = b"", host: str = "gateway") -> bytes:
    """The bytes of a request; its Content-Length is added where it has a body."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, *length, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Client:
    """One connection to a gateway, closed at the block's end."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, data: bytes) -> Client:
        """Writes these bytes."""
        self.socket.sendall(data)
        return self

    def ask(self, target: str, *fields: str, method: str = "GET", **more: Any) -> Answer:
        """One request, and its answer."""
        return self.send(request(target, *fields, method=method, **more)).answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next final answer, to a request with this method."""
        interim: list[int] = []
        while True:
            status, fields = self._head()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        named = dict(fields)
        if method == "HEAD" or status in WITHOUT_CONTENT or status == 101:
            body = b""
        elif named.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        elif "content-length" in named:
            body = self._exactly(int(named["content-length"]))
        else:
            body = self._stream.read()
        return Answer(status, tuple(fields), body, tuple(interim))

    def ended(self) -> bool:
        """Whether nothing more comes: the gateway has closed."""
        try:
            return self._stream.read(1) == b""
        except ConnectionResetError:
            return True

    def _head(self) -> tuple[int, list[tuple[str, str]]]:
        line = self._stream.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        fields: list[tuple[str, str]] = []
        while (field := self._stream.readline()) != b"\r\n":
            assert field.endswith(b"\r\n"), field
            name, _, value = field.decode("latin-1").partition(":")
            fields.append((name.lower(), value.strip()))
        return int(line.split()[1]), fields

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._stream.readline().split(b";")[0], 16):
            body += self._exactly(size)
            assert self._stream.readline() == b"\r\n"
        while self._stream.readline() != b"\r\n":
            pass
        return body

    def _exactly(self, size: int) -> bytes:
        body = self._stream.read(size)
        assert len(body) == size, "the answer ends too early"
        return body
