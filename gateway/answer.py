"""Answer: what goes back to the client. Status, body and content type are never touched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from gateway.caching.entry import Entry
from gateway.errors import GatewayError, Headers, Overload, UpstreamFailure, render, row_of
from gateway.observe.outcome import Outcome, cache_status

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

VARY = (b"vary", b"X-API-Key, Authorization")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, and how it came about."""

    status: int
    headers: Headers
    body: bytes
    outcome: Outcome
    detail: str = ""

    async def send(self, send: Send, *, head: bool, extra: Headers) -> None:
        """Sends it as two ASGI messages; for HEAD without the body, but with its length."""
        headers = [*self.headers, (b"content-length", str(len(self.body)).encode()), *extra]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})


def answer_of(
    entry: Entry, outcome: Outcome, *, now: float, public: bool, stored: bool = False, detail: str = ""
) -> Answer:
    """An entry as an answer. ``public`` says that the caller came without a key, so that any cache may keep it."""
    ttl = entry.fresh_until - now
    kept = entry.fresh_until > 0
    headers = list(entry.headers)
    headers.append((b"cache-control", _cache_control(ttl, public) if kept else b"no-store"))
    if entry.etag:
        headers.append((b"etag", entry.etag))
    if kept:
        headers.append((b"age", str(max(0, int(now - entry.received))).encode()))
    headers.append((b"cache-status", cache_status(outcome, ttl=ttl, stored=stored, detail=detail)))
    headers.append(VARY)
    return Answer(entry.status, headers, entry.body, outcome, detail)


def refusal_of(error: GatewayError) -> Answer:
    """One of the gateway's own errors as an answer."""
    status, headers, body = render(error)
    outcome = Outcome.FAILED if isinstance(error, UpstreamFailure | Overload) else Outcome.REFUSED
    code = row_of(error).code
    headers += [(b"cache-status", cache_status(outcome, detail=code)), VARY]
    return Answer(status, headers, body, outcome, code)


def _cache_control(ttl: float, public: bool) -> bytes:
    return b"%s, max-age=%d" % (b"public" if public else b"private", max(0, int(ttl)))
