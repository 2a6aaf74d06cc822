"""FastPath: repeats responses from the near cache to repeated requests, ahead of the proxy."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import Any, NamedTuple

from msgspec import structs

from gateway.errors import Headers
from gateway.observe.outcome import Outcome, clock
from gateway.proxy.access_log import AccessLog, kind_of
from gateway.proxy.methods import READS, target_of
from gateway.proxy.profiles import Profile
from gateway.proxy.proxy import Proxy
from gateway.proxy.request import FRAMED, Receive, Request, Scope, fresh_id
from gateway.proxy.response import BODILESS, Response
from gateway.tenants.ratelimit import NO_FIELDS, RateLimitFields
from gateway.tenants.registry import Registry

HEAD = "gateway.head"
"""Where a protocol leaves a request's head in its ASGI scope: the bytes by which it looked for it here already."""
LONGEST_HEAD = 4_096
ONCE = 16_384
"""Requests that were seen once, as hashes: only repeated ones are worth preparing."""
SHARED, SHORT = 2_048, 200
"""Headers that responses share, and the bytes of the longest of their values."""
OVERHEAD = 3_000
"""Approximate bytes that a rendered response costs beside its request's head, its body and its headers."""
HEADER = 130
"""Approximate bytes that a header costs beside its own, where it is kept as a pair."""
CRLF = b"\r\n"

Parts = tuple[Any, ...]
"""Method, target, and each header's name and value: flat, since each hit hashes and compares it."""


class Revisions(NamedTuple):
    """The revisions of who may ask, and of what was purged, under which a request was answered."""

    callers: int
    purges: int


