"""FastPath: answers requests for what the near cache answered before, ahead of the proxy."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, NamedTuple

from msgspec import structs

from gateway.catalogue.families import Family
from gateway.errors import GatewayError, Headers
from gateway.observe.outcome import Aggregate, Outcome, clock
from gateway.proxy.proxy import Proxy
from gateway.proxy.request import Receive, Request, Scope, fresh_id
from gateway.proxy.response import Response
from gateway.server.layouts import Layouts
from gateway.server.prepared import KnownCaller, KnownQuestion, Place, Prepared, PreparedAnswer, RepeatedRequest
from gateway.server.request_key import (
    Identity,
    Question,
    RequestKey,
    has_key,
    key_of_head,
    key_of_scope,
    key_of_values,
)
from gateway.tenants.ratelimit import NO_FIELDS, RateLimitFields
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Access, authorise

HEAD = "gateway.head"
"""Where a protocol leaves a request's head in its ASGI scope: the bytes by which it looked for it here already."""
ONCE = 16_384
"""Questions and heads that were seen once, as hashes: only what is repeated is worth keeping."""
CRLF = b"\r\n"
NO_ID = (None, None)

Found = tuple[RepeatedRequest, bytes | None, bytes | None]
"""What is known of a request, and the values of BESIDE."""
Granted = tuple[PreparedAnswer, bytes, RateLimitFields]
"""What a request gets: an answer, its own request id, and what is left of its caller's limits."""


class Revisions(NamedTuple):
    """The revisions of who may ask, and of what was purged, under which a request was answered."""

    registry: int
    purges: int


