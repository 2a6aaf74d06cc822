"""Lane: the fast lane for requests that were answered from the near cache a moment ago."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from gateway.cache.purges import Marks
from gateway.cache.store import NearCache
from gateway.errors import Headers
from gateway.lifecycle import Lifecycle
from gateway.observe.outcome import Outcome, clock
from gateway.proxy.access_log import Teller, kind_of
from gateway.proxy.callers import Callers
from gateway.proxy.methods import target_of
from gateway.proxy.prepared import Epoch, Prepared, shared
from gateway.proxy.profiles import Profile
from gateway.proxy.request import FRAMED, READS, Exchange, fresh_id
from gateway.proxy.response import Answer
from gateway.redis import Clock
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.ratelimit import NO_FIELDS, RateLimitFields
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Sharing

if TYPE_CHECKING:
    from gateway.upstream.credential_breaker import CredentialBreaker

HEAD = "gateway.head"
"""Where a protocol leaves a request's head in its ASGI scope: the bytes by which it looked for it here already."""
LONGEST_HEAD = 4_096
ONCE = 16_384
"""Requests that were seen once, as hashes: only what comes again is worth preparing."""

CRLF = b"\r\n"
HEADER = 130
"""Approximate bytes that a header costs beside its own, where it is kept as a pair."""

Parts = tuple[Any, ...]
"""Method, target, and each header's name and value: flat, since each hit hashes and compares it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a hit rests on besides what is near: who may ask, what was purged, refused, and used up."""

    profile: Profile
    registry: Registry
    callers: Callers
    admission: RateLimiter
    marks: Marks
    sharing: Sharing
    near: NearCache
    breaker: CredentialBreaker
    clock: Clock
    teller: Teller
    lifecycle: Lifecycle


