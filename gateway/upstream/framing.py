"""Framing: where a body ends on its connection (RFC 9112 §6, §7), whichever way it goes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import BadRequest, BodyTooLarge, GatewayError

SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
PADDED_SIZE = re.compile(SIZE.pattern + rb"[ \t]*")
"""Some origins pad a chunk's size with spaces."""
PLAIN_CHUNK = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,6})\r\n")
TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
EXTRAS_BYTES = 16_384
"""What chunk extensions and trailers, which are read over, may have in all; and one line of them."""
OVERHEAD_BYTES = 1_048_576
"""By how much the framing of a body may outweigh the body: 250 KB in chunks of one byte are read, 8 MB are not."""
AT_ONCE = 16_384
"""Bytes that are parsed in one turn of the event loop: few enough that nobody waits long for his turn."""


class Content(Protocol):
    """A body that is being received."""

    @property
    def complete(self) -> bool:
        """Whether its last byte, framing included, was taken."""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in ``data``, and what comes after the body's end.

        Raises BadRequest where the framing is broken, BodyTooLarge; or what its rules name instead.
        """


@dataclass(frozen=True, slots=True)
class ChunkRules:
    """How chunks are read: what a size may look like, and which errors are raised."""

    size: re.Pattern[bytes] = SIZE
    broken: type[GatewayError] = BadRequest
    too_large: type[GatewayError] = BodyTooLarge


OF_A_REQUEST = ChunkRules()


class Sized:
    """A body of a known length (RFC 9112 §6.2)."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def complete(self) -> bool:
        return not self._left

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        piece = data[: self._left]
        self._left -= len(piece)
        return piece, data[len(piece) :]


class ToTheEnd:
    """A body that the connection's end ends (RFC 9112 §6.3)."""

    complete = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class Chunked:
    """A body in chunks, of up to ``cap`` bytes (RFC 9112 §7.1). Lines end with CRLF and nothing else."""

    def __init__(self, cap: int, rules: ChunkRules = OF_A_REQUEST) -> None:
        self._cap = cap
        self._rules = rules
        self._room = cap
        self._extras = EXTRAS_BYTES
        self._overhead = 0  # bytes of framing, less those of content
        self._chunk = 0  # bytes left of the current one
        self._line = b""  # the part received of the current one
        self._next = self._size
        self.complete = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        content, at = bytearray(), 0
        while at < len(data) and not self.complete:
            if self._chunk:
                piece = data[at : at + self._chunk]
                content += piece
                self._chunk -= len(piece)
                at += len(piece)
            else:
                between = not self._line and self._next == self._size
                after = self._plain(data, at, content) if between else at
                at = after if after > at else self._read_line(data, at)
        self._overhead += at - 2 * len(content)
        if self._overhead > OVERHEAD_BYTES:
            raise self._rules.too_large("A body in chunks has too much between them.")
        return bytes(content), data[at:]

    def _plain(self, data: bytes, at: int, content: bytearray) -> int:
        """Takes chunks from there on while they are whole and plain, as most are; where they are no longer."""
        while (found := PLAIN_CHUNK.match(data, at)) is not None:
            size = int(found[1], 16)
            start = found.end()
            end = start + size
            if size > self._room or data[end : end + 2] != b"\r\n":
                break
            self._room -= size
            content += data[start:end]
            at = end + 2
        return at

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at) + 1 or len(data)
        self._line += data[at:end]
        if len(self._line) > EXTRAS_BYTES:
            raise self._rules.too_large(f"A line between chunks may have {EXTRAS_BYTES} bytes.")
        if self._line.endswith(b"\n"):
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise self._rules.broken("A line between chunks does not end with CRLF.")
            self._next(line[:-2])
        return end

    def _size(self, line: bytes) -> None:
        found = self._rules.size.fullmatch(line)
        if found is None:
            raise self._rules.broken("A chunk's size is malformed.")
        self._spend(len(found[2]))
        self._chunk = int(found[1], 16)
        self._room -= self._chunk
        if self._room < 0:
            raise self._rules.too_large(f"A body may have {self._cap} bytes.")
        self._next = self._after if self._chunk else self._trailer

    def _after(self, line: bytes) -> None:
        if line:
            raise self._rules.broken("A chunk is longer than its size.")
        self._next = self._size

    def _trailer(self, line: bytes) -> None:
        if line and not TRAILER.fullmatch(line):
            raise self._rules.broken("A trailer is malformed.")
        self._spend(len(line))
        self.complete = not line

    def _spend(self, size: int) -> None:
        self._extras -= size
        if self._extras < 0:
            raise self._rules.too_large(f"Chunk extensions and trailers may have {EXTRAS_BYTES} bytes.")
