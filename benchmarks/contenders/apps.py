"""ASGI apps for plain servers: the least there is, and the same with one Redis GET."""

from __future__ import annotations

import os
from typing import Any

import redis.asyncio

from benchmarks.origin import body_of

REDIS_URL = "BARE_REDIS_URL"
BODY = body_of("/")
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": HEADERS}
DRESSED: dict[str, Any] = {
    **START,
    "headers": [
        *HEADERS,
        *((b"x-header-%d" % number, b"as long as those of a hit are") for number in range(12)),
    ],
}
"""As many headers as a hit of the gateway's has: uvicorn looks at each of them."""
END: dict[str, Any] = {"type": "http.response.body", "body": BODY}


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answers whatever is asked with the same bytes: the ceiling of any ASGI app on this server."""
    if scope["type"] == "http":
        await send(START)
        await send(END)


async def dressed(scope: Any, receive: Any, send: Any) -> None:
    """The same, with as many headers as the gateway's answers have."""
    if scope["type"] == "http":
        await send(DRESSED)
        await send(END)


def with_redis() -> Any:
    """An app that gets each answer from Redis: the ceiling of any that shares its cache."""
    client = redis.asyncio.Redis.from_url(os.environ[REDIS_URL])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        key = scope["raw_path"] + b"?" + scope["query_string"]
        body = await client.get(key)
        if body is None:
            await client.set(key, BODY)
            body = BODY
        await send(START)
        await send({"type": "http.response.body", "body": body})

    return app
