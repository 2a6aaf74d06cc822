"""Errand: what a flight does: ask the service, judge the answer, keep it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import structlog
from msgspec import structs

from gateway.cache.entry import Entry
from gateway.cache.freshness import Response, conditions, confirmed, confirmed_by
from gateway.cache.invalidation import LOCATIONS, invalidated, is_unsafe
from gateway.cache.keys import CacheKey
from gateway.cache.store import Store
from gateway.catalogue.answers import read
from gateway.catalogue.query import Family
from gateway.errors import (
    CacheUnavailable,
    GatewayError,
    Headers,
    UpstreamProtocolError,
    UpstreamRedirected,
    ValidatorMismatch,
)
from gateway.observe.upstream_calls import OnBehalfOf, UpstreamCall
from gateway.proxy.store import Judgement, Question
from gateway.redis import Clock, Invocation
from gateway.tenants.tenant import Access, Credential
from gateway.upstream.client import UpstreamClient, UpstreamRequest, UpstreamResponse
from gateway.upstream.credential_breaker import NOTHING, CredentialSignal, signal_of, signal_of_error
from gateway.upstream.flight import Confirm, Fetched, FlightResult, Reuse, Work

log = structlog.get_logger("gateway")

LOGGED = 200
"""Characters of a foreign Location that the log has."""
NUMBER = re.compile(rb"[0-9]+")


class Judge(Protocol):
    """Says what becomes of an answer, and what the request alone says of that."""

    def forbids(self, question: Question) -> bool: ...

    def judge(self, question: Question, response: Response, jitter: float) -> Judgement: ...


class Unkept:
    """Unknown endpoints whose last answer was not stored, as far as this process asked for it.

    An endpoint is a target's path with its numbers left out; those that were asked for last are remembered.
    """

    def __init__(self, most: int = 1_024) -> None:
        self._most = most
        self._endpoints: dict[bytes, None] = {}

    def __contains__(self, target: bytes) -> bool:
        return bool(self._endpoints) and _endpoint(target) in self._endpoints

    def learn(self, target: bytes, *, stored: bool) -> None:
        """An answer came, and was stored or not."""
        endpoint = _endpoint(target)
        self._endpoints.pop(endpoint, None)
        if not stored:
            self._endpoints[endpoint] = None
            if len(self._endpoints) > self._most:
                del self._endpoints[next(iter(self._endpoints))]


@dataclass(frozen=True, slots=True)
class Passage:
    """A request that is passed on uncached: its method and body, what it says of that, and whom it may void.

    ``keys_of`` finds the records of a target in origin form; ``authorities`` are those of the service and of
    ourselves, at which a ``Location`` counts as the same origin.
    """

    method: bytes
    content: bytes
    authorities: Collection[bytes]
    keys_of: Callable[[bytes], Sequence[str]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Errands:
    """The parts that every errand needs.

    ``call`` begins to tell of a call, on whose behalf it is and in which flight. ``watched`` says that answers may
    be signs of a block or of a refused credential.
    """

    client: UpstreamClient
    store: Store
    judge: Judge
    clock: Clock
    call: Callable[[OnBehalfOf, str], UpstreamCall]
    watched: bool = True
    unkept: Unkept = field(default_factory=Unkept)
    jitter: Callable[[], float] = lambda: random.uniform(-1, 1)  # noqa: S311 (jitter)

    def reuse(self, question: Question) -> Reuse:
        """Who may have the answer to this question besides those who wait for it, as far as can be told before."""
        if self.judge.forbids(question):
            return Reuse.JOINERS
        unknown = question.query.family is Family.UNKNOWN
        return Reuse.JOINERS if unknown and question.query.exact in self.unkept else Reuse.LATER

    def fetch(self, question: Question, access: Access, asker: OnBehalfOf, entries: Sequence[Entry] = ()) -> Work:
        """The work of a flight for this question; ``entries`` are stale ones that the service may confirm."""
        if question.query.posted is not None:
            entries = ()  # to a POST, a validator that still holds is an error (RFC 9110 §13.1.2)
        request = _request(question, access, conditions(entries) if entries else [])

        async def work(confirm: Confirm) -> Fetched:
            call, order = self.call(asker, question.key.flight), self.clock.order()
            try:
                answer = await self._ask(request, confirm, call)
                now, skew = self.clock.now(), self.clock.skew
                times, sound = (min(order - skew, now), now), answer.sound and not answer.ambiguous
                response = Response(
                    answer.status, answer.headers, answer.body, *times, sound, answer.ambiguous, answer.sets_cookie
                )
                revalidated = answer.status == 304
                if revalidated:
                    response = _confirmation(entries, response)
            except CacheUnavailable:
                raise
            except GatewayError as error:
                return self._failure(question, error, call)
            judged = self.judge.judge(question, response, self.jitter())
            if skew:
                judged = judged._replace(entry=structs.replace(judged.entry, skew=skew))
            self._learn(question, judged)
            landing = FlightResult(
                question.key.exact,
                judged.entry,
                stored=judged.stored,
                revalidated=revalidated,
                flown=call.seconds,
                trace=call.trace,
                failed=judged.failed,
            )
            stores = [self.store.put(judged.entry, response.received)] if judged.stored else []
            if judged.stored:
                answer.recall.add(partial(self._recalled, question.key.flight, judged.entry.key))
            credential = access.credential if question.query.protected else None
            return self._result(question, landing, stores, answer, credential, speaks=judged.speaks)

        return work

    def passing(self, question: Question, access: Access, asker: OnBehalfOf, passage: Passage) -> Work:
        """The work of a flight that passes a request on, and invalidates what it made void (RFC 9111 §4.4).

        A request whose answer cannot be used may have succeeded all the same: once it was written, its target is
        void.
        """
        request = UpstreamRequest(
            question.query.exact, _authorization(access), question.headers, passage.method, passage.content
        )

        async def work(confirm: Confirm) -> Fetched:
            call, order, written = self.call(asker, question.key.flight), self.clock.order(), False

            async def confirmed() -> None:
                nonlocal written
                await confirm()
                written = True

            try:
                answer = await self._ask(request, confirmed, call)
            except CacheUnavailable:
                raise
            except GatewayError as error:
                failed = self._failure(question, error, call)
                return replace(failed, stores=self._void(passage, [question.query.exact])) if written else failed
            now = self.clock.now()
            entry = _unstored(question.key, answer, min(order - self.clock.skew, now), now)
            landing = FlightResult(question.key.exact, entry, flown=call.seconds, trace=call.trace)
            # What the origin names at a place of its own is meant here without its prefix.
            here = [(name, self.client.relative(value)) for name, value in answer.headers if name in LOCATIONS]
            names = [*answer.headers, *here]
            voided = invalidated(question.query.exact, answer.status, names, passage.authorities)
            speaks = read(Family.UNKNOWN, answer.status, answer.headers, answer.body).speaks
            return self._result(question, landing, self._void(passage, voided), answer, None, speaks=speaks)

        return work

    def _void(self, passage: Passage, targets: Sequence[bytes]) -> list[Invocation]:
        """What invalidates the records of these targets, where the method is one that may change them."""
        if not is_unsafe(passage.method.decode()):
            return []
        keys = dict.fromkeys(key for target in targets for key in passage.keys_of(target))
        return [self.store.invalidate(key, self.clock.order()) for key in keys]

    def _learn(self, question: Question, judged: Judgement) -> None:
        """What an answer tells of the next ones: a failure, or one to a request that forbids it, tells nothing."""
        tells = not judged.failed and not self.judge.forbids(question)
        if tells and question.query.family is Family.UNKNOWN:
            self.unkept.learn(question.query.exact, stored=judged.stored)

    async def _ask(self, request: UpstreamRequest, confirm: Confirm, call: UpstreamCall) -> UpstreamResponse:
        async def confirmed() -> None:
            await confirm()
            call.written()

        traced = replace(request, trace=call.headers) if call.headers else request
        try:
            answer = await self.client.fetch(traced, confirmed)
        except CacheUnavailable:
            call.dropped("no-slot")
            raise
        except GatewayError as error:
            place = {"location": error.place[:LOGGED]} if isinstance(error, UpstreamRedirected) else {}
            call.ended(type(error).__name__, **place)
            raise
        except BaseException:
            call.dropped("lost")
            raise
        call.ended(f"{answer.status // 100}xx", status=answer.status)
        return answer

    def _recalled(self, flight: str, record: str) -> None:
        """The connection that brought this answer held one too many: it may have been another request's."""
        log.warning("answer_recalled", flight=flight)
        self.store.recall(record, self.clock.order())

    def _failure(self, question: Question, error: GatewayError, call: UpstreamCall) -> Fetched:
        signal = signal_of_error(error) if self.watched else NOTHING
        landing = FlightResult(question.key.exact, error=error, flown=call.seconds, trace=call.trace)
        return Fetched(landing, signal=signal)

    def _result(
        self,
        question: Question,
        landing: FlightResult,
        stores: list[Invocation],
        answer: UpstreamResponse,
        credential: Credential | None,
        *,
        speaks: bool,
    ) -> Fetched:
        if not self.watched:
            return Fetched(landing, stores)
        signal = signal_of(answer.status, answer.headers, self.clock.now(), speaks=speaks)
        return Fetched(landing, stores, signal, _verdict(question, answer, credential, speaks=speaks))