class FastPath:
    """The app around the proxy. A request that is the same to the byte as an earlier one, from the same address
    where that decides who asks, gets the same response for as long as all that it rested on is unchanged: the
    record, its freshness, the registry, the key, purges, the credential's standing. Limits, counting and sampled
    log lines are as for any request.

    Any other request goes to the proxy, whose response is learnt once the request is repeated. ``max_bytes``
    bounds what is kept, the oldest leaving first; 0 keeps nothing. ``served`` counts the responses given here.
    """

    def __init__(self, proxy: Proxy, registry: Registry, max_bytes: int) -> None:
        # A request that may be traced needs a trace, which is not to be had here.
        self.max_bytes = 0 if proxy.access_log.tracing is not None else max_bytes
        self.bytes = 0
        self.served = 0
        self.proxy = proxy
        self._registry = registry
        self._access_log = proxy.access_log
        self._callers = proxy.callers
        self._admission = proxy.callers.admission
        self._resolver = proxy.resolver
        self._purges = proxy.resolver.purges
        self._near = proxy.resolver.store.near
        self._breaker = proxy.resolver.queue.breaker
        self._clock = proxy.resolver.clock
        self._lifecycle = proxy.lifecycle
        self._rendered: dict[Hashable, RenderedResponse] = {}
        self._once: set[int] = set()

    def __repr__(self) -> str:
        return f"<FastPath {len(self._rendered)} responses, {self.bytes}/{self.max_bytes} bytes>"

    async def __call__(self, scope: Scope, receive: Receive, send: Any) -> None:
        """Have the proxy answer, and learn its response to a repeated request."""
        # Read before, so that what changes meanwhile counts as changed.
        revisions = Revisions(self._registry.directory.serial, self._purges.revision)
        request = Request.of(scope, receive)
        response = await self.proxy.serve(request, scope, send)
        if response is not None and response.outcome is Outcome.HIT and self.max_bytes:
            self._learn(scope, revisions, request, response)

    def answer(self, head: bytes, peer: str) -> bytes | None:
        """The whole response to a request by its head as it was received, without a body, from the address
        ``peer``; None where the proxy has to answer. Only for connections that stay open."""
        began = clock()
        key: Hashable = head
        rendered = self._rendered.get(head)
        if rendered is None and self._registry.directory.networks:
            key = (peer, head)
            rendered = self._rendered.get(key)
        if rendered is None:
            return None
        served = self._serve(key, rendered, peer, began)
        if served is None:
            return None
        request_id, limits = served
        return b"".join((rendered.head, request_id, CRLF, limits.lines, rendered.tail))

    def ready(self, scope: Mapping[str, Any]) -> tuple[int, Headers, bytes] | None:
        """The same as status, headers and body, for an ASGI scope whose head was not looked for here yet, unless a
        body may come that its headers do not announce."""
        if not self._rendered or HEAD in scope or scope["http_version"] not in FRAMED:
            return None
        began = clock()
        key: Hashable = key_of(scope)
        peer = (scope.get("client") or ("",))[0]
        rendered = self._rendered.get(key)
        if rendered is None and self._registry.directory.networks:
            key = (peer, key)
            rendered = self._rendered.get(key)
        if rendered is None:
            return None
        served = self._serve(key, rendered, peer, began)
        if served is None:
            return None
        request_id, limits = served
        headers = [*rendered.headers, (b"x-request-id", request_id), *limits.headers, *rendered.last]
        return rendered.status, headers, rendered.body

    def _serve(
        self, key: Hashable, rendered: RenderedResponse, peer: str, began: float
    ) -> tuple[bytes, RateLimitFields] | None:
        """The response's request id, and the headers of the caller's limits, once it is admitted and counted; None
        where it may not be given, or that is not decided at once. One function, since each hit pays for a call."""
        now = self._clock.now()
        valid = (
            (rendered.since <= now < rendered.tick or self._update(rendered, now))
            and (rendered.callers == self._registry.directory.serial or self._is_held(rendered))
            and (rendered.purges == self._purges.revision or self._is_unpurged(rendered))
            and (rendered.changes == self._near.changes or self._is_near(rendered))
            and (rendered.scope is None or self._breaker.refused_for(rendered.scope) is None)
        )
        if not valid:
            self._drop(key)
            return None
        if self._lifecycle.draining:
            return None
        subject = rendered.subject
        if subject is None:
            subject = self._callers.subject(rendered.tenant, peer)
            if subject is None:
                return None
        limits = self._admission.at_once(subject, rendered.tenant.limits, began) if subject else NO_FIELDS
        if limits is None:
            return None
        request_id = rendered.request_id or fresh_id()
        self.served += 1
        ended = clock()
        rendered.tally.add(ended - began)
        if stands_for := self._access_log.hit(ended):
            self._access_log.repeated(rendered.line, request_id, ended - began, stands_for)
        return request_id, limits

    # Checks that take longer, made only after something changed

    def _update(self, rendered: RenderedResponse, now: float) -> bool:
        """Whether it has not expired; renders it as of now."""
        if now >= rendered.until:
            return False
        key = rendered.validity.key
        self._near.get(key.entry)  # it is in use
        self._near.get(key.error)
        rendered.render(now)
        return True

    def _is_held(self, rendered: RenderedResponse) -> bool:
        """Whether the key is still the same tenant's, and that tenant unchanged."""
        directory = self._registry.directory
        if rendered.key_id is None or not directory.has(rendered.tenant, rendered.key_id):
            return False
        rendered.callers = directory.serial
        return True

    def _is_unpurged(self, rendered: RenderedResponse) -> bool:
        """Whether no more of the query's answers was purged, and they are still shared if they were."""
        validity = rendered.validity
        if self._purges.covering(validity.query) != validity.marked:
            return False
        if validity.shared and not self._resolver.sharing.covers(validity.query):
            return False
        rendered.purges = self._purges.revision
        return True

    def _is_near(self, rendered: RenderedResponse) -> bool:
        """Whether the query's near records are unchanged."""
        near, key = self._near, rendered.validity.key
        if (near.serial(key.entry), near.serial(key.error)) != rendered.validity.records:
            return False
        rendered.changes = near.changes
        return True

    # Learning

    def _learn(self, scope: Mapping[str, Any], revisions: Revisions, request: Request, response: Response) -> None:
        """Keep a response that may be given again, rendered, if its request is repeated."""
        if request.resolution is None or request.resolution.validity is None:
            return
        parts = key_of(scope)
        key = _by_peer(parts, request)
        raw = isinstance(parts, bytes)
        size = len(parts) if raw else _size(request)
        if size > LONGEST_HEAD or not self._came_before(key):
            return
        # What is announced may turn out to be no body, but another time it could be one.
        if request.method not in READS or request.may_have_body or not _is_repeatable(request, response):
            return
        if not isinstance(parts, bytes):
            key = _by_peer(_sharing(parts), request)
            size += HEADER * len(request.headers)
        tenant = request.tenant
        subject = None if tenant.anonymous else self._callers.subject(tenant, request.peer)
        facts = self.proxy.profile, self._access_log
        self._keep(key, RenderedResponse(request, response, revisions, subject, *facts, raw=raw), size)

    def _came_before(self, key: Hashable) -> bool:
        digest = hash(key)
        if digest in self._once or key in self._rendered:
            self._once.discard(digest)
            return True
        if len(self._once) >= ONCE:
            self._once.clear()
        self._once.add(digest)
        return False

    def _keep(self, key: Hashable, rendered: RenderedResponse, size: int) -> None:
        self._drop(key)
        rendered.size += size
        if rendered.size > self.max_bytes:
            return
        self._rendered[key] = rendered
        self.bytes += rendered.size
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._rendered)))

    def _drop(self, key: Hashable) -> None:
        rendered = self._rendered.pop(key, None)
        if rendered is not None:
            self.bytes -= rendered.size