class Lane:
    """A request that is the same to the byte as an earlier one, from the same address where that decides who asks,
    gets the same answer, for as long as everything that the answer rested on is as it was: the record, its
    freshness, the registry, the key, purges, the credential's standing. Limits, counting, and sampled lines of the
    log are as for any request.

    Whatever is not so goes the way of a request, which teaches the lane anew; so does the first repetition of
    one that is not known. ``max_bytes`` bounds what is kept, the oldest leaving first; 0 keeps nothing. ``given``
    counts its answers.
    """

    def __init__(self, facts: Facts, max_bytes: int) -> None:
        # A request that may be traced needs a trace, which is not to be had here.
        self.max_bytes = 0 if facts.teller.tracing is not None else max_bytes
        self.bytes = 0
        self.given = 0
        self._facts = facts
        self._prepared: dict[Hashable, Prepared] = {}
        self._once: set[int] = set()

    def __repr__(self) -> str:
        return f"<Lane {len(self._prepared)} answers, {self.bytes}/{self.max_bytes} bytes>"

    def epoch(self) -> Epoch:
        """The present state of tenants and purges."""
        return Epoch(self._facts.registry.directory.serial, self._facts.marks.revision)

    def answer(self, head: bytes, peer: str) -> bytes | None:
        """The whole answer to a request by its head as it was received, without a body, from the address
        ``peer``; None: the request has to go its way. Only for connections that stay open."""
        began = clock()
        key: Hashable = head
        prepared = self._prepared.get(head)
        if prepared is None and self._facts.registry.directory.networks:
            key = (peer, head)
            prepared = self._prepared.get(key)
        if prepared is None:
            return None
        given = self._given(key, prepared, peer, began)
        if given is None:
            return None
        request_id, told = given
        return b"".join((prepared.head, request_id, CRLF, told.lines, prepared.tail))

    def ready(self, scope: Mapping[str, Any]) -> tuple[int, Headers, bytes] | None:
        """The same as status, headers and body, for an ASGI scope whose head nobody has looked for here, unless a
        body may come that its headers do not announce."""
        if not self._prepared or HEAD in scope or scope["http_version"] not in FRAMED:
            return None
        began = clock()
        key: Hashable = key_of(scope)
        peer = (scope.get("client") or ("",))[0]
        prepared = self._prepared.get(key)
        if prepared is None and self._facts.registry.directory.networks:
            key = (peer, key)
            prepared = self._prepared.get(key)
        if prepared is None:
            return None
        given = self._given(key, prepared, peer, began)
        if given is None:
            return None
        request_id, told = given
        headers = [*prepared.headers, (b"x-request-id", request_id), *told.headers, *prepared.last]
        return prepared.status, headers, prepared.body

    def learn(self, scope: Mapping[str, Any], epoch: Epoch, exchange: Exchange, answer: Answer) -> None:
        """Prepares the answer to a request that comes again, if it is one that can be given again.

        ``epoch`` is of before the request was answered, so that what changed meanwhile counts as changed.
        """
        grounds = exchange.grounds
        if grounds is None or not self.max_bytes or answer.outcome is not Outcome.HIT:
            return
        request = key_of(scope)
        key = _own(request, exchange)
        raw = isinstance(request, bytes)
        size = len(request) if raw else _size(exchange)
        if size > LONGEST_HEAD or not self._came_before(key):
            return
        # What is announced may turn out to be no body, but another time it could be one.
        if exchange.method in READS and not exchange.may_have_body and self._repeatable(exchange, answer):
            if not isinstance(request, bytes):
                key = _own(_sharing(request), exchange)
                size += HEADER * len(exchange.headers)
            self._keep(key, self._prepare(epoch, exchange, answer, raw=raw), size)

    def _given(
        self, key: Hashable, prepared: Prepared, peer: str, began: float
    ) -> tuple[bytes, RateLimitFields] | None:
        """The answer's request id, and what it tells of the caller's limits, once it is admitted and counted; None
        where it may not be given, or that takes some thought. One function, since each hit pays for a call."""
        facts = self._facts
        now = facts.clock.now()
        stands = (
            (prepared.since <= now < prepared.tick or self._is_brought_up(prepared, now))
            and (prepared.callers == facts.registry.directory.serial or self._is_held(prepared))
            and (prepared.purges == facts.marks.revision or self._is_unpurged(prepared))
            and (prepared.changes == facts.near.changes or self._is_near(prepared))
            and (prepared.scope is None or facts.breaker.refused_for(prepared.scope) is None)
        )
        if not stands:
            self._drop(key)
            return None
        if facts.lifecycle.draining:
            return None
        subject = prepared.subject
        if subject is None:
            subject = facts.callers.subject(prepared.tenant, peer)
            if subject is None:
                return None
        told = facts.admission.at_once(subject, prepared.tenant.limits, began) if subject else NO_FIELDS
        if told is None:
            return None
        request_id = prepared.request_id or fresh_id()
        self.given += 1
        ended = clock()
        prepared.tally.add(ended - began)
        if stands_for := facts.teller.hit(ended):
            facts.teller.given_again(prepared.line, request_id, ended - began, stands_for)
        return request_id, told

    # What takes a while to find out is asked for only after something changed

    def _is_brought_up(self, prepared: Prepared, now: float) -> bool:
        """Whether it has not ended; brings it up to the time."""
        if now >= prepared.until:
            return False
        near, key = self._facts.near, prepared.grounds.key
        near.get(key.entry)  # it is in use
        near.get(key.error)
        prepared.render(now)
        return True

    def _is_held(self, prepared: Prepared) -> bool:
        """Whether the key is still the same tenant's, and that as it was."""
        directory = self._facts.registry.directory
        if prepared.key_id is None or not directory.has(prepared.tenant, prepared.key_id):
            return False
        prepared.callers = directory.serial
        return True

    def _is_unpurged(self, prepared: Prepared) -> bool:
        """Whether nothing more was purged of the question's answers, and they are still one for all where they
        were."""
        marks, grounds = self._facts.marks, prepared.grounds
        if marks.covering(grounds.query) != grounds.marked:
            return False
        if grounds.shared and not self._facts.sharing.covers(grounds.query):
            return False
        prepared.purges = marks.revision
        return True

    def _is_near(self, prepared: Prepared) -> bool:
        """Whether what is near of the question is as it was."""
        near, key = self._facts.near, prepared.grounds.key
        if (near.serial(key.entry), near.serial(key.error)) != prepared.grounds.records:
            return False
        prepared.changes = near.changes
        return True

    def _repeatable(self, exchange: Exchange, answer: Answer) -> bool:
        """Whether an answer is the whole entry, or says that it is unchanged; and has the date that all need."""
        grounds = exchange.grounds
        assert grounds is not None
        whole = answer.status in (grounds.entry.status, 304)
        return whole and any(name == b"date" for name, _ in answer.headers)

    def _prepare(self, epoch: Epoch, exchange: Exchange, answer: Answer, *, raw: bool) -> Prepared:
        facts, grounds, tenant = self._facts, exchange.grounds, exchange.tenant
        assert grounds is not None
        held = None if exchange.key_id is None else tenant.keys[exchange.key_id]
        until = math.inf if held is None or held.expires is None else held.expires.timestamp()
        return Prepared(
            grounds,
            epoch,
            tenant,
            exchange.key_id,
            None if tenant.anonymous else facts.callers.subject(tenant, exchange.peer),
            until,
            answer,
            facts.profile.times,
            exchange.id if exchange.header(b"x-request-id") == exchange.id else None,
            exchange.told_origin,
            facts.teller.tallies.of(kind_of(exchange, answer)),
            facts.teller.line(exchange, answer),
            raw=raw,
            head=exchange.method == "HEAD",
            public=exchange.public,
        )

    def _came_before(self, key: Hashable) -> bool:
        digest = hash(key)
        if digest in self._once or key in self._prepared:
            self._once.discard(digest)
            return True
        if len(self._once) >= ONCE:
            self._once.clear()
        self._once.add(digest)
        return False

    def _keep(self, key: Hashable, prepared: Prepared, size: int) -> None:
        self._drop(key)
        prepared.size += size
        if prepared.size > self.max_bytes:
            return
        self._prepared[key] = prepared
        self.bytes += prepared.size
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._prepared)))

    def _drop(self, key: Hashable) -> None:
        prepared = self._prepared.pop(key, None)
        if prepared is not None:
            self.bytes -= prepared.size


def key_of(scope: Mapping[str, Any]) -> bytes | Parts:
    """By what a request is known: its head as received, else all of it that an ASGI server hands on."""
    if HEAD in scope:
        head: bytes = scope[HEAD]
        return head
    return (scope["method"], target_of(scope), *chain.from_iterable(scope["headers"]))


def _own(request: bytes | Parts, exchange: Exchange) -> Hashable:
    """By what an answer to a request is kept: by its peer too, where the address decides who asks."""
    return request if exchange.located is None else (exchange.peer, request)


def _sharing(parts: Parts) -> Parts:
    """The same, of headers that are those of others too: what a request is compared with is mostly at hand."""
    line, names, values = parts[:2], parts[2::2], parts[3::2]
    return (*line, *chain.from_iterable(map(shared, names, values)))


def _size(exchange: Exchange) -> int:
    """Bytes of a request's head, as far as it is known."""
    headers = sum(len(name) + len(value) for name, value in exchange.headers)
    return len(exchange.path) + len(exchange.query_string) + headers
