"""The public and admin listeners' HTTP protocol: request heads and bodies, read past uvicorn's parser."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from time import monotonic
from typing import Any, ClassVar

import httptools

from gateway.errors import BadRequest, BadTarget, GatewayError, HeadTimeout
from gateway.lifecycle import Lifecycle
from gateway.proxy.methods import ASTERISK
from gateway.proxy.request import ARRIVED, TARGET
from gateway.proxy.response import ONE_WRITE
from gateway.server.connection import END_OF_HEAD, ClientConnection
from gateway.server.fast_path import HEAD, FastPath
from gateway.server.head import (
    EmptyBody,
    Limits,
    authorities,
    check_head,
    check_request_line,
    content_of,
    origin_form,
    oversized,
)
from gateway.upstream.message import AT_ONCE, Content
from gateway.upstream.tasks import END_OF_INPUT

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
HEALTH = b"/-/health/"
SPARE_SECONDS = 2.0
"""How long a head may take on a connection beyond the limit."""


def protocol_class(limits: Limits, lifecycle: Lifecycle, lane: FastPath | None = None) -> type[asyncio.Protocol]:
    """The class for uvicorn's ``http=`` setting, bound to these limits, and to a fast path if there is one."""
    bound = {"limits": limits, "lifecycle": lifecycle, "lane": lane, "spares": {}, "half_closed": {}}
    return type("BoundGatewayProtocol", (GatewayProtocol,), bound)