class RenderedResponse:
    """A response with what it rests on, and with what of it depends on the time.

    ``callers``, ``purges`` and ``changes`` are the revisions of the registry, of purges and of the near cache at
    which it was last found valid.

    ``render`` writes it as of a time; that holds from ``since`` until ``tick``, when its age or what is left of
    its lifetime becomes another whole number of seconds. It expires at ``until``. A response is ``head``, which
    ends in the name of the request id's header, and ``tail`` where it is ``raw``, else ``headers`` and ``last``;
    between them stands what each one has of its own: that id, unless the client gave one (``request_id``), and the
    limits of its ``subject``, which is empty where there are none, and None where the client's address decides.
    ``line`` is what the access log has of it.
    """

    __slots__ = (
        *("_names", "_places", "_raw", "_template", "_times", "body", "callers", "changes", "head", "headers"),
        *("key_id", "last", "line", "purges", "request_id", "scope", "since", "size", "status", "subject", "tail"),
        *("tally", "tenant", "tick", "until", "validity"),
    )

    def __init__(
        self,
        request: Request,
        response: Response,
        revisions: Revisions,
        subject: str | None,
        profile: Profile,
        access_log: AccessLog,
        *,
        raw: bool,
    ) -> None:
        assert request.resolution is not None
        assert request.resolution.validity is not None
        validity = request.resolution.validity
        # Its body may be large, and must not live on here once it left the near cache.
        entry = structs.replace(validity.entry, body=b"")
        self.validity = structs.replace(validity, entry=entry)
        self.callers, self.purges = revisions
        self.scope = validity.scope
        self.changes = 0
        self.tenant = request.tenant
        self.key_id = request.key_id
        self.subject = subject
        self.until = min(_key_expiry(request), entry.fresh_until, entry.drop_at)
        self.status = response.status
        self.body = b"" if request.method == "HEAD" else response.body
        self.request_id = request.id if request.header(b"x-request-id") == request.id else None
        self.tally = access_log.tallies.of(kind_of(request, response))
        self.line = access_log.line(request, response)
        self.last = [shared(*pair) for pair in request.origin_headers]
        if response.status not in BODILESS:
            self.last.append(shared(b"content-length", b"%d" % len(response.body)))
        self.tail = b"%s\r\n%s" % (lines(self.last), self.body)
        twice = sum(len(name) + len(value) for name, value in response.headers)
        self.size = OVERHEAD + len(self.tail) + len(self.body) + 2 * twice
        self._raw = raw
        self._times = profile.times(entry, request.public)
        # Of headers with one name the last is the gateway's own.
        last = {name: place for place, (name, _) in enumerate(response.headers)}
        self._places = {name: last[name] for name in self._times(entry.born) if name in last}
        self.headers = [shared(*pair) for pair in response.headers]
        constant = [(name.replace(b"%", b"%%"), value.replace(b"%", b"%%")) for name, value in response.headers]
        for name, place in self._places.items():
            constant[place] = (name, b"%s")
        self._template = b"%s%sx-request-id: " % (status_line(response.status), lines(constant))
        self._names = sorted(self._places, key=self._places.__getitem__)
        self.head = b""
        self.since = self.tick = 0.0

    def render(self, now: float) -> None:
        """Write the headers that change with the time as of ``now``."""
        times = self._times(now)
        if self._raw:
            self.head = self._template % tuple([times[name] for name in self._names])
        else:
            for name, place in self._places.items():
                self.headers[place] = (name, times[name])
        entry = self.validity.entry
        self.since = now
        older, less = entry.born + int(now - entry.born) + 1, entry.fresh_until - int(entry.fresh_until - now)
        self.tick = min(older, less, self.until)


def key_of(scope: Mapping[str, Any]) -> bytes | Parts:
    """What identifies a request: its head as received, else all of it that an ASGI server hands on."""
    if HEAD in scope:
        head: bytes = scope[HEAD]
        return head
    return (scope["method"], target_of(scope), *chain.from_iterable(scope["headers"]))


def shared(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header, the same object wherever it occurs: most of a response's are those of any other."""
    return _shared(name, value) if len(value) <= SHORT else (name, value)


def lines(headers: Headers) -> bytes:
    """Headers as they are written (RFC 9112 §5)."""
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


def status_line(status: int) -> bytes:
    """The first line of a response (RFC 9112 §4); a status that nobody registered has no phrase."""
    try:
        phrase = HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    return b"HTTP/1.1 %d %s\r\n" % (status, phrase)


@lru_cache(SHARED)
def _shared(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return (name, value)


def _is_repeatable(request: Request, response: Response) -> bool:
    """Whether it is the whole entry, or says that it is unchanged; and has a date."""
    assert request.resolution is not None
    whole = response.status in (request.resolution.entry.status, 304)
    return whole and any(name == b"date" for name, _ in response.headers)


def _key_expiry(request: Request) -> float:
    held = None if request.key_id is None else request.tenant.keys[request.key_id]
    return math.inf if held is None or held.expires is None else held.expires.timestamp()


def _by_peer(parts: bytes | Parts, request: Request) -> Hashable:
    """What a response is kept under: the peer too, where the address decides who asks."""
    return parts if request.located is None else (request.peer, parts)


def _sharing(parts: Parts) -> Parts:
    """The same, of headers that are those of others too: what a request is compared with is mostly at hand."""
    line, names, values = parts[:2], parts[2::2], parts[3::2]
    return (*line, *chain.from_iterable(map(shared, names, values)))


def _size(request: Request) -> int:
    """Bytes of a request's head, as far as it is known."""
    headers = sum(len(name) + len(value) for name, value in request.headers)
    return len(request.path) + len(request.query_string) + headers
