"""Fetcher: the work of a flight: ask the service, assess the answer, store it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from gateway.cache.control import response_control
from gateway.cache.entry import Entry
from gateway.cache.freshness import Response as TimedResponse
from gateway.cache.freshness import conditions, confirmed, confirmed_by
from gateway.cache.store import Store
from gateway.catalogue.families import Family
from gateway.errors import (
    CacheUnavailable,
    GatewayError,
    Headers,
    UpstreamProtocolError,
    UpstreamRedirected,
    ValidatorMismatch,
)
from gateway.observe.upstream_calls import OnBehalfOf, UpstreamCall
from gateway.proxy.profiles import Assessment, Profile
from gateway.redis import Clock, Invocation
from gateway.tenants.tenant import Access
from gateway.upstream.client import UpstreamClient, UpstreamRequest, UpstreamResponse
from gateway.upstream.credential_breaker import NOTHING, CredentialSignal, signal_of, signal_of_error
from gateway.upstream.flight import Confirm, Fetched, FlightResult, Reuse, Work

if TYPE_CHECKING:
    from gateway.proxy.lookup import Lookup

log = structlog.get_logger("gateway")

LOGGED = 200
"""Characters of a foreign Location that the log has."""
NUMBER = re.compile(rb"[0-9]+")


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
class Fetcher:
    """Asks the service, and keeps what may be kept.

    ``call`` starts the record of an upstream call, given on whose behalf and for which flight it is made.
    """

    client: UpstreamClient
    store: Store
    profile: Profile
    call: Callable[[OnBehalfOf, str], UpstreamCall]
    unkept: Unkept = field(default_factory=Unkept)
    jitter: Callable[[], float] = lambda: random.uniform(-1, 1)  # noqa: S311 (jitter)

    @property
    def clock(self) -> Clock:
        return self.store.clock

    def reuse(self, lookup: Lookup) -> Reuse:
        """Who may have the answer to a lookup besides those who wait for it, as far as is known beforehand."""
        unknown = lookup.query.family is Family.UNKNOWN
        if not self.profile.forbids_storing(lookup) and not (unknown and lookup.query.exact in self.unkept):
            return Reuse.LATER
        return Reuse.JOINERS if self.profile.shares_unstored else Reuse.NOBODY

    def fetch(self, lookup: Lookup, entries: Sequence[Entry] = ()) -> Work:
        """The work of a flight for this lookup; ``entries`` are stale ones that the service may confirm."""
        if lookup.query.posted is not None:
            entries = ()  # to a POST, a validator that still holds is an error (RFC 9110 §13.1.2)
        request, asker = _request(lookup, conditions(entries) if entries else []), lookup.requester.asker

        async def work(confirm: Confirm) -> Fetched:
            call, order = self.call(asker, lookup.key.flight), self.clock.order()
            try:
                answer = await self.ask(request, confirm, call)
                response = self._received(answer, order)
                revalidated = answer.status == 304
                if revalidated:
                    response = _confirmation(entries, response)
            except CacheUnavailable:
                raise
            except GatewayError as error:
                return self.failure(lookup, error, call)
            return self._assessed(lookup, answer, response, call, revalidated=revalidated)

        return work

    async def ask(self, request: UpstreamRequest, confirm: Confirm, call: UpstreamCall) -> UpstreamResponse:
        """The service's answer, recorded in ``call``. Raises UpstreamFailure, and what ``confirm`` raises."""

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

    def failure(self, lookup: Lookup, error: GatewayError, call: UpstreamCall) -> Fetched:
        """The result of a call that brought no answer."""
        signal = signal_of_error(error) if self.profile.watched else NOTHING
        landing = FlightResult(lookup.key.exact, error=error, flown=call.seconds, trace=call.trace)
        return Fetched(landing, signal=signal)

    def result(
        self,
        landing: FlightResult,
        stores: Sequence[Invocation],
        answer: UpstreamResponse,
        *,
        speaks: bool,
        verdict: CredentialSignal | None = None,
    ) -> Fetched:
        """The result of a call that brought an answer, and whether that is a sign of a block."""
        if not self.profile.watched:
            return Fetched(landing, stores)
        signal = signal_of(answer.status, answer.headers, self.clock.now(), speaks=speaks)
        return Fetched(landing, stores, signal, verdict)

    def _received(self, answer: UpstreamResponse, order: float) -> TimedResponse:
        now = self.clock.now()
        sound, dispatched = answer.sound and not answer.ambiguous, min(order - self.clock.skew, now)
        facts = answer.status, answer.headers, answer.body, dispatched, now
        return TimedResponse(*facts, sound, answer.ambiguous, answer.sets_cookie)

    def _assessed(
        self,
        lookup: Lookup,
        answer: UpstreamResponse,
        response: TimedResponse,
        call: UpstreamCall,
        *,
        revalidated: bool,
    ) -> Fetched:
        control, skew = response_control(response.headers), self.clock.skew
        assessment = self.profile.assess(lookup, response, control, self.jitter())
        if skew:
            assessment = assessment._replace(entry=structs.replace(assessment.entry, skew=skew))
        self._learn(lookup, assessment)
        entry, stored = assessment.entry, assessment.stored
        landing = FlightResult(
            lookup.key.exact,
            entry,
            stored=stored,
            revalidated=revalidated,
            flown=call.seconds,
            trace=call.trace,
            failed=assessment.failed,
        )
        stores = [self.store.put(entry, response.received)] if stored else []
        if stored:
            answer.recall.add(partial(self._recall, lookup.key.flight, entry.key))
        verdict = _verdict(lookup, answer) if assessment.speaks else None
        return self.result(landing, stores, answer, speaks=assessment.speaks, verdict=verdict)

    def _learn(self, lookup: Lookup, assessment: Assessment) -> None:
        """Remember whether an unknown endpoint's answers are stored; a failure, or the answer to a request that
        forbids storing, says nothing of that."""
        says = not assessment.failed and not self.profile.forbids_storing(lookup)
        if says and lookup.query.family is Family.UNKNOWN:
            self.unkept.learn(lookup.query.exact, stored=assessment.stored)

    def _recall(self, flight: str, record: str) -> None:
        """The connection that brought this answer held one too many: it may have been another request's."""
        log.warning("answer_recalled", flight=flight)
        self.store.recall(record, self.clock.order())


