"""Exchange: one request on its way, and its client's connection."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from functools import partial
from random import getrandbits
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.errors import BadRequest, BodyTooLarge, DeadlineExceeded, Headers, MethodNotAllowed, MethodUnknown
from gateway.observe.outcome import Timings, clock
from gateway.observe.upstream_calls import OnBehalfOf
from gateway.proxy.methods import KNOWN, target_of
from gateway.proxy.methods import allowed as allow_value
from gateway.tenants.tenant import ANONYMOUS, Tenant
from gateway.upstream.tasks import END_OF_INPUT, EndOfInput

if TYPE_CHECKING:
    from gateway.proxy.network import Located
    from gateway.proxy.prepared import Grounds

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
T = TypeVar("T")

READS = frozenset({"GET", "HEAD"})
FRAMED = frozenset({"1.0", "1.1"})
"""Versions of HTTP in which a header announces each body; in others it may just come (RFC 9113 §8.1)."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class ClientGone(Exception):
    """The client disconnected; there is nobody to answer."""


ARRIVED = "gateway.arrived"
"""Where a protocol leaves in its ASGI scope when the request's first byte arrived, in monotonic seconds."""


class Exchange(msgspec.Struct, eq=False):
    """One request: what it brought, and what was found out about it.

    ``peer`` is the address of whoever opened the connection; ``told`` are headers that its answer gets besides
    its own, whatever that is. ``posted`` says that it asks by POST.
    ``flight`` names the flight that it waited for; ``joined`` says that it was
    under way already, in the trace ``joined_trace``. ``span`` is its own, where traces are made. ``told_origin``
    are those of ``told`` that are for web pages; ``grounds`` what it was answered on, if from what is near alone;
    ``located`` what its address says of whose it is, None where that has no say.

    ``marked`` says that its target has a ``?``, be the query empty. Its client waits since ``arrived``, and until
    the ``deadline``, both in monotonic seconds; ``ending`` tells when it sends no more, where its server does.
    ``framed`` says that a body would have been announced.
    """

    method: str
    path: bytes
    query_string: bytes
    headers: Headers
    id: bytes
    receive: Receive
    peer: str = ""
    tenant: Tenant = ANONYMOUS
    key_id: str | None = None
    located: Located | None = None
    query: Query | None = None
    posted: bool = False
    stages: Timings = msgspec.field(default_factory=Timings)
    flight: str = ""
    joined: bool = False
    joined_trace: str = ""
    span: Any = None
    told: Headers = msgspec.field(default_factory=list)
    told_origin: Headers = msgspec.field(default_factory=list)
    grounds: Grounds | None = None
    arrived: float = msgspec.field(default_factory=monotonic)
    deadline: float = math.inf
    marked: bool = False
    ending: EndOfInput | None = None
    framed: bool = True

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Exchange:
        """The exchange of an ASGI HTTP scope."""
        headers = scope["headers"] if isinstance(scope["headers"], list) else list(scope["headers"])
        path, query_string, marked = parted(target_of(scope))
        given = [value for name, value in headers if name == b"x-request-id"]
        request_id = given[0] if given and REQUEST_ID.fullmatch(given[0]) else fresh_id()
        peer = (scope.get("client") or ("",))[0]
        exchange = cls(scope["method"], path, query_string, headers, request_id, receive, peer)
        exchange.marked = marked
        exchange.ending = scope.get(END_OF_INPUT)
        exchange.framed = scope.get("http_version", "1.1") in FRAMED
        exchange.told.append((b"x-request-id", request_id))
        if ARRIVED in scope:
            exchange.arrived = scope[ARRIVED]
        return exchange

    @property
    def reads(self) -> bool:
        """Whether it asks for something that may be stored, and changes nothing."""
        return self.method in READS or self.posted

    @property
    def may_have_body(self) -> bool:
        """Whether it has a body, as far as can be told before that is looked for."""
        return not self.framed or announces_body(self.headers)

    @property
    def target(self) -> bytes:
        """Its target as it was written."""
        return self.path + b"?" + self.query_string if self.query_string or self.marked else self.path

    @property
    def left(self) -> float:
        """Seconds that its client still waits."""
        return max(0.0, self.deadline - monotonic())

    async def in_time(self, work: Awaitable[T], most: float = math.inf) -> T:
        """The result of ``work``, which is cancelled at the deadline. Raises DeadlineExceeded.

        Work that takes at most so many seconds by itself costs no timer while there are more.
        """
        left = self.left
        if left > most:
            return await work
        try:
            async with asyncio.timeout(left):
                return await work
        except TimeoutError:
            raise DeadlineExceeded("The request could not be answered in time.", retry_after=1) from None

    @property
    def public(self) -> bool:
        """Whether any cache may give its answer to others: no key and no address decided what that is."""
        return self.tenant.anonymous and self.located is None

    @property
    def known(self) -> Tenant | None:
        """The tenant whose request it is, by a key or an address; None of a caller who is nobody's."""
        if self.key_id is not None:
            return self.tenant
        return None if self.located is None else self.located.tenant

    @property
    def asker(self) -> OnBehalfOf:
        """On whose behalf the service is asked for this request."""
        return OnBehalfOf(self.tenant.id, self.id.decode(), self.span)

    def landed(self, flown: float, trace: str, *, joined: bool) -> None:
        """The flight that it waited for has landed."""
        self.stages.landed, self.stages.flown = clock(), flown
        self.joined, self.joined_trace = joined, trace

    def header(self, name: bytes) -> bytes:
        """The first value of a header, empty where there is none."""
        return next((value for key, value in self.headers if key == name), b"")

    def check_method(self, passed: Collection[str] | None) -> None:
        """Raises MethodNotAllowed for what is neither read nor ``passed`` on (None: all but two are), and
        MethodUnknown where nobody knows it."""
        allowed = self.method in READS or (
            self.method not in ("CONNECT", "TRACE") if passed is None else self.method in passed
        )
        if not allowed and self.method.encode() not in KNOWN:
            raise MethodUnknown("This method is not known here.")
        if not allowed:
            served = None if passed is None else {method.encode() for method in passed}
            raise MethodNotAllowed(f"Method not allowed: {self.method[:20]}", allow=allow_value(served))

    async def refuse_body(self) -> None:
        """Raises BadRequest for a body on a read. Chunks may turn out to be none."""
        try:
            if any(name == b"content-length" and value.strip(b"0 \t") for name, value in self.headers):
                raise BodyTooLarge("It is longer than nothing.")
            await self.body(0)
        except BodyTooLarge:
            raise BadRequest("A GET or HEAD request must not have a body.") from None

    async def body(self, most: int) -> bytes:
        """The request's content. Raises BodyTooLarge beyond ``most`` bytes, ClientGone when it breaks off."""
        content = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            content += message.get("body", b"")
            if len(content) > most:
                raise BodyTooLarge(f"A request body may have {most} bytes.")
            if not message.get("more_body", False):
                return bytes(content)

    async def while_connected(self, work: Awaitable[T]) -> T:
        """The result of ``work``, which is cancelled where the client disconnects first. Raises ClientGone."""
        gone = asyncio.create_task(self._disconnected())
        ours = asyncio.current_task()
        assert ours is not None
        over = False  # a callback that is already scheduled cannot be taken back

        def end(_: asyncio.Task[None]) -> None:
            if not over:
                ours.cancel()

        gone.add_done_callback(end)
        try:
            return await work
        except asyncio.CancelledError:
            if gone.done() and ours.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            over = True
            gone.remove_done_callback(end)
            gone.cancel()

    async def _disconnected(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _ids() -> Iterator[bytes]:
    while True:  # a hundred at a time, since each request takes one
        digits = b"%01600x" % getrandbits(6_400)
        yield from [digits[at : at + 16] for at in range(0, 1_600, 16)]


fresh_id = partial(next, _ids())
"""A request id: 16 hexadecimal digits, which need not be hard to guess."""


def announces_body(headers: Headers) -> bool:
    """Whether a request says that it has a body, though it may be empty."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t") != b""):
            return True
    return False
