"""HTTP/1.1 messages without I/O: where a body ends (RFC 9112 §6, §7), and a request to the service with its
answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import h11

from gateway.cache.conditional import METADATA
from gateway.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    Headers,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamTooLarge,
)

SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
PADDED_SIZE = re.compile(SIZE.pattern + rb"[ \t]*")
"""Chunk size with trailing spaces, as some origins send it."""
PLAIN_CHUNK = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,6})\r\n")
TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
EXTRAS_BYTES = 16_384
"""Most bytes of chunk extensions and trailers in all, and of one line of them. They are ignored."""
OVERHEAD_BYTES = 1_048_576
"""Most bytes by which framing may outweigh its body: 250 KB in chunks of one byte pass, 8 MB do not."""
AT_ONCE = 16_384
"""Bytes that are parsed in one turn of the event loop, so that no other task waits long."""


class Content(Protocol):
    """A body that is being received."""

    @property
    def complete(self) -> bool:
        """Whether its last byte, framing included, was taken."""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in ``data``, and the bytes after the body's end.

        Raises BadRequest where the framing is broken, BodyTooLarge; or the errors of its rules.
        """


@dataclass(frozen=True, slots=True)
class ChunkRules:
    """The pattern of a chunk's size, and the errors that reading raises."""

    size: re.Pattern[bytes] = SIZE
    broken: type[GatewayError] = BadRequest
    too_large: type[GatewayError] = BodyTooLarge


OF_A_REQUEST = ChunkRules()


class Sized:
    """A body of known length (RFC 9112 §6.2)."""

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
    """A body that ends with its connection (RFC 9112 §6.3)."""

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
        """Read complete chunks without extensions, as most are, from ``at`` on; returns where they end."""
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


