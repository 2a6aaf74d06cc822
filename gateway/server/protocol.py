"""Protocol: uvicorn's HTTP protocol with bounds on what a client may do to a connection.

Of ``HttpToolsProtocol`` this relies on: the asyncio callbacks and parser callbacks overridden or called here;
``parser``, ``transport``, ``loop``, ``server``, ``flow``, ``connections``, ``server_state.default_headers``,
``scope``, ``client``, ``scheme``, ``headers``, ``url`` and ``expect_100_continue``; ``cycle`` with
``response_started``, ``response_complete``, ``disconnected``, ``message_event``, ``waiting_for_100_continue``,
``keep_alive`` and ``on_response``; ``timeout_keep_alive``, ``timeout_keep_alive_task``,
``timeout_keep_alive_handler`` and ``_unset_keepalive_if_required``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Set
from http import HTTPStatus
from time import monotonic
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.cache.dates import http_date_now
from gateway.errors import BadRequest, BadTarget, GatewayError, Headers, HeadTimeout, TooManyConnections, render
from gateway.lifecycle import Lifecycle
from gateway.proxy.methods import ASTERISK, TARGET
from gateway.proxy.request import ARRIVED
from gateway.proxy.response import WHOLE, head_of
from gateway.server.fast_path import HEAD, FastPath
from gateway.server.head import (
    Limits,
    Nothing,
    authorities,
    check_head,
    check_request_line,
    content_of,
    origin_form,
    oversized,
)
from gateway.upstream.framing import AT_ONCE, Content
from gateway.upstream.tasks import ENDING, Ending

END_OF_HEAD = b"\r\n\r\n"
CLOSE = (b"connection", b"close")
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
HEALTH = b"/-/health/"
SPARE_SECONDS = 2.0
"""How long a head may take on a connection beyond the limit."""
COPIED = 65_536
"""Bytes of a body that is rather copied than written apart."""


for _status in range(600, 1_000):  # any three digits may come from an origin (RFC 9110 §15)
    STATUS_LINE.setdefault(_status, b"HTTP/1.1 %d \r\n" % _status)


def protocol_class(limits: Limits, lifecycle: Lifecycle, lane: FastPath | None = None) -> type[asyncio.Protocol]:
    """The class for uvicorn's ``http=`` setting, bound to these limits, and to a lane if there is one."""
    bound = {"limits": limits, "lifecycle": lifecycle, "lane": lane, "spares": {}, "ended": {}}
    return type("BoundGatewayProtocol", (GatewayProtocol,), bound)