def authorization_of(access: Access) -> bytes | None:
    """The value of the Authorization header that goes to the service, None for none."""
    return None if access.credential is None else access.credential.authorization


def _endpoint(target: bytes) -> bytes:
    return NUMBER.sub(b"0", target.partition(b"?")[0])


def _confirmation(entries: Sequence[Entry], response: TimedResponse) -> TimedResponse:
    if not entries:
        raise UpstreamProtocolError("The service's answer is a 304 that was not asked for.")
    entry = confirmed(entries, response.headers)
    if entry is None:
        raise ValidatorMismatch("The service's answer is a 304 about something else.")
    return confirmed_by(entry, response)


def _verdict(lookup: Lookup, answer: UpstreamResponse) -> CredentialSignal | None:
    """What an answer to a protected query says of the credential that it was asked with (docs/decisions.md, 7)."""
    if not lookup.credential_needed or answer.status not in (200, 304, 403):
        return None
    refused = answer.status == 403
    return CredentialSignal(lookup.access.scope, refused=refused, question=lookup.key.entry if refused else "")


def _request(lookup: Lookup, asked: Headers) -> UpstreamRequest:
    """The request to the service with these conditions; what is posted goes as it came."""
    query, authorization, sent = lookup.query, authorization_of(lookup.access), lookup.asked.headers
    if query.posted is None:
        return UpstreamRequest(query.exact, authorization, [*sent, *asked])
    headers, content = [*sent, *query.posted.headers], query.posted.content
    return UpstreamRequest(query.exact, authorization, headers, b"POST", content, reads=True)