def _endpoint(target: bytes) -> bytes:
    return NUMBER.sub(b"0", target.partition(b"?")[0])


def _confirmation(entries: Sequence[Entry], response: Response) -> Response:
    if not entries:
        raise UpstreamProtocolError("The service's answer is a 304 that was not asked for.")
    entry = confirmed(entries, response.headers)
    if entry is None:
        raise ValidatorMismatch("The service's answer is a 304 about something else.")
    return confirmed_by(entry, response)


def _verdict(
    question: Question, answer: UpstreamResponse, credential: Credential | None, *, speaks: bool
) -> CredentialSignal | None:
    """What an answer to a protected query says of the credential that it was asked with (decision 7)."""
    if credential is None or not speaks:
        return None
    if answer.status in (200, 304):
        return CredentialSignal(credential.fingerprint, refused=False)
    if answer.status != 403:
        return None
    return CredentialSignal(credential.fingerprint, refused=True, question=question.key.entry)


def _request(question: Question, access: Access, asked: Headers) -> UpstreamRequest:
    """What asks the service, with these conditions; what is posted goes as it came."""
    query, authorization = question.query, _authorization(access)
    if query.posted is None:
        return UpstreamRequest(query.exact, authorization, [*question.headers, *asked])
    headers, content = [*question.headers, *query.posted.headers], query.posted.content
    return UpstreamRequest(query.exact, authorization, headers, b"POST", content, reads=True)


def _authorization(access: Access) -> bytes | None:
    return None if access.credential is None else access.credential.authorization


def _unstored(key: CacheKey, answer: UpstreamResponse, dispatched: float, received: float) -> Entry:
    etag = next((value for name, value in answer.headers if name == b"etag"), b"")
    return Entry(
        key.entry, answer.status, answer.headers, answer.body, etag, dispatched, received, 0.0, 0.0, 0.0, received
    )