class FastPath:
    """The app around the proxy. It repeats an answer to whoever asks the same (``request_key.py``), was identified
    before and is authorised now, for as long as all that it rests on is unchanged: the record, its freshness,
    purges and the credential's standing; for the caller the registry and the key. Limits, counting, and which
    requests are logged and traced are as on the proxy's way.

    Any other request goes to the proxy, whose response is learnt once it was asked for twice. ``max_bytes`` bounds
    what is kept; 0 keeps nothing. ``served`` counts the responses given here.
    """

    def __init__(self, proxy: Proxy, registry: Registry, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.served = 0
        self.proxy = proxy
        self.prepared = Prepared(max_bytes)
        self._layouts = Layouts()
        self._exact = not proxy.profile.by_meaning
        self._registry = registry
        self._access_log = proxy.access_log
        self._callers = proxy.callers
        self._admission = proxy.callers.admission
        self._resolver = proxy.resolver
        self._is_shared = proxy.resolver.sharing.covers
        self._purges = proxy.resolver.purges
        self._near = proxy.resolver.store.near
        self._breaker = proxy.resolver.queue.breaker
        self._clock = proxy.resolver.clock
        self._lifecycle = proxy.lifecycle
        self._once: set[int] = set()

    def __repr__(self) -> str:
        return f"<FastPath {self.served} served, {self.prepared!r}>"

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
        known = self.prepared.repeated.get(head)
        if known is not None and (known.peer is None or known.peer == peer) and self._holds(known):
            granted = self._grant((known, None, None), began)
        else:
            found = self._found_by_head(head, peer)
            granted = None if found is None else self._grant(found, began)
        if granted is None:
            return None
        answer, request_id, limits = granted
        return b"".join((answer.head, request_id, CRLF, limits.lines, answer.last, answer.body))

    def ready(self, scope: Mapping[str, Any]) -> tuple[int, Headers, bytes] | None:
        """The same as status, headers and body, for an ASGI scope whose head was not looked for here yet."""
        if not self.prepared.questions or HEAD in scope:
            return None
        began = clock()
        key = key_of_scope(scope, exact=self._exact)
        found = None if key is None else self._found(key)
        granted = None if found is None else self._grant(found, began)
        if granted is None:
            return None
        answer, request_id, limits = granted
        headers = [*answer.headers, (b"x-request-id", request_id), *limits.headers, *answer.last_headers]
        return answer.status, headers, answer.body

    # What is known of a request

    def _found_by_head(self, head: bytes, peer: str) -> Found | None:
        """What is found for a head by its meaning. A head that comes again is remembered, unless it has an id."""
        if not self.prepared.questions:
            return None
        read = self._layouts.values(head)
        if read is None:
            return None
        key = key_of_values(read[0], head, peer, exact=self._exact, locates=read[1])
        found = self._found(key)
        if found is not None and found[1:] == NO_ID and self._came_before(head):
            self.prepared.keep_repeated(found[0].by_head(head, None if has_key(key[1]) else peer))
        return found

    def _found(self, key: RequestKey) -> Found | None:
        """What is known of a request by its meaning, kept for the next if it came before."""
        question, identity, request_id, trace = key
        pair = question, identity
        known = self.prepared.repeated.get(pair)
        if known is None or not self._holds(known):
            known = self._looked_up(question, identity)
            if known is None:
                return None
            if self._came_before(pair):
                self.prepared.keep_repeated(known)
        return known, request_id, trace

    def _looked_up(self, question: Question, identity: Identity) -> RepeatedRequest | None:
        """Who asks, if that is known and still holds, and the answer to what they may ask, if there is one."""
        caller, asked = self.prepared.callers.get(identity), self.prepared.questions.get(question)
        if caller is None or asked is None:
            return None
        serial = self._registry.directory.serial
        if self._clock.now() >= caller.until or (caller.registry != serial and not self._is_held(caller)):
            self.prepared.drop(caller)
            return None
        self.prepared.used(caller)
        try:
            access = authorise(caller.tenant, asked.query, self._is_shared)
        except GatewayError:
            return None
        answer = asked.answers.get(place_of(access, caller.terms))
        if answer is None:
            return None
        if answer.purges == self._purges.revision or self._is_unpurged(answer):
            tally = caller.tallies.get(answer.kind) or self._tally(caller, answer)
            known = RepeatedRequest((asked.question, caller.identity), caller, answer, tally)
            if self._holds(known):
                return known
        self.prepared.drop(answer)
        return None

    def _holds(self, known: RepeatedRequest) -> bool:
        """Whether what was found for a request still holds."""
        now, answer = self._clock.now(), known.answer
        return (
            known.registry == self._registry.directory.serial
            and known.purges == self._purges.revision
            and now < known.caller.until
            and (answer.since <= now < answer.tick or self._update(answer, now))
            and (answer.changes == self._near.changes or self._is_near(answer))
            and (answer.scope is None or self._breaker.refused_for(answer.scope) is None)
        )

    def _grant(self, found: Found, began: float) -> Granted | None:
        """What the request gets, once it is admitted and counted; None where that is not decided at once, or the
        request is traced."""
        known, request_id, trace = found
        caller = known.caller
        tracing = self._access_log.tracing
        if self._lifecycle.draining or (tracing is not None and not tracing.passes_over(trace)):
            return None
        limits = NO_FIELDS
        if caller.subject:
            admitted = self._admission.at_once(caller.subject, caller.tenant.limits, began)
            if admitted is None:
                return None
            limits = admitted
        request_id = request_id or fresh_id()
        self.served += 1
        ended = clock()
        known.tally.add(ended - began)
        if stands_for := self._access_log.hit(ended):
            line = caller.who | known.answer.line
            self._access_log.repeated(request_id, trace, line, ended - began, stands_for)
        return known.answer, request_id, limits

    def _tally(self, caller: KnownCaller, answer: PreparedAnswer) -> Aggregate:
        labels = structs.replace(answer.labels, tenant=caller.tenant.id, key_id=caller.key_id)
        tally = caller.tallies[answer.kind] = self._access_log.tallies.of(labels)
        return tally

    # Checks that take longer, made only after something changed

    def _update(self, answer: PreparedAnswer, now: float) -> bool:
        """Whether it has not expired; renders it as of now."""
        if now >= answer.until:
            return False
        key = answer.validity.key
        self._near.get(key.entry)  # it is in use
        self._near.get(key.error)
        self.prepared.used(answer)
        answer.render(now)
        return True

    def _is_held(self, caller: KnownCaller) -> bool:
        """Whether the key is still the same tenant's, and that tenant unchanged."""
        directory = self._registry.directory
        if caller.key_id is None or not directory.has(caller.tenant, caller.key_id):
            return False
        caller.registry = directory.serial
        return True

    def _is_unpurged(self, answer: PreparedAnswer) -> bool:
        """Whether no more of the query's answers was purged."""
        if self._purges.covering(answer.validity.query) != answer.validity.marked:
            return False
        answer.purges = self._purges.revision
        return True

    def _is_near(self, answer: PreparedAnswer) -> bool:
        """Whether the query's near records are unchanged."""
        near, key = self._near, answer.validity.key
        if (near.serial(key.entry), near.serial(key.error)) != answer.validity.records:
            return False
        answer.changes = near.changes
        return True

    # Learning

    def _learn(self, scope: Mapping[str, Any], revisions: Revisions, request: Request, response: Response) -> None:
        """Keep who asked, and a response that may be given again if it was asked for before."""
        query, resolution = request.query, request.resolution
        if query is None or resolution is None or not self._is_repeatable(request, response):
            return
        key = self._key_of(scope, request.peer)
        if key is None:
            return
        question, identity, _, _ = key
        caller = self._meet(identity, request, revisions)
        if self._looked_up(question, identity) is not None:  # its request was traced, or had to wait
            return
        access = authorise(request.tenant, query, self._is_shared)
        place = place_of(access, caller.terms)
        known = self.prepared.questions.get(question) or KnownQuestion(question, query)
        if not self._came_before((question, place)):
            return
        lookup = self._resolver.lookup(request, query, request.headers, access, request.method)
        validity = resolution.validity
        if validity is None or validity.key != lookup.key:  # it came from elsewhere than the next would look first
            return
        line = self._access_log.line(request, response)
        answer = PreparedAnswer(known, place, request, response, validity, self.proxy.profile, line)
        answer.purges = revisions.purges
        self.prepared.keep_answer(answer)

    def _key_of(self, scope: Mapping[str, Any], peer: str) -> RequestKey | None:
        """The key of a request that the proxy answered, by the door at which it will be looked for."""
        head: bytes | None = scope.get(HEAD)
        if head is None:
            return key_of_scope(scope, exact=self._exact)
        return key_of_head(head, peer, exact=self._exact)

    def _is_repeatable(self, request: Request, response: Response) -> bool:
        """Whether a near hit is the whole entry, or says that it is unchanged; has a date; and is about what is
        known, unless no header is inert."""
        assert request.query is not None
        assert request.resolution is not None
        known = self._exact or request.query.family is not Family.UNKNOWN
        near = request.resolution.validity is not None
        whole = response.status in (request.resolution.entry.status, 304)
        return known and near and whole and any(name == b"date" for name, _ in response.headers)

    def _meet(self, identity: Identity, request: Request, revisions: Revisions) -> KnownCaller:
        """Remember who made a request; without a key, if it came before: such callers may be without number."""
        caller = self.prepared.callers.get(identity)
        if caller is None or caller.tenant is not request.tenant or caller.registry != revisions.registry:
            subject, who = self._callers.subject(request), self._access_log.who(request)
            terms = terms_of(request, self.proxy.profile.origins_of(request.known))
            caller = KnownCaller(identity, request, revisions.registry, subject, terms, who)
            if has_key(identity) or self._came_before(identity):
                self.prepared.keep_caller(caller)
        return caller

    def _came_before(self, what: Hashable) -> bool:
        """Whether it came once before; many heads and some questions never come again."""
        digest = hash(what)
        if digest in self._once:
            self._once.discard(digest)
            return True
        if len(self._once) >= ONCE:
            self._once.clear()
        self._once.add(digest)
        return False


def place_of(access: Access, terms: str) -> Place:
    return access.scope, terms, access.own is None


def terms_of(request: Request, origins: Collection[str]) -> str:
    """All that an answer depends on in its caller, but for the scope: its own lifetimes, the web ``origins`` that
    may read it, and whether any cache may store it; empty for most tenants."""
    lifetimes = sorted(request.tenant.lifetimes.items())
    located = None if request.located is None else request.known is not None
    if not lifetimes and not origins and not request.public and located is None:
        return ""
    return repr((lifetimes, [*origins], request.public, located))
