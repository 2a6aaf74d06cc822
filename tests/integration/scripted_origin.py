"""An origin on a raw socket that treats each target as it is told to, broken connections included."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

from tests.upstream.origin import Peer

JSON = "application/json; charset=UTF-8"
HTML = "text/html"
OLD = '{"timeline": {"2026-03-01": 7}}'
NEW = '{"timeline": {"2026-03-01": 8}}'
FORBIDDEN = '{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'
PAGE = "<h1>Sorry</h1>"
OLD_TAG = '"v1"'
RETRY_AFTER = 120


@dataclass(frozen=True)
class Reply:
    """An answer as it goes over the wire; ``missing`` bytes of its body are announced and never sent."""

    status: int
    body: str = ""
    kind: str = JSON
    headers: tuple[str, ...] = ()
    missing: int = 0

    @property
    def wire(self) -> bytes:
        size = len(self.body)
        framing = () if self.status == 304 else (f"Content-Type: {self.kind}", f"Content-Length: {size}")
        lines = [f"HTTP/1.1 {self.status} Scripted", *framing, *self.headers, "", ""]
        return ("\r\n".join(lines) + self.body[: size - self.missing]).encode()


def error(code: str) -> str:
    """A body in the service's error shape."""
    return f'{{"data": null, "code": "{code}", "message": "as scripted"}}'


REPLIES = {
    "old": Reply(200, OLD, headers=(f"ETag: {OLD_TAG}",)),
    "ok": Reply(200, NEW, headers=('ETag: "v2"',)),
    "304": Reply(304, headers=(f"ETag: {OLD_TAG}",)),
    "400": Reply(400, error("InvalidParams")),
    "403-json": Reply(403, FORBIDDEN),
    "404": Reply(404, error("NotFound")),
    "429": Reply(429, error("TooManyRequests")),
    "429-retry-after": Reply(429, error("TooManyRequests"), headers=(f"Retry-After: {RETRY_AFTER}",)),
    "500": Reply(500, error("InternalError")),
    "503": Reply(503, error("Unavailable")),
    "200-html": Reply(200, PAGE, HTML),
    "200-other": Reply(200, '{"message": "Down for maintenance"}'),
    "302-away": Reply(302, headers=("Location: https://elsewhere.example/",)),
    "404-text": Reply(404, "404 page not found", "text/plain"),
    "403-html": Reply(403, PAGE, HTML),
    "503-html": Reply(503, PAGE, HTML),
    "slow": Reply(200, NEW, headers=('ETag: "v2"',)),
    "truncated": Reply(200, NEW, missing=9),
}
SILENCE, RESET = "timeout", "reset"
MOODS = frozenset({*REPLIES, SILENCE, RESET}) - {"old"}


class Script:
    """What the origin does when it is asked for a target: ``old`` until told otherwise.

    ``asked`` holds the heads of the requests for each target; a ``slow`` answer waits for ``release``.
    """

    def __init__(self) -> None:
        self.moods: dict[str, str] = {}
        self.asked: dict[str, list[bytes]] = {}
        self.release = asyncio.Event()

    def calls(self, target: str) -> int:
        """How often a target was asked for."""
        return len(self.asked.get(target, ()))

    async def behave(self, peer: Peer) -> None:
        """One connection, request by request."""
        while True:
            head = await peer.head()
            target = head.split(b" ", 2)[1].decode()
            self.asked.setdefault(target, []).append(head)
            await self._react(peer, self.moods.get(target, "old"))

    async def _react(self, peer: Peer, mood: str) -> None:
        if mood == SILENCE:
            return
        if mood == RESET:
            _reset(peer)
            return
        if mood == "slow":
            await self.release.wait()
        await peer.say(REPLIES[mood].wire)
        if REPLIES[mood].missing:
            peer.writer.close()


def _reset(peer: Peer) -> None:
    """Ends the connection with RST, not FIN."""
    connection: socket.socket = peer.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.reset()
