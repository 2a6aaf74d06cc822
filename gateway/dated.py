"""Date: every answer has one, and only one (RFC 9110 §6.6.1)."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

from gateway.caching.dates import format_date
from gateway.errors import Headers


def http_date() -> bytes:
    """Now, as an HTTP date."""
    return _http_date(int(time.time()))


@lru_cache(maxsize=1)
def _http_date(second: int) -> bytes:
    return format_date(second)


def dated(headers: Headers) -> Headers:
    """An answer's headers with a Date, its own if it has one. Their names are lower case."""
    return headers if b"date" in [name for name, _ in headers] else [(b"date", http_date()), *headers]


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
                    message = {**message, "headers": [(b"date", http_date()), *headers]}
            await send(message)

        await self.app(scope, receive, send_dated)
