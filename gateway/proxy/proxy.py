"""Proxy: the way of a request, from its bytes to its answer."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import assert_never

import msgspec
import structlog
from msgspec import structs
from starlette.types import Send

from gateway.cache.control import NO_WISHES, wishes_of
from gateway.cache.entry import Entry
from gateway.cache.keys import CacheKey, cache_key, question_of
from gateway.cache.purges import Marked, Marks, purged
from gateway.cache.rules import (
    Asked,
    Decision,
    Fetch,
    Refuse,
    Revalidate,
    Rules,
    Serve,
    ServeAndRefresh,
    Why,
    decide,
    overridden,
)
from gateway.cache.store import NOTHING, Found, Store
from gateway.catalogue import posted
from gateway.catalogue.query import Family, Query
from gateway.catalogue.target import parted
from gateway.errors import (
    BadTarget,
    CacheUnavailable,
    CredentialRefused,
    DeadlineExceeded,
    GatewayError,
    NotCached,
    ValidatorMismatch,
)
from gateway.lifecycle import Lifecycle
from gateway.observe.outcome import Forwarded, Outcome, clock
from gateway.proxy.access_log import Teller
from gateway.proxy.callers import Callers
from gateway.proxy.delivery import Coder, deliver
from gateway.proxy.fast_path import Lane
from gateway.proxy.fetch import Errands, Passage
from gateway.proxy.methods import own_answer
from gateway.proxy.prepared import Grounds
from gateway.proxy.profiles import Profile
from gateway.proxy.request import READS, ClientGone, Exchange, Receive, Scope
from gateway.proxy.response import (
    OUR_PAGES_ALONE,
    Answer,
    by_name,
    depends_on_origin,
    preflight,
    refusal_of,
    response_headers,
    retold,
    varying,
)
from gateway.proxy.store import Question
from gateway.redis import Clock
from gateway.tenants.tenant import OPEN, Access, Sharing, authorise, refuses
from gateway.upstream.flight import FlightRequest, FlightResult, Reuse, Work, flow_of
from gateway.upstream.pacing import Priority
from gateway.upstream.queue import Queue

ASK_AGAIN = 3
"""Flights a caller joins that may end in an error that echoes another's spelling; then only its own alike join."""

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What the proxy needs of the settings. ``look_up_timeout`` is how long a look-up takes at most, in seconds;
    ``passed`` are the methods passed on besides GET and HEAD (None: all), ``authorities`` the service's own, at
    which a Location counts as the same origin."""

    prefix: str
    caller_timeout: float
    look_up_timeout: float
    rules: Rules
    passed: frozenset[str] | None = frozenset()
    request_max_bytes: int = 0
    authorities: frozenset[bytes] = frozenset()

    def passed_at(self, *, posted: bool) -> frozenset[str] | None:
        """The same where questions are asked by POST, or are not."""
        return self.passed | {"POST"} if posted and self.passed is not None else self.passed


class Errand(msgspec.Struct, frozen=True):
    """A request that goes on to the service: its question, from which scope, and as whose.

    ``marked`` is what was purged of its answers. A purge also begins new flights: whoever asks after it never
    joins one that set out before.
    """

    question: Question
    access: Access
    exchange: Exchange
    asked: Asked
    marked: Marked | None

    @property
    def flight(self) -> str:
        flight = self.key.flight
        return flight if self.marked is None else f"{flight}.{self.marked.latest * 1e6:.0f}"

    @property
    def key(self) -> CacheKey:
        return self.question.key


class Proxy:
    """The ASGI app behind the public listener, but for ``/-/``."""

    def __init__(
        self,
        rules: ProxyRules,
        profile: Profile,
        callers: Callers,
        store: Store,
        marks: Marks,
        sharing: Sharing,
        queue: Queue,
        errands: Errands,
        coder: Coder | None,
        clock: Clock,
        teller: Teller,
        lifecycle: Lifecycle,
        lane: Lane,
    ) -> None:
        self.rules = rules
        self.profile = profile
        self.callers = callers
        self.store = store
        self.marks = marks
        self.sharing = sharing
        self.queue = queue
        self.errands = errands
        self.coder = coder
        self.clock = clock
        self.teller = teller
        self.lifecycle = lifecycle
        self.lane = lane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, whatever happens on its way."""
        epoch = self.lane.epoch()
        exchange = Exchange.of(scope, receive)
        answer = await self._answer_to(exchange)
        if answer is None:
            return
        if self.lifecycle.draining:
            exchange.told.append((b"connection", b"close"))
        ended = clock()
        try:
            await answer.send(scope, send, exchange.told)
        finally:
            self.teller.answered(exchange, answer, ended)  # not before: a log's line takes longer than a hit
        self.lane.learn(scope, epoch, exchange, answer)

    async def answered(self, exchange: Exchange) -> Answer | None:
        """The answer, whatever happens on its way, counted and logged; None where the client has gone."""
        answer = await self._answer_to(exchange)
        if answer is not None:
            self.teller.answered(exchange, answer, clock())
        return answer

    async def _answer_to(self, exchange: Exchange) -> Answer | None:
        self.teller.began(exchange)
        try:
            answer = await self.answer(exchange)
        except GatewayError as error:
            answer = refusal_of(error)
        except ClientGone:
            self.teller.abandoned(exchange)
            return None
        except Exception:
            log.exception("internal_error", request_id=exchange.id.decode())
            answer = refusal_of(GatewayError("The gateway failed on this request; its log says why."))
        return self._tell_origin(exchange, answer)

    async def answer(self, exchange: Exchange) -> Answer:
        """The way of a request. Raises what refuses it, and what fails it with nothing to fall back on."""
        asked_by_post = self.profile.is_posted(exchange.path)
        exchange.posted = asked_by_post and exchange.method == "POST"
        own = None if exchange.reads else self._own_answer(exchange, posted=asked_by_post)
        if own is not None:
            return own
        exchange.deadline = exchange.arrived + self.rules.caller_timeout
        exchange.check_method(self.rules.passed_at(posted=asked_by_post))
        if exchange.method in READS and exchange.may_have_body:
            await exchange.in_time(exchange.refuse_body())
        await self.callers.identify(exchange)
        exchange.stages.identified = clock()
        query = exchange.query = self.profile.recognise(exchange.path, exchange.query_string, exchange.marked)
        access = authorise(exchange.tenant, query, self.sharing.covers)
        await self.callers.admit(exchange)
        if exchange.posted:
            query = exchange.query = await self._with_content(exchange, query)
        exchange.stages.admitted = clock()
        if not exchange.reads:
            return await self._pass(self._errand(exchange, query, access.own or access))
        answer = await self._read(self._errand(exchange, query, access))
        if access.own is not None and refuses(query, answer.status, answer.headers, answer.body):
            await self.sharing.withdraw(query)
            exchange.grounds, exchange.stages.near = None, False  # the answer rests on another record
            answer = await self._read(self._errand(exchange, query, access.own))
        delivered = await deliver(answer, exchange.method, exchange.headers, self.coder, answer.key)
        return retold(delivered, answer.status)

    async def _read(self, errand: Errand) -> Answer:
        """The whole answer to what reads, from within one scope."""
        exchange, decision = errand.exchange, await self._decide_on(errand)
        exchange.stages.looked_up = clock()
        match decision:
            case Serve(entry):
                return self._stored(entry, exchange)
            case ServeAndRefresh(entry):
                self._refresh(errand, entry)
                return self._answer(entry, Outcome.STALE, exchange, detail="refreshing")
            case Fetch(fallback, why):
                return await self._fetch(errand, (), fallback, why)
            case Revalidate(entries, fallback, why):
                return await self._fetch(errand, entries, fallback, why)
            case Refuse():
                raise NotCached("Nothing stored answers this request, and only that was asked for.")
            case _:
                assert_never(decision)

    async def _with_content(self, exchange: Exchange, query: Query) -> Query:
        """The question of which the request's content is a part. Raises BodyTooLarge, DeadlineExceeded."""
        most = min(self.rules.request_max_bytes, posted.MOST_BYTES)
        content = await exchange.in_time(exchange.body(most))
        return posted.with_content(query, exchange.headers, content)

    def _errand(self, exchange: Exchange, query: Query, access: Access) -> Errand:
        wishes = wishes_of(exchange.headers)
        sent = self.profile.forwarded(query, exchange.method, exchange.headers)
        key = cache_key(self.rules.prefix, access.scope, query.canonical, query.literal, tuple(sent))
        question = Question(query, key, sent, access.credential is not None, wishes.no_store)
        return Errand(question, access, exchange, Asked(wishes, sent), self.marks.covering(query))

    def _own_answer(self, exchange: Exchange, *, posted: bool) -> Answer | None:
        """The answer to what goes no further and needs no key: a preflight (Fetch §3.2), and an OPTIONS that is
        about the gateway itself; None for any other request."""
        public = self.profile.origins_of(None)
        granted = preflight(exchange.method, exchange.headers, posted=posted) if public else None
        if granted is not None:
            return Answer(204, granted, b"", Outcome.BYPASS, "preflight")
        if exchange.method != "OPTIONS":
            return None
        told = own_answer(exchange.target, exchange.headers, self.rules.passed_at(posted=posted))
        return None if told is None else Answer(204, told, b"", Outcome.BYPASS, "options")

    async def _decide_on(self, errand: Errand) -> Decision:
        """What to do, from what is near, then from what Redis has: at most one round trip.

        What a refused credential's scope holds is withheld: one request is let through to see whether the
        service accepts it again (decision 7).
        """
        pause = self._refused_for(errand)
        if pause is None:
            return await self._look_up(errand)
        exchange, breaker = errand.exchange, self.queue.breaker
        probing = breaker.probe(errand.access.scope, errand.key.entry, exchange.tenant.id)
        if not await exchange.in_time(probing):
            raise CredentialRefused("Unauthorized request")
        return Fetch(why=Why.MISS)

    def _refused_for(self, errand: Errand) -> float | None:
        """The breaker's ``refused_for``, for the credential that the question needs; None where it needs none."""
        return self.queue.breaker.refused_for(errand.access.scope) if self._is_guarded(errand) else None

    def _is_guarded(self, errand: Errand) -> bool:
        return errand.access.credential is not None and errand.question.query.protected

    def _may_be_guarded(self, errand: Errand) -> bool:
        """So is, for all one knows, what nobody has described. It is no probe, since it may be open as well."""
        query = errand.question.query
        return errand.access.credential is not None and (query.protected or query.family is Family.UNKNOWN)

    def _is_withheld(self, errand: Errand) -> bool:
        """Whether nothing that is kept counts, since the service refuses the credential that brought it."""
        return self._may_be_guarded(errand) and self.queue.breaker.refused_for(errand.access.scope) is not None

    async def _look_up(self, errand: Errand) -> Decision:
        near = self.store.look_near(errand.key)
        decision: Decision | None = None if near is NOTHING else self._decide(errand, near)
        if isinstance(decision, Serve):
            errand.exchange.stages.near = True
            if errand.asked.wishes is NO_WISHES:
                scope = errand.access.scope if self._may_be_guarded(errand) else None
                serial = self.store.near.serial
                records = serial(errand.key.entry), serial(errand.key.error)
                query, for_all = errand.question.query, errand.access.own is not None
                errand.exchange.grounds = Grounds(
                    query, errand.marked, errand.key, records, decision.entry, scope, for_all
                )
            return decision
        try:
            shared = await errand.exchange.in_time(self.store.look_up(errand.key), self.rules.look_up_timeout)
        except (CacheUnavailable, DeadlineExceeded):
            shared = NOTHING
        near = self.store.look_near(errand.key)  # once more: it may have landed here while Redis took its time
        if near is not NOTHING:
            shared = Found(shared.entries or near.entries, shared.error or near.error)
        return self._decide(errand, shared)

    async def _fetch(self, errand: Errand, entries: tuple[Entry, ...], fallback: Entry | None, why: Why) -> Answer:
        """The flight's landing, or what stands in for a failed one (RFC 5861 §4)."""
        exchange, query = errand.exchange, errand.question.query
        exchange.flight = errand.key.flight
        try:
            landing, led = await exchange.while_connected(self._land(errand, entries))
            exchange.landed(landing.flown, landing.trace, joined=not led)
            if landing.error is not None:
                raise landing.error
            assert landing.entry is not None
        except GatewayError as error:
            if fallback is None:
                raise
            asked = Forwarded(why, collapsed=exchange.joined) if error.forwarded else None
            return self._answer(fallback, Outcome.STALE, exchange, asked, type(error).__name__)
        (entry,) = overridden([landing.entry], exchange.tenant.lifetimes)
        status = 304 if landing.revalidated else entry.status
        if fallback is not None and landing.failed:
            asked = _forwarded(why, landing, led, status, fallback.status)
            return self._answer(fallback, Outcome.STALE, exchange, asked, f"upstream-{entry.status}")
        asked = _forwarded(why, landing, led, status, entry.status)
        if landing.revalidated:
            return self._answer(entry, Outcome.REVALIDATED, exchange, asked)
        if query.family is Family.UNKNOWN and not landing.stored:
            return self._answer(entry, Outcome.BYPASS, exchange, asked, "unknown-endpoint")
        return self._answer(entry, Outcome.MISS if led else Outcome.COLLAPSED, exchange, asked)

    async def _land(self, errand: Errand, entries: tuple[Entry, ...]) -> tuple[FlightResult, bool]:
        """Joins flights until one answers this very request: an error answer echoes its leader's spelling, and
        what may not be stored is, in front of any origin, for its own asker alone (RFC 9111 §4)."""
        asker = errand.exchange.asker
        work = self.errands.fetch(errand.question, errand.access, asker, entries)
        exact, flight = errand.key.exact, self._flight(errand)

        async def join(flight: str, reuse: Callable[[], Reuse]) -> tuple[FlightResult, bool]:
            landing, led = await self._join(errand, flight, work, reuse)
            if isinstance(landing.error, ValidatorMismatch):
                whole = self.errands.fetch(errand.question, errand.access, asker)
                return await self._join(errand, flight, whole, reuse)
            return landing, led

        def reuse() -> Reuse:
            reuse = self.errands.reuse(errand.question)
            return Reuse.NOBODY if reuse is Reuse.JOINERS and not self.profile.shares_unstored else reuse

        for _ in range(ASK_AGAIN - 1):
            landing, led = await join(flight, reuse)
            if landing.answers(exact) and (led or landing.stored or self.profile.shares_unstored):
                return landing, led
            if not self.profile.shares_unstored:
                return await join(f"{flight}.{secrets.token_hex(8)}", reuse)
        return await join(f"{flight}.{exact}", reuse)

    def _flight(self, errand: Errand) -> str:
        """The flight to join. Whoever asks after an invalidation never joins one that set out before."""
        invalidated = self.store.invalidated(errand.key.entry)
        return f"{errand.flight}.{invalidated}" if invalidated else errand.flight

    async def _join(
        self, errand: Errand, flight: str, work: Work, reuse: Callable[[], Reuse]
    ) -> tuple[FlightResult, bool]:
        exchange, recheck = errand.exchange, self._recheck(errand)
        request = self._flight_request(errand, flight)
        return await self.queue.land(request, work, recheck, exchange.left, reuse=reuse, ending=exchange.ending)

    def _refresh(self, errand: Errand, entry: Entry) -> None:
        exchange = errand.exchange
        work = self.errands.fetch(errand.question, errand.access, exchange.asker, (entry,))
        request = self._flight_request(errand, self._flight(errand), Priority.REFRESH)

        def again(landing: FlightResult) -> Work | None:
            mismatched = isinstance(landing.error, ValidatorMismatch)
            return self.errands.fetch(errand.question, errand.access, exchange.asker) if mismatched else None

        self.queue.refresh(request, work, self._recheck(errand), again)

    def _flight_request(
        self, errand: Errand, flight: str, priority: Priority = Priority.PEOPLE, question: str = ""
    ) -> FlightRequest:
        exchange = errand.exchange
        flow = flow_of(exchange.tenant, self.callers.asker(exchange), errand.access.credential)
        return FlightRequest(flight, flow, priority, errand.key.exact, question or _asked(errand))

    def _recheck(self, errand: Errand) -> Callable[[], Awaitable[FlightResult | None]]:
        async def recheck() -> FlightResult | None:
            if self._refused_for(errand) is not None:
                return None  # what the scope holds is withheld, from its probe too
            match self._decide(errand, await self.store.look_up(errand.key)):
                case Serve(entry):
                    return FlightResult(errand.key.exact, entry, stored=True)
            return None

        return recheck

    async def _pass(self, errand: Errand) -> Answer:
        """A request that is not a read: passed on uncached, within the same budget (RFC 9111 §4.4)."""
        exchange, access = errand.exchange, errand.access
        content = await exchange.in_time(exchange.body(self.rules.request_max_bytes))
        hosts = {value.lower() for name, value in exchange.headers if name == b"host"}

        def keys_of(target: bytes) -> list[str]:
            try:
                query = self.profile.recognise(*parted(target))
            except BadTarget:
                return []
            scopes = {access.scope, OPEN.scope}
            keys = [cache_key(self.rules.prefix, scope, query.canonical, query.exact) for scope in scopes]
            return [each for key in keys for each in (key.entry, key.error)]

        passage = Passage(exchange.method.encode(), content, self.rules.authorities | hosts, keys_of)
        work = self.errands.passing(errand.question, access, exchange.asker, passage)
        question = question_of(passage.method, errand.question.query.exact, content)
        request = self._flight_request(errand, f"{errand.flight}.{secrets.token_hex(8)}", question=question)
        landing, _ = await exchange.while_connected(
            self.queue.land(request, work, _nothing, exchange.left, reuse=_nobody)
        )
        exchange.landed(landing.flown, landing.trace, joined=False)
        if landing.error is not None:
            raise landing.error
        assert landing.entry is not None
        return self._answer(landing.entry, Outcome.BYPASS, exchange, Forwarded(Why.METHOD), "method")

    def _decide(self, errand: Errand, found: Found) -> Decision:
        entries, error = self._counting(errand, found.entries), found.error
        if entries and self._is_withheld(errand):
            entries = ()
        if error is not None:
            error = next(iter(self._counting(errand, (error,))), None)
        return decide(errand.asked, entries, error, now=self.clock.now(), rules=self.rules.rules)

    def _counting(self, errand: Errand, entries: Sequence[Entry]) -> Sequence[Entry]:
        """What is stored, as it counts for this tenant, and after purges."""
        lifetimes = errand.exchange.tenant.lifetimes
        if entries and lifetimes:
            entries = overridden(entries, lifetimes)
        if entries and errand.marked is not None:
            entries = purged(errand.marked, entries)
        return entries

    def _stored(self, entry: Entry, exchange: Exchange) -> Answer:
        if entry.fresh_until > self.clock.now():
            return self._answer(entry, Outcome.HIT, exchange)
        return self._answer(entry, Outcome.STALE, exchange, detail="max-stale")

    def _answer(
        self,
        entry: Entry,
        outcome: Outcome,
        exchange: Exchange,
        forwarded: Forwarded | None = None,
        detail: str = "",
    ) -> Answer:
        now, public = self.clock.now(), exchange.public
        return self.profile.answer(entry, outcome, now=now, public=public, forwarded=forwarded, detail=detail)

    def _tell_origin(self, exchange: Exchange, answer: Answer) -> Answer:
        """Lets a tenant's own pages read the answer, refusals too; one to nobody known, anybody's pages."""
        if not exchange.reads:
            return answer
        tenant = exchange.known
        origins = self.profile.origins_of(tenant)
        if exchange.located is not None:
            return self._tell_located(exchange, answer, origins if tenant is None else by_name(origins))
        if not origins:
            return answer
        exchange.told_origin = response_headers(exchange.header(b"origin"), origins)
        exchange.told += exchange.told_origin
        if not depends_on_origin(origins):
            return answer
        return structs.replace(answer, headers=varying(answer.headers, b"Origin"))

    def _tell_located(self, exchange: Exchange, answer: Answer, origins: Collection[str]) -> Answer:
        """The same where an address decides, which lends itself to pages of its user's visit: whether one asks
        decides too."""
        exchange.told_origin = response_headers(exchange.header(b"origin"), origins)
        if exchange.known is not None:
            exchange.told_origin.append(OUR_PAGES_ALONE)
        exchange.told += exchange.told_origin
        return structs.replace(answer, headers=varying(varying(answer.headers, b"Origin"), b"Sec-Fetch-Site"))


def _forwarded(why: Why, landing: FlightResult, led: bool, status: int, given: int) -> Forwarded | None:
    """How the service was asked for an answer with ``status``, of which the client gets one with the status
    ``given``; None where the cache had it after all."""
    if not landing.asked:
        return None
    return Forwarded(why, None if status == given else status, collapsed=not led, stored=landing.stored)


def _asked(errand: Errand) -> str:
    """What a read asks the service."""
    query = errand.question.query
    if query.posted is None:
        return question_of(b"GET", query.exact)
    return question_of(b"POST", query.exact, query.posted.content)


async def _nothing() -> FlightResult | None:
    return None


def _nobody() -> Reuse:
    return Reuse.NOBODY
