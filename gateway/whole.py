"""Whole: an answer in one piece, for a connection that takes it so, past ASGI's two messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Scope, Send

from gateway.errors import Headers

WHOLE = "gateway.whole"
"""Where a protocol leaves in its ASGI scope how to give it a whole answer."""
Take = Callable[[int, Headers, bytes], Awaitable[bool]]
"""Status, headers (with Content-Length where there is content) and body: whether they were taken."""

CRLF = b"\r\n"
TOKEN = bytes(code for code in range(33, 127) if chr(code) not in '"(),/:;<=>?@[\\]{}')
"""What a field's name is made of (RFC 9110 §5.6.2)."""
TEXT = bytes(code for code in range(256) if code in b"\t" or 32 <= code != 127)
"""What a field's value is made of (RFC 9110 §5.5)."""


async def give(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answers a request: in one piece where that is taken, else in two ASGI messages."""
    take: Take | None = scope.get(WHOLE)
    if take is None or not await take(status, headers, body):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def head_of(status_line: bytes, headers: Headers) -> bytes | None:
    """An answer's head; None where a header is none."""
    block = CRLF.join([*map(b": ".join, headers), b""])
    names = b"".join([name for name, _ in headers])
    well_formed = block.translate(None, TEXT) == CRLF * len(headers) and not names.translate(None, TOKEN)
    return status_line + block + CRLF if well_formed else None
