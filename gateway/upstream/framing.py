"""Framing: where one answer ends on its connection, and whether more came after it."""

from __future__ import annotations

from functools import lru_cache

import h11

MAX_HEAD = 100 * 1024
"""Size of an answer's head, in bytes; httpcore2's own limit, so that both readers agree."""

END = h11.EndOfMessage()


class Framing:
    """The answer to one request, followed byte by byte (RFC 9112 §6).

    It parses beside the connection's own parser because httpcore2 does not tell what its parser still held
    when an answer ended, and starts the next one with it. ``method`` matters: an answer to HEAD has no body.
    """

    def __init__(self, method: bytes) -> None:
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._parser.send(_request(method))
        self._parser.send(END)

    @property
    def complete(self) -> bool:
        """Whether the answer has ended."""
        return self._parser.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)

    @property
    def surplus(self) -> bool:
        """Whether bytes came after the answer's end."""
        return self.complete and bool(self._parser.trailing_data[0])

    def receive(self, data: bytes) -> None:
        """Takes the next bytes, or the connection's end as ``b""``.

        Raises h11.RemoteProtocolError where they are not HTTP, or where the end comes before the answer's.
        """
        self._parser.receive_data(data)
        while not self.complete and self._parser.next_event() is not h11.NEED_DATA:
            pass


@lru_cache(maxsize=16)
def _request(method: bytes) -> h11.Request:
    return h11.Request(method=method, target="/", headers=[("Host", "")])