class GatewayProtocol(ClientConnection):
    """Reads requests from one client's connection.

    The parser gets one head at a time, and the next only once the body of the last has ended and its answer is
    complete: pipelined answers keep their order, an error never overtakes an answer, and a flood of requests waits
    in the socket. Bodies never reach the parser: ``content_of`` says where they end, beyond doubt. A body is read
    a little at a time, so that the event loop's other work is not held up.
    """

    lane: ClassVar[FastPath | None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ours: Set[bytes] = frozenset()  # authorities that an absolute-form target may name
        self._held = b""  # received, not yet parsed
        self._head = b""  # received of the current head
        self._parsing = False  # it, since its first line is complete
        self._target = b""
        self._content: Content | None = None  # until the current request's body has ended
        self._turn: asyncio.Handle | None = None  # in which the rest of a held body is read
        self._keeps = True  # whether the connection outlives the current request, should its body come
        self._refusal: GatewayError | None = None
        self._arrived = 0.0  # the current head's first byte

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head, unless the connection was refused."""
        super().connection_made(transport)
        if not self._refused:
            self._ours = authorities(self.server, self.limits.hosts)
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Read no further."""
        self._content = None
        if self._turn is not None:
            self._turn.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what a client that half-closes its connection has asked, then close.

        A client that has gone resets the connection, at the latest when it is written to.
        """
        self._input_end.reach()
        if not self._is_spare:
            self.half_closed[self] = None
        if self._turn is None:
            self._finish()
        return self.scheme != "https"  # TLS cannot be closed by half

    def data_received(self, data: bytes) -> None:
        """Answer from the fast path, parse, or hold what belongs to a later request."""
        lane = self.lane
        if lane is not None and (self._quiet or self._is_idle()) and len(data) <= self.limits.head_bytes:
            answer = lane.answer(data, self._peer)
            if answer is not None:
                self._write_answer(answer)
                return
        self._quiet = False
        if self._turn is not None:
            self._hold(data)
            return
        self._parse(data)

    def on_headers_complete(self) -> None:
        """Check the head before uvicorn makes a request of it."""
        self._stop_patience()
        head, self._head, self._parsing = self._head, b"", False
        plain = self.url.startswith(b"/")  # what it means does not depend on where the connection arrived
        try:
            self._content = self._check()
        except GatewayError as error:
            self._refusal = error  # the parser does not hand exceptions through
            raise
        if isinstance(self._content, EmptyBody):
            self._await_empty_body()
            return
        self._begin()
        if self._content is not None:
            self._await_content()
        elif self.lane is not None and plain and self.cycle.keep_alive and not self.parser.should_upgrade():
            self.scope[HEAD] = head  # type: ignore[literal-required]

    def on_response_complete(self) -> None:
        """Go on with what was held."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._watch_stall()
            return
        self.flow.resume_reading()
        self._rest()
        if self._held and self._turn is None:
            held, self._held = self._held, b""
            self._parse(held)
        if self._input_end.reached and self._turn is None:
            self._finish()

    def shutdown(self) -> None:
        """Close at once when idle, else after the answer, which the client has only so long to read."""
        super().shutdown()
        self._keeps = False
        if self._content is None:
            self._held = b""
        if self.transport.is_closing():
            self._watch_stall()

    def _finish(self) -> None:
        """Close a half-closed connection, at the latest after the current answer."""
        if self._refused:
            self._close()
        elif self._head.strip(b"\r\n") or self._content is not None:
            self._break_off(BadRequest("The request ended before it was whole."))
        elif not self._answering:
            self._close()
        elif not self._held:
            self.cycle.keep_alive = False  # it is the last

    def _begin(self) -> None:
        super().on_headers_complete()
        self.scope[ONE_WRITE] = self._write_at_once  # type: ignore[literal-required]
        self.scope[ARRIVED] = self._arrived  # type: ignore[literal-required]
        self.scope[TARGET] = self._target  # type: ignore[literal-required]
        self.scope[END_OF_INPUT] = self._input_end  # type: ignore[literal-required]
        if self.lifecycle.draining or self._is_spare:
            self.cycle.keep_alive = False

    @property
    def _is_busy(self) -> bool:
        return bool(self._head) or self._content is not None or self._answering

    def _is_idle(self) -> bool:
        """Whether the next bytes begin a request that may be answered from the fast path."""
        cycle = self.cycle
        return (
            not self._head
            and not self._is_spare
            and self._content is None
            and (cycle is None or cycle.response_complete)  # type: ignore[redundant-expr]
            and not self._refused
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _check(self) -> Content | None:
        """The body that the current head announces. Raises the GatewayError of an unacceptable head."""
        version, limits = self.parser.get_http_version(), self.limits
        method = self.parser.get_method()
        check_head(version, self.headers)
        content = content_of(method, version, self.headers, *limits.bodies(method, self.url))
        self._target = origin_form(method, self.url, self._ours)
        self.url = b"/" if self._target == ASTERISK else self._target  # uvicorn reads nothing else
        if self._is_spare and not self.url.startswith(HEALTH):
            raise self._too_many()
        if content is None or version == "1.0":
            self.expect_100_continue = False  # RFC 9110 §10.1.1
        return content

    def _parse(self, data: bytes) -> None:
        while data and not self._refused:
            if self._content is not None:
                data = self._read_content(self._content, data[:AT_ONCE]) + data[AT_ONCE:]
                if data and self._content is not None:
                    self._hold(data)
                    self._turn = self.loop.call_soon(self._resume)
                    return
            elif self._answering:
                self._held += data
                self.flow.pause_reading()
                return
            else:
                data = self._read_head(data)
        if self._head and not self._refused:
            self._await_head()

    def _hold(self, data: bytes) -> None:
        """Keep more of a body for a later turn. The app, which may ask for more, does not lift this pause."""
        self._held += data
        self.transport.pause_reading()

    def _resume(self) -> None:
        self._turn = None
        held, self._held = self._held, b""
        self._parse(held)
        if self._turn is not None:
            return
        if self._input_end.reached:
            self._finish()
        elif not self._held and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _read_head(self, data: bytes) -> bytes:
        """Parse up to the current head's end; returns the rest."""
        if not self._head:
            self._arrived = monotonic()
        end = self._end_of_head(data)
        if len(self._head) + end > self.limits.head_bytes:
            self._head += data[:end]
            self._refuse(oversized(self._head, self.limits.head_bytes))
        else:
            self._feed(data[:end])
        return data[end:]

    def _read_content(self, content: Content, data: bytes) -> bytes:
        """Hand on what belongs to the current body; returns the rest."""
        try:
            piece, rest = content.take(data)
        except GatewayError as error:
            self._break_off(error)
            return b""
        if not isinstance(content, EmptyBody):
            self.cycle.waiting_for_100_continue = False
            self.on_body(piece)
        if content.complete:
            self._end_content()
        return rest

    def _await_empty_body(self) -> None:
        """Wait with the request until its body has proved to be empty."""
        if self.expect_100_continue:
            self.expect_100_continue = False
            self.transport.write(GO_ON)
        self._patience = self.loop.call_later(self.limits.body_seconds, self._content_overdue)

    def _await_content(self) -> None:
        self._keeps = self.cycle.keep_alive
        if self.cycle.waiting_for_100_continue:
            # Answered without a body, the client could go on with either: the body or its next request.
            self.cycle.keep_alive = False
        self._patience = self.loop.call_later(self.limits.body_seconds, self._content_overdue)

    def _end_content(self) -> None:
        held = isinstance(self._content, EmptyBody)
        self._content = None
        self._stop_patience()
        if held:
            self._begin()
            self._keeps = self.cycle.keep_alive
        self.parser = httptools.HttpRequestParser(self)  # the one before still waits for this body
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps
        if self.cycle.response_complete:
            self._rest()
        self.on_message_complete()

    def _content_overdue(self) -> None:
        if not self.transport.is_closing():
            self._break_off(HeadTimeout(f"A request body may take {self.limits.body_seconds:g} seconds."))

    def _break_off(self, error: GatewayError) -> None:
        """End a request that cannot be received."""
        held = self._head or isinstance(self._content, EmptyBody)
        self._content = None
        if held:
            self._refusal = error
            self._refuse(error)
        elif self.cycle.response_complete:
            self._linger()
        elif self.cycle.response_started:
            self.transport.abort()  # an answer that is cut short, and seen to be
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._refuse(error)

    def _end_of_head(self, data: bytes) -> int:
        """Where in ``data`` the current head ends; the parser takes no other line ends than CRLF."""
        tail = self._head[-3:]  # in case the end is split
        found = (tail + data).find(END_OF_HEAD)
        return len(data) if found < 0 else found + len(END_OF_HEAD) - len(tail)

    def _feed(self, piece: bytes) -> None:
        self._head += piece
        try:
            if not self._parsing:
                if not check_request_line(self._head):
                    return
                self._parsing, piece = True, self._head
            self.parser.feed_data(piece)
        except GatewayError as error:
            self._refuse(error)
        except httptools.HttpParserUpgrade:
            return  # an upgrade is a wish; the request is answered without (RFC 9110 §7.8)
        except httptools.HttpParserInvalidURLError:
            self._refuse(BadTarget("The request target is malformed."))
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or BadRequest(f"This is not an HTTP request: {error}."))

    def _refuse(self, error: GatewayError) -> None:
        self._write_refusal(error, content=not self._refuses_head(error))
        self._linger()

    def _refuses_head(self, error: GatewayError) -> bool:
        """Whether the refused request is a HEAD, whose answer has no content (RFC 9110 §9.3.2).

        The bytes of its head decide: the parser may still hold the method of the request before.
        """
        if begun := self._head.lstrip(b"\r\n"):
            return begun.partition(b" ")[0] == b"HEAD"
        return error is self._refusal and bool(self.parser.get_method() == b"HEAD")

    def _await_head(self) -> None:
        if self._patience is None:
            seconds = self.limits.head_seconds
            patience = min(seconds, SPARE_SECONDS) if self._is_spare else seconds
            self._patience = self.loop.call_later(patience, self._head_overdue)

    def _head_overdue(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_spare:
            self._refuse(self._too_many())
        else:
            self._refuse(HeadTimeout(f"A request head may take {self.limits.head_seconds:g} seconds."))
