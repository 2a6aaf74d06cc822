"""Date: every answer has one, and only one (RFC 9110 §6.6.1)."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

from gateway.caching.dates import format_date
from gateway.errors import Headers


def http_date_now() -> bytes:
    """Now, as an HTTP date."""
    return _http_date(int(time.time()))


@lru_cache(maxsize=1)
def _http_date(second: int) -> bytes:
    return format_date(second)


def dated(headers: Headers) -> Headers:
    """An answer's headers with a Date, its own if it has one. Their names are lower case."""
    return headers if b"date" in [name for name, _ in headers] else [(b"date", http_date_now()), *headers]


def dates_itself(send: Any) -> bool:
    """Whether a server adds a Date of its own to each answer, beside the one that is there, as uvicorn does unless
    it is told not to, and hypercorn. None says so: it is seen from the connection that ``send`` is a method of."""
    connection = getattr(send, "__self__", None)
    added = [name.lower() for name, _ in getattr(connection, "default_headers", ())]  # uvicorn's
    return b"date" in added or bool(getattr(getattr(connection, "config", None), "include_date_header", False))


def undated(send: Any) -> Any:
    """The same for answers without a Date."""

    async def send_undated(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"date"]
            message = {**message, "headers": headers}
        await send(message)

    return send_undated


class Dated:
    """An ASGI app whose answers get a Date unless they bring one: a stored answer's is its origin's."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""

        async def send_dated(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if b"date" not in [name.lower() for name, _ in headers]:
                    message = {**message, "headers": [(b"date", http_date_now()), *headers]}
            await send(message)

        await self.app(scope, receive, send_dated)
