"""Request: one HTTP request to the gateway, and its client's connection."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from random import getrandbits
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.errors import BadRequest, BodyTooLarge, Headers, MethodNotAllowed, MethodUnknown
from gateway.proxy.callers import Located, Requester, client_address, subject_of
from gateway.proxy.methods import KNOWN, READS
from gateway.proxy.methods import allowed as allow_value
from gateway.tenants.tenant import Network, Tenant
from gateway.upstream.tasks import END_OF_INPUT

if TYPE_CHECKING:
    from gateway.proxy.lookup import Resolution

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
T = TypeVar("T")

FRAMED = frozenset({"1.0", "1.1"})
"""Versions of HTTP in which a header announces each body; in others it may just come (RFC 9113 §8.1)."""
FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""The headers that announce a body."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
ARRIVED = "gateway.arrived"
"""Where a protocol leaves in its ASGI scope when the request's first byte arrived, in monotonic seconds."""
TARGET = "gateway.target"
"""Where an ASGI scope has its request's target, in origin form as it was written: servers split it, and lose a
``?`` before an empty query."""


class ClientGone(Exception):
    """The client disconnected; there is nobody to answer."""


async def _no_message() -> MutableMapping[str, Any]:
    """The connection of a client that stays and sends nothing."""
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


class Request(Requester, kw_only=True, eq=False):
    """An HTTP request: what it brought, and what was found out about it.

    ``has_query`` says that its target has a ``?``, be the query empty; ``framed`` that a body would have been
    announced. ``peer`` is the address at the other end of the connection, ``trusted`` the proxies that may stand
    between; ``located`` what its address says of whose it is, None where that has no say. ``given`` are its
    headers by name, of several with one name the last. ``reads`` says that it asks for something that may be
    stored, and changes nothing; ``posted`` that it does so by POST. Its client waits since ``arrived`` until the
    ``deadline``, both in monotonic seconds.

    ``extra_headers`` are added to whatever answers it, ``origin_headers`` among them those for web pages;
    ``resolution`` is what its answer was made of, if that was looked up.
    """

    method: str
    path: bytes
    query_string: bytes
    headers: Headers
    given: Mapping[bytes, bytes]
    receive: Receive = _no_message
    peer: str = ""
    has_query: bool = False
    framed: bool = True
    trusted: Sequence[Network] = ()
    key_id: str | None = None
    located: Located | None = None
    query: Query | None = None
    reads: bool = False
    posted: bool = False
    extra_headers: Headers = msgspec.field(default_factory=list)
    origin_headers: Headers = msgspec.field(default_factory=list)
    resolution: Resolution | None = None
    arrived: float = msgspec.field(default_factory=monotonic)
    deadline: float = math.inf

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Request:
        """The request of an ASGI HTTP scope."""
        headers = scope["headers"] if isinstance(scope["headers"], list) else list(scope["headers"])
        given, method = dict(headers), scope["method"]
        chosen = given.get(b"x-request-id")
        if chosen is not None and len(given) < len(headers):
            chosen = next(value for name, value in headers if name == b"x-request-id")  # the first of several
        request_id = fresh_id() if chosen is None or not REQUEST_ID.fullmatch(chosen) else chosen
        path, mark, query_string = target_of(scope).partition(b"?")
        return cls(
            request_id,
            method=method,
            path=path,
            query_string=query_string,
            headers=headers,
            given=given,
            receive=receive,
            peer=(scope.get("client") or ("",))[0],
            has_query=bool(mark),
            framed=scope.get("http_version", "1.1") in FRAMED,
            reads=method in READS,
            extra_headers=[(b"x-request-id", request_id)],
            ending=scope.get(END_OF_INPUT),
            arrived=scope.get(ARRIVED) or monotonic(),
        )

    @classmethod
    def get(cls, target: bytes) -> Request:
        """A GET of a target in origin form, without headers or a connection."""
        path, query_string, has_query = parted(target)
        request_id = fresh_id()
        return cls(
            request_id,
            method="GET",
            path=path,
            query_string=query_string,
            headers=[],
            given={},
            has_query=has_query,
            reads=True,
            extra_headers=[(b"x-request-id", request_id)],
        )

    @property
    def may_have_body(self) -> bool:
        """Whether it may have a body, before that is read."""
        if self.framed and FRAMING.isdisjoint(self.given):
            return False
        return not self.framed or announces_body(self.headers)

    @property
    def target(self) -> bytes:
        return self.path + b"?" + self.query_string if self.query_string or self.has_query else self.path

    @property
    def public(self) -> bool:
        """Whether any cache may store its response: neither a key nor an address decided who asks."""
        return self.key_id is None and self.located is None and self.tenant.anonymous

    @property
    def known(self) -> Tenant | None:
        """The tenant identified by a key or an address; None for an anonymous caller."""
        if self.key_id is not None:
            return self.tenant
        return None if self.located is None else self.located.tenant

    @property
    def address(self) -> str:
        """The client's address, as limits know it."""
        return subject_of(client_address(self.peer, self.headers, self.trusted))

    @property
    def subject(self) -> str:
        """Whose refusals by the service count together: one key's, or one address's without a key."""
        if self.tenant.anonymous or self.located is not None:
            return f"{self.tenant.id}:{self.address}"
        return self.tenant.id if self.key_id is None else f"{self.tenant.id}:{self.key_id}"

    def header(self, name: bytes) -> bytes:
        """The first value of a header; empty without one."""
        if name not in self.given:
            return b""
        return next((value for key, value in self.headers if key == name), b"")

    def check_method(self, passed: Collection[str] | None) -> None:
        """Raise MethodNotAllowed for a method that neither reads nor is ``passed`` on (None: all but two are), and
        MethodUnknown for an unknown one."""
        allowed = self.method in READS or (
            self.method not in ("CONNECT", "TRACE") if passed is None else self.method in passed
        )
        if not allowed and self.method.encode() not in KNOWN:
            raise MethodUnknown("This method is not known here.")
        if not allowed:
            served = None if passed is None else {method.encode() for method in passed}
            raise MethodNotAllowed(f"Method not allowed: {self.method[:20]}", allow=allow_value(served))

    async def refuse_body(self) -> None:
        """Raise BadRequest for a body on a read; announced chunks may turn out to be empty."""
        try:
            if any(name == b"content-length" and value.strip(b"0 \t") for name, value in self.headers):
                raise BodyTooLarge("It is longer than nothing.")
            await self.body(0)
        except BodyTooLarge:
            raise BadRequest("A GET or HEAD request must not have a body.") from None

    async def body(self, most: int) -> bytes:
        """The content. Raises BodyTooLarge beyond ``most`` bytes, ClientGone when it breaks off."""
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
        """The result of ``work``, which is cancelled if the client disconnects first. Raises ClientGone."""
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
"""A new request id: 16 hexadecimal digits, which need not be hard to guess."""


def announces_body(headers: Headers) -> bool:
    """Whether the headers announce a body, though it may be empty."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t") != b""):
            return True
    return False


def target_of(scope: Mapping[str, Any]) -> bytes:
    """The target of a request in an ASGI scope, as written where its server keeps that."""
    if TARGET in scope:
        target: bytes = scope[TARGET]
        return target
    path: bytes = scope.get("raw_path") or quote(scope["path"], safe="/:@!$&'()*+,;=~").encode()
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path