class GatewayProtocol(HttpToolsProtocol):
    """One client's connection.

    The parser is given one head at a time and the next only when the body of the last has ended and its answer
    is complete: pipelined answers keep their order, an error never overtakes an answer, and a flood of requests
    waits outside. It also leaves nothing for uvicorn's ``lenient_data_after_close`` to be lenient about. Bodies
    are not the parser's business: ``content`` says where they end, beyond doubt. A body is read a little at a
    time, with the event loop's other business between.
    """

    limits: ClassVar[Limits]
    lifecycle: ClassVar[Lifecycle]
    lane: ClassVar[FastPath | None]
    spares: ClassVar[dict[GatewayProtocol, None]]
    """The connections beyond the limit, the oldest first."""
    ended: ClassVar[dict[GatewayProtocol, None]]
    """Those whose client sends no more, by when it said so: most have gone, so that these are the first to go."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ours: Set[bytes] = frozenset()
        self._peer = ""
        self._last = -math.inf  # when the last answer was complete
        self._quiet = False  # since then nothing has come, and what was written is on its way
        self._held = b""  # received, not yet parsed
        self._head = b""  # received of the current head
        self._parsing = False  # it, since its first line is whole
        self._target = b""
        self._content: Content | None = None  # until the current request's body has ended
        self._turn: asyncio.Handle | None = None  # in which the body that is held is read on
        self._ending = Ending()
        self._keeps = True  # whether the connection outlives the current request, should its body come
        self._refusal: GatewayError | None = None
        self._refused = False
        self._is_spare = False  # beyond the limit of connections
        self._arrived = 0.0  # the current head's first byte
        self._patience: asyncio.TimerHandle | None = None  # with a head, a body, then with a refused client
        self._stall: asyncio.TimerHandle | None = None  # with a client that does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts the connection; where there are too many, at most for a health check."""
        if len(self.connections) - len(self.spares) >= self.limits.connections and not self._take_over():
            if not self.limits.spare:
                self.transport = transport
                self._refused = True
                self._write_refusal(self._too_many())
                transport.close()
                return
            self._take_spare()
        super().connection_made(transport)
        self._ours = authorities(self.server, self.limits.hosts)
        self._peer = self.client[0] if self.client else ""
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets what was waited for."""
        self.spares.pop(self, None)
        self.ended.pop(self, None)
        self._content = None
        if self._turn is not None:
            self._turn.cancel()
        self._stop_patience()
        self._stop_stall()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, which does not say that it has gone: what it asked is answered, and then the
        connection is closed. Whoever has gone resets it, or what is written to him comes back as a reset."""
        self._ending.comes()
        if not self._is_spare:
            self.ended[self] = None
        if self._turn is None:
            self._finish()
        return self.scheme != "https"  # TLS cannot be closed by half

    def data_received(self, data: bytes) -> None:
        """Answers at once, parses, or holds back what belongs to a later request."""
        lane = self.lane
        if lane is not None and (self._quiet or self._is_idle()):
            answer = lane.answer(data, self._peer)
            if answer is not None:
                self._give(answer)
                return
        self._quiet = False
        if self._turn is not None:
            self._hold(data)
            return
        self._parse(data)

    def on_headers_complete(self) -> None:
        """Checks the head before uvicorn makes a request of it."""
        self._stop_patience()
        head, self._head, self._parsing = self._head, b"", False
        plain = self.url.startswith(b"/")  # what it means does not depend on where the connection arrived
        try:
            self._content = self._check()
        except GatewayError as error:
            self._refusal = error  # the parser does not hand exceptions through
            raise
        if isinstance(self._content, Nothing):
            self._await_nothing()
            return
        self._begin()
        if self._content is not None:
            self._await_content()
        elif self.lane is not None and plain and self.cycle.keep_alive and not self.parser.should_upgrade():
            self.scope[HEAD] = head  # type: ignore[literal-required]

    def on_response_complete(self) -> None:
        """Goes on with what was held back."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._watch_stall()
            return
        self.flow.resume_reading()
        self._rest()
        if self._held and self._turn is None:
            held, self._held = self._held, b""
            self._parse(held)
        if self._ending.come and self._turn is None:
            self._finish()

    def pause_writing(self) -> None:
        """The client does not keep up with reading."""
        self._quiet = False
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._stop_stall()

    def shutdown(self) -> None:
        """Closes when idle, else after the answer; but never waits for ever for a client to read."""
        super().shutdown()
        self._keeps = False
        if self._content is None:
            self._held = b""
        if self.transport.is_closing():
            self._watch_stall()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, even one whose last answer was never read."""
        self.timeout_keep_alive_task = None
        if self._head or self._content is not None or self._answering:
            return  # it rests again once that is answered
        left = self._last + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._keep_open(left)
            return
        super().timeout_keep_alive_handler()
        self._watch_stall()

    def _finish(self) -> None:
        """What becomes of a connection on which no more comes."""
        if self._refused:
            self._close()
        elif self._head.strip(b"\r\n") or self._content is not None:
            self._break_off(BadRequest("The request ended before it was whole."))
        elif not self._answering:
            self._close()
        elif not self._held:
            self.cycle.keep_alive = False  # it is the last

    def _begin(self) -> None:
        """Has the request answered."""
        super().on_headers_complete()
        self.scope[WHOLE] = self._take_whole  # type: ignore[literal-required]
        self.scope[ARRIVED] = self._arrived  # type: ignore[literal-required]
        self.scope[TARGET] = self._target  # type: ignore[literal-required]
        self.scope[ENDING] = self._ending  # type: ignore[literal-required]
        if self.lifecycle.draining or self._is_spare:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        """Whether what comes next is the head of a request that can be answered there and then."""
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

    def _give(self, answer: bytes) -> None:
        """Writes a whole answer."""
        if self._patience is not None:
            self._stop_patience()
        self._quiet = True
        self.transport.write(answer)
        self.server_state.total_requests += 1
        self._rest()

    async def _take_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """Writes a whole answer to the current request as the cycle would, but at once; False: it had better."""
        cycle = self.cycle  # there is no other before this one's answer is complete
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return True
        # Meanwhile it may have been told to shut down.
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

    def _rest(self) -> None:
        """Idle from now on. Its timer is left alone, and looks itself since when."""
        self._last = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._keep_open(self.timeout_keep_alive)

    def _keep_open(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    @property
    def _answering(self) -> bool:
        # Before the first request there is no cycle, though uvicorn's types say otherwise.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _check(self) -> Content | None:
        """The body that the current head announces. Raises what makes the head unacceptable."""
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
                data = self._take_content(self._content, data[:AT_ONCE]) + data[AT_ONCE:]
                if data and self._content is not None:
                    self._hold(data)
                    self._turn = self.loop.call_soon(self._go_on)
                    return
            elif self._answering:
                self._held += data
                self.flow.pause_reading()
                return
            else:
                data = self._take_head(data)
        if self._head and not self._refused:
            self._await_head()

    def _hold(self, data: bytes) -> None:
        """Keeps more of a body until it is its turn. The app, which may ask for more, does not lift this pause."""
        self._held += data
        self.transport.pause_reading()

    def _go_on(self) -> None:
        self._turn = None
        held, self._held = self._held, b""
        self._parse(held)
        if self._turn is not None:
            return
        if self._ending.come:
            self._finish()
        elif not self._held and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _take_head(self, data: bytes) -> bytes:
        """Parses up to the current head's end; the rest."""
        if not self._head:
            self._arrived = monotonic()
        end = self._end_of_head(data)
        if len(self._head) + end > self.limits.head_bytes:
            self._head += data[:end]
            self._refuse(oversized(self._head, self.limits.head_bytes))
        else:
            self._feed(data[:end])
        return data[end:]

    def _take_content(self, content: Content, data: bytes) -> bytes:
        """Hands on what belongs to the current body; the rest."""
        try:
            piece, rest = content.take(data)
        except GatewayError as error:
            self._break_off(error)
            return b""
        if not isinstance(content, Nothing):
            self.cycle.waiting_for_100_continue = False
            self.on_body(piece)
        if content.complete:
            self._end_content()
        return rest

    def _await_nothing(self) -> None:
        """Nobody is asked to answer before it is certain that the request has no body."""
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
        held = isinstance(self._content, Nothing)
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
        """Ends a request that cannot be received."""
        held = self._head or isinstance(self._content, Nothing)
        self._content = None
        if held:
            self._refusal = error
            self._refuse(error)
        elif self.cycle.response_complete:
            self._part()
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
        self._write_refusal(error)
        self._part()

    def _part(self) -> None:
        """Says no more, and leaves the client a while to read what was said (RFC 9112 §9.6)."""
        self._refused = True
        self._stop_patience()
        self._unset_keepalive_if_required()
        if self._ending.come:
            self._close()
            return
        self.transport.write_eof()
        self._patience = self.loop.call_later(self.limits.linger_seconds, self.transport.abort)

    def _write_refusal(self, error: GatewayError) -> None:
        status, headers, body = render(error)
        closing = [(b"date", http_date_now()), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%s: %s" % pair for pair in (*self.server_state.default_headers, *headers, *closing)]
        self.transport.write(b"\r\n".join(lines) + END_OF_HEAD + (b"" if self._refuses_head(error) else body))

    def _refuses_head(self, error: GatewayError) -> bool:
        """Whether what is refused is a HEAD, to which no answer has content (RFC 9110 §9.3.2): by what came of its
        head, of which the parser may not know yet, though it still knows of the request before."""
        if begun := self._head.lstrip(b"\r\n"):
            return begun.partition(b" ")[0] == b"HEAD"
        return error is self._refusal and bool(self.parser.get_method() == b"HEAD")

    def _close(self) -> None:
        """Closes the connection once all is written, if it is read in time."""
        self.transport.close()
        self._watch_stall()

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

    def _take_over(self) -> bool:
        """Ends the connection whose client has sent no more for longest, if there is one."""
        oldest = next(iter(self.ended), None)
        if oldest is None:
            return False
        del self.ended[oldest]
        oldest.transport.abort()
        return True

    def _take_spare(self) -> None:
        """Has one of the connections beyond the limit; the oldest where all are taken."""
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
