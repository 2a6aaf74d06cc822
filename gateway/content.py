"""Content: where a request's body ends on its connection (RFC 9112 §6). Pure."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Protocol

from gateway.errors import BadRequest, BodyTooLarge, Headers, MethodNotAllowed
from gateway.limits import NEVER, READING

CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
EXTRAS_BYTES = 16_384
"""What chunk extensions and trailers, which are read over, may have in all; and one line of them."""


class Content(Protocol):
    """A body that is being received."""

    @property
    def complete(self) -> bool:
        """Whether its last byte, framing included, was taken."""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in ``data``, and what comes after the body's end.

        Raises BadRequest where the framing is broken, BodyTooLarge.
        """


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


class Chunked:
    """A body in chunks, of up to ``cap`` bytes (RFC 9112 §7.1). Lines end with CRLF and nothing else."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._room = cap
        self._extras = EXTRAS_BYTES
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
                at = self._read_line(data, at)
        return bytes(content), data[at:]

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at) + 1 or len(data)
        self._line += data[at:end]
        if len(self._line) > EXTRAS_BYTES:
            raise BodyTooLarge(f"A line between chunks may have {EXTRAS_BYTES} bytes.")
        if self._line.endswith(b"\n"):
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise BadRequest("A line between chunks does not end with CRLF.")
            self._next(line[:-2])
        return end

    def _size(self, line: bytes) -> None:
        found = CHUNK.fullmatch(line)
        if found is None:
            raise BadRequest("A chunk's size is malformed.")
        self._spend(len(found[2]))
        self._chunk = int(found[1], 16)
        self._room -= self._chunk
        if self._room < 0:
            raise BodyTooLarge(f"A request body may have {self._cap} bytes.")
        self._next = self._after if self._chunk else self._trailer

    def _after(self, line: bytes) -> None:
        if line:
            raise BadRequest("A chunk is longer than its size.")
        self._next = self._size

    def _trailer(self, line: bytes) -> None:
        if line and not TRAILER.fullmatch(line):
            raise BadRequest("A trailer is malformed.")
        self._spend(len(line))
        self.complete = not line

    def _spend(self, size: int) -> None:
        self._extras -= size
        if self._extras < 0:
            raise BodyTooLarge(f"Chunk extensions and trailers may have {EXTRAS_BYTES} bytes.")


def content_of(
    method: bytes, version: str, headers: Headers, methods: Set[bytes] | None, cap: int
) -> Content | None:
    """The body that a head announces, or None. Header names are lower case; ``methods`` None means any.

    Raises BadRequest where the framing is not beyond doubt (RFC 9112 §6.1, §6.3) and for a body on GET or HEAD,
    MethodNotAllowed for a body on a method that is not among ``methods`` and for CONNECT and TRACE with or without
    one, BodyTooLarge over ``cap`` bytes.
    """
    if method in NEVER:
        raise MethodNotAllowed("This method is never served.", allow=allowed(methods))
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    content = _framed(version, codings, lengths, cap)
    if content is None:
        return None
    if method in READING:
        raise BadRequest("A GET or HEAD request must not have a body.")
    if methods is not None and method not in methods:
        raise MethodNotAllowed("This method is not served.", allow=allowed(methods))
    if lengths and int(lengths[0]) > cap:
        raise BodyTooLarge(f"A request body may have {cap} bytes.")
    return content


def allowed(methods: Set[bytes] | None) -> bytes:
    """The value of Allow (RFC 9110 §10.2.1) where these are served; for None, the well-known ones."""
    named = {b"DELETE", b"OPTIONS", b"PATCH", b"POST", b"PUT"} if methods is None else methods
    return b", ".join([b"GET", b"HEAD", *sorted(named - READING)])


def _framed(version: str, codings: list[bytes], lengths: list[bytes], cap: int) -> Content | None:
    if len(codings) + len(lengths) > 1:
        raise BadRequest("A request says once how its body is framed.")
    if codings:
        if version != "1.1" or codings[0].lower() != b"chunked":
            raise BadRequest("The only transfer coding is chunked, in HTTP/1.1.")
        return Chunked(cap)
    if not lengths:
        return None
    if not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise BadRequest("The Content-Length is not a number.")
    return Sized(int(lengths[0])) if int(lengths[0]) else None
