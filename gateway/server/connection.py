"""One client's connection: uvicorn's HTTP protocol with bounds on connections and on waiting for the client.

Together with ``protocol.py`` it relies on these parts of ``HttpToolsProtocol``: the asyncio and parser callbacks
that are overridden or called here; ``parser``, ``transport``, ``loop``, ``server``, ``flow``, ``connections``,
``server_state``, ``scope``, ``client``, ``scheme``, ``headers``, ``url``, ``expect_100_continue``,
``timeout_keep_alive`` with its task and handler, ``_unset_keepalive_if_required``; and of ``cycle``,
``response_started``, ``response_complete``, ``disconnected``, ``message_event``, ``waiting_for_100_continue``,
``keep_alive`` and ``on_response``.
"""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.cache.dates import http_date_now
from gateway.errors import GatewayError, Headers, TooManyConnections, render
from gateway.lifecycle import Lifecycle
from gateway.proxy.response import head_of
from gateway.server.head import Limits
from gateway.upstream.tasks import EndOfInput

END_OF_HEAD = b"\r\n\r\n"
CLOSE = (b"connection", b"close")
COPIED = 65_536
"""Longest body, in bytes, that is copied behind its head rather than written apart."""

for _status in range(600, 1_000):  # any three digits may come from an origin (RFC 9110 §15)
    STATUS_LINE.setdefault(_status, b"HTTP/1.1 %d \r\n" % _status)


class ClientConnection(HttpToolsProtocol):
    """A bounded connection: how many there are, how long one may rest, stall or linger, and how an answer or a
    refusal is written to it."""

    limits: ClassVar[Limits]
    lifecycle: ClassVar[Lifecycle]
    spares: ClassVar[dict[ClientConnection, None]]
    """Connections beyond the limit, the oldest first."""
    half_closed: ClassVar[dict[ClientConnection, None]]
    """Connections whose client sends no more, the longest first: most of these clients have gone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._peer = ""
        self._last = -math.inf  # when the last answer was complete
        self._quiet = False  # nothing has come since, and what was written is on its way
        self._input_end = EndOfInput()
        self._refused = False
        self._is_spare = False  # beyond the limit of connections
        self._patience: asyncio.TimerHandle | None = None  # with a head, a body, then with a refused client
        self._stall: asyncio.TimerHandle | None = None  # with a client that does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; beyond the limit, as a spare for one health check or not at all."""
        if len(self.connections) - len(self.spares) >= self.limits.connections and not self._end_half_closed():
            if not self.limits.spare:
                self.transport = transport
                self._refused = True
                self._write_refusal(self._too_many())
                transport.close()
                return
            self._become_spare()
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:
        self.spares.pop(self, None)
        self.half_closed.pop(self, None)
        self._stop_patience()
        self._stop_stall()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Watch a client that does not keep up with reading."""
        self._quiet = False
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        """Stop watching the client: it reads again."""
        super().resume_writing()
        self._stop_stall()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even one whose last answer was never read."""
        self.timeout_keep_alive_task = None
        if self._is_busy:
            return  # its timer starts again after that answer
        left = self._last + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._start_keep_alive(left)
            return
        super().timeout_keep_alive_handler()
        self._watch_stall()

    @property
    def _is_busy(self) -> bool:
        """Whether a request is being received or answered."""
        raise NotImplementedError

    @property
    def _answering(self) -> bool:
        # Before the first request there is no cycle, though uvicorn's types say otherwise.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _write_answer(self, answer: bytes) -> None:
        """Write a complete answer, head and body."""
        if self._patience is not None:
            self._stop_patience()
        self._quiet = True
        self.transport.write(answer)
        self.server_state.total_requests += 1
        self._rest()

    async def _write_at_once(self, status: int, headers: Headers, body: bytes) -> bool:
        """Answer the current request in one write; False where it has to go through the request's cycle."""
        cycle = self.cycle  # there is no other before this one's answer is complete
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return True
        # Meanwhile the connection may have been told to shut down.
        closes = not cycle.keep_alive or CLOSE in headers or CLOSE in cycle.scope["headers"]
        head = None if closes or len(body) > COPIED else head_of(STATUS_LINE[status], headers)
        if head is None:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(head + body)
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _write_refusal(self, error: GatewayError, *, content: bool = True) -> None:
        """Answer with an error, without ``content`` where the request is a HEAD."""
        status, headers, body = render(error)
        closing = [(b"date", http_date_now()), (b"content-length", b"%d" % len(body)), CLOSE]
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%s: %s" % pair for pair in (*self.server_state.default_headers, *headers, *closing)]
        self.transport.write(b"\r\n".join(lines) + END_OF_HEAD + (body if content else b""))

    def _linger(self) -> None:
        """Write no more, and leave the client a while to read what was written (RFC 9112 §9.6)."""
        self._refused = True
        self._stop_patience()
        self._unset_keepalive_if_required()
        if self._input_end.reached:
            self._close()
            return
        self.transport.write_eof()
        self._patience = self.loop.call_later(self.limits.linger_seconds, self.transport.abort)

    def _close(self) -> None:
        """Close the connection once all is written, or once the client has stalled for too long."""
        self.transport.close()
        self._watch_stall()

    def _rest(self) -> None:
        """Begin to be idle. A timer that runs already is left alone: it checks how long the rest has lasted."""
        self._last = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._start_keep_alive(self.timeout_keep_alive)

    def _start_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _watch_stall(self) -> None:
        if self._stall is None:
            self._stall = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _end_half_closed(self) -> bool:
        """End the connection that has been half-closed for longest, if there is one."""
        oldest = next(iter(self.half_closed), None)
        if oldest is None:
            return False
        del self.half_closed[oldest]
        oldest.transport.abort()
        return True

    def _become_spare(self) -> None:
        """Take one of the places beyond the limit, the oldest spare's where all are taken."""
        if len(self.spares) >= self.limits.spare:
            oldest = next(iter(self.spares))
            del self.spares[oldest]
            self.lifecycle.refused += 1
            oldest.transport.abort()
        self.spares[self] = None
        self._is_spare = True

    def _too_many(self) -> TooManyConnections:
        self.lifecycle.refused += 1
        return TooManyConnections("Too many connections.", retry_after=1)