MAX_HEAD = 32_768
"""Most bytes before an answer's content: its head, and all interim answers."""
MAX_FIELDS = 500
"""Most fields of a head: each is looked at several times."""
WITHOUT_CONTENT = frozenset({204, 304})
KEPT_FOR = re.compile(rb"(?:^|,)\s*timeout\s*=\s*\"?([0-9]{1,99})\"?\s*(?:,|$)", re.IGNORECASE)
ALL_OF_IT = re.compile(rb"bytes[ \t]+0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
RESET_CONTENT, PARTIAL_CONTENT = 205, 206
OF_AN_ANSWER = ChunkRules(PADDED_SIZE, UpstreamProtocolError, UpstreamTooLarge)


class Message:
    """One request and its answer (RFC 9112). ``request`` is the request's head, as bytes.

    h11 writes and reads the heads; content goes past it, so that an answer in the smallest of chunks costs little.
    Raises BadRequest where method or headers cannot be sent.
    """

    def __init__(self, method: bytes, target: bytes, headers: Headers, cap: int) -> None:
        self._method = method
        self._cap = cap
        self._heads = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._head: h11.Response | None = None
        self._content: Content = Sized(0)
        self._ended = False  # with the connection
        self.received = 0
        self.surplus = False
        """Whether bytes came after the answer's end."""
        self.ambiguous = False
        """Whether another reader may see the answer's end elsewhere."""
        try:
            self.request = self._heads.send(h11.Request(method=method, target=target, headers=headers)) or b""
        except h11.LocalProtocolError as error:
            raise BadRequest("The request cannot be sent to the service.") from error

    @property
    def head(self) -> h11.Response:
        """The answer's head, once it has ``begun``."""
        assert self._head is not None
        return self._head

    @property
    def begun(self) -> bool:
        """Whether the answer's head has arrived."""
        return self._head is not None

    @property
    def complete(self) -> bool:
        return self._head is not None and (self._ended or self._content.complete)

    @property
    def persists(self) -> bool:
        """Whether the connection may carry another request after this answer (RFC 9112 §9.3)."""
        if not self.complete or self.surplus or self.ambiguous or self._ended:
            return False
        if self.head.http_version != b"1.1":
            return False
        listed = b",".join(value for name, value in self.head.headers if name == b"connection")
        return b"close" not in [word.strip().lower() for word in listed.split(b",")]

    @property
    def kept_for(self) -> float | None:
        """Seconds for which the service keeps an idle connection (``Keep-Alive: timeout=n``), if it says so."""
        for name, value in self.head.headers:
            if name == b"keep-alive" and (found := KEPT_FOR.search(value)):
                return float(found[1])
        return None

    def receive(self, data: bytes) -> bytes:
        """Take the next bytes, or the connection's end as ``b""``; returns the content among them.

        Raises UpstreamProtocolError where they are not HTTP, UpstreamDisconnected where the connection ends before
        the answer, UpstreamTooLarge where its chunks exceed the cap, or their framing outweighs them.
        """
        if not data:
            self._end()
            return b""
        self.received += len(data)
        if self._head is None:
            data = self._read_head(data)
            if self._head is None:
                return b""
        content, rest = self._content.take(data)
        self.surplus = self.surplus or bool(rest)
        return content

    def _end(self) -> None:
        if self._head is None or not isinstance(self._content, ToTheEnd):
            raise UpstreamDisconnected("The connection ended before the service's answer did.")
        self._ended = True

    def _read_head(self, data: bytes) -> bytes:
        """Read up to the head's end, past interim answers (RFC 9110 §15.2); returns the rest."""
        self._heads.receive_data(data)
        try:
            event = self._heads.next_event()
            while isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                event = self._heads.next_event()
        except h11.RemoteProtocolError as error:
            raise UpstreamProtocolError("The service's answer is not valid HTTP.") from error
        if isinstance(event, h11.Response) and len(event.headers) <= MAX_FIELDS:
            self._head, self._content = event, _content_of(self._method, event, self._cap)
            self.ambiguous = _is_ambiguous(event)
            return self._heads.trailing_data[0]
        if event is h11.NEED_DATA and self.received <= MAX_HEAD:
            return b""
        raise UpstreamProtocolError("The service's answer has a head that cannot be used.")


def _content_of(method: bytes, head: h11.Response, cap: int) -> Content:
    """The framing of an answer's content (RFC 9112 §6.3); h11 has checked that its fields agree."""
    if method == b"HEAD" or head.status_code in WITHOUT_CONTENT:
        return Sized(0)
    fields = dict(head.headers)
    if b"transfer-encoding" in fields:
        return Chunked(cap, OF_AN_ANSWER)
    if b"content-length" in fields:
        return Sized(int(fields[b"content-length"]))
    return ToTheEnd()


def _is_ambiguous(head: h11.Response) -> bool:
    """Whether chunks come with a length (RFC 9112 §6.3), or in a version without them (§6.1)."""
    names = [name for name, _ in head.headers]
    return b"transfer-encoding" in names and (b"content-length" in names or head.http_version != b"1.1")


def repaired(
    asked: Headers, status: int, headers: Headers, content: bytes, received: int, *, reads: bool = True
) -> tuple[int, Headers, bytes]:
    """The answer to a request with the headers ``asked``, made to agree with its status.

    A 205 has no content (RFC 9110 §15.3.6): it is dropped. A 206 to a request that ``reads`` but has no ``Range``
    (§15.3.7) would pass a part for the whole: it becomes a 200 where it is all of it, else raises
    UpstreamProtocolError. ``received`` is the number of the content's bytes before decoding.
    """
    if status == RESET_CONTENT:
        return status, [line for line in headers if line[0] not in METADATA], b""
    if status != PARTIAL_CONTENT or not reads or any(name.lower() == b"range" for name, _ in asked):
        return status, headers, content
    if not _is_all([value for name, value in headers if name == b"content-range"], received):
        raise UpstreamProtocolError("The service's answer is a part that was not asked for.")
    return 200, [line for line in headers if line[0] != b"content-range"], content


def _is_all(content_range: list[bytes], received: int) -> bool:
    """Whether a part is all of its whole, and arrived complete (RFC 9110 §14.4)."""
    found = ALL_OF_IT.fullmatch(content_range[0].strip()) if len(content_range) == 1 else None
    return found is not None and int(found[1]) + 1 == int(found[2]) == received
