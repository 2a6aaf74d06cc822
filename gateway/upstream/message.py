"""Message: a request to the service as bytes, and its answer as it arrives. No I/O."""

from __future__ import annotations

import re

import h11

from gateway.cache.conditional import METADATA
from gateway.errors import BadRequest, Headers, UpstreamDisconnected, UpstreamProtocolError, UpstreamTooLarge
from gateway.upstream.framing import PADDED_SIZE, Chunked, ChunkRules, Content, Sized, ToTheEnd

MAX_HEAD = 32_768
"""Bytes that may come before an answer's content: its head, and all interim answers before that."""
MAX_FIELDS = 500
"""Fields that a head may have: each is looked at several times."""
WITHOUT_CONTENT = frozenset({204, 304})
KEPT_FOR = re.compile(rb"(?:^|,)\s*timeout\s*=\s*\"?([0-9]{1,99})\"?\s*(?:,|$)", re.IGNORECASE)
ALL_OF_IT = re.compile(rb"bytes[ \t]+0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
RESET_CONTENT, PARTIAL_CONTENT = 205, 206
OF_AN_ANSWER = ChunkRules(PADDED_SIZE, UpstreamProtocolError, UpstreamTooLarge)


class Message:
    """One request and its answer (RFC 9112). ``request`` is the request's head.

    h11 reads heads and knows what a request may look like; content goes past it, so that an answer in the
    smallest of chunks costs little. Each byte is parsed once, and what comes after the answer is kept apart.

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
        """Whether others may see its end elsewhere."""
        try:
            self.request = self._heads.send(h11.Request(method=method, target=target, headers=headers)) or b""
        except h11.LocalProtocolError as error:
            raise BadRequest("The request cannot be sent to the service.") from error

    @property
    def head(self) -> h11.Response:
        """The answer's head; there is none before it arrived."""
        assert self._head is not None
        return self._head

    @property
    def begun(self) -> bool:
        """Whether the answer's head has arrived."""
        return self._head is not None

    @property
    def complete(self) -> bool:
        """Whether the answer has ended."""
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
        """How many seconds the service says it keeps an idle connection (``Keep-Alive: timeout=n``)."""
        for name, value in self.head.headers:
            if name == b"keep-alive" and (found := KEPT_FOR.search(value)):
                return float(found[1])
        return None

    def receive(self, data: bytes) -> bytes:
        """Takes the next bytes, or the connection's end as ``b""``; the content among them.

        Raises UpstreamProtocolError where they are not HTTP, UpstreamDisconnected where the end comes before the
        answer's, UpstreamTooLarge where its chunks make up more than the cap, or less than what is between them.
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
        """Reads up to the head's end, past interim answers (RFC 9110 §15.2); the rest."""
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
    """How an answer's content is framed (RFC 9112 §6.3); h11 has checked that its fields say one thing."""
    if method == b"HEAD" or head.status_code in WITHOUT_CONTENT:
        return Sized(0)
    fields = dict(head.headers)
    if b"transfer-encoding" in fields:
        return Chunked(cap, OF_AN_ANSWER)
    if b"content-length" in fields:
        return Sized(int(fields[b"content-length"]))
    return ToTheEnd()


def _is_ambiguous(head: h11.Response) -> bool:
    """Whether chunks have a length besides (RFC 9112 §6.3), or come in a version that knows none (§6.1)."""
    names = [name for name, _ in head.headers]
    return b"transfer-encoding" in names and (b"content-length" in names or head.http_version != b"1.1")


def repaired(
    asked: Headers, status: int, headers: Headers, content: bytes, received: int, *, reads: bool = True
) -> tuple[int, Headers, bytes]:
    """The answer to a request with the headers ``asked``, as its status means it; most are as they came.

    A 205 has no content (RFC 9110 §15.3.6): what came with one is dropped. A 206 answers a ``Range`` (§15.3.7).
    Without one, a part of something would be taken for the whole: raises UpstreamProtocolError, unless it is all
    of it, which is a 200. What answers more than a request that ``reads`` is its client's to judge. ``received``
    are the bytes of the content as they came.
    """
    if status == RESET_CONTENT:
        return status, [line for line in headers if line[0] not in METADATA], b""
    if status != PARTIAL_CONTENT or not reads or any(name.lower() == b"range" for name, _ in asked):
        return status, headers, content
    if not _is_all([value for name, value in headers if name == b"content-range"], received):
        raise UpstreamProtocolError("The service's answer is a part that was not asked for.")
    return 200, [line for line in headers if line[0] != b"content-range"], content


def _is_all(content_range: list[bytes], received: int) -> bool:
    """Whether a part from the first byte to the last came whole (RFC 9110 §14.4)."""
    found = ALL_OF_IT.fullmatch(content_range[0].strip()) if len(content_range) == 1 else None
    return found is not None and int(found[1]) + 1 == int(found[2]) == received
