"""Judgement: what becomes of an upstream answer: the entry it makes, whether that may be stored, and whether the
answer is a failure."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec import structs

from gateway.cache import freshness as storing
from gateway.cache import lifetimes
from gateway.cache.control import joined, names_of, response_control
from gateway.cache.entry import SOLE, Entry
from gateway.cache.freshness import Circumstances, Response
from gateway.cache.keys import CacheKey, variant_of
from gateway.cache.lifetimes import Kind, Lifetime, Lifetimes
from gateway.cache.rules import failed
from gateway.catalogue.answers import Reading, Shapes
from gateway.catalogue.query import Family, Query
from gateway.errors import Headers


class Question(msgspec.Struct, frozen=True):
    """What was asked: the query, where its answers live, and the client's headers as they went upstream.

    ``private_scope`` says that it was asked with a credential of ours, ``no_store`` that its client wished so.
    """

    query: Query
    key: CacheKey
    headers: Headers
    private_scope: bool = False
    no_store: bool = False


class Judgement(NamedTuple):
    """The answer as an entry, and whether to store it.

    ``speaks``: the service gave it, and nobody in its place. ``failed``: it is no answer to the question, so that
    a stale entry stands in for it where there is one.
    """

    entry: Entry
    stored: bool
    speaks: bool
    failed: bool


class StatisticsJudge:
    """The service's answers: known families and its errors by the lifetime policy, the rest by RFC 9111. What the
    service did not say is a failure, whatever its status, and never stored (decision 7).

    A client's ``no-store`` counts only where clients may always ask for fresher data: else it would turn the
    shield off (decision 7).
    """

    def __init__(self, rules: Lifetimes, *, no_store_counts: bool, shapes: Shapes) -> None:
        self._rules = rules
        self._no_store_counts = no_store_counts
        self._shapes = shapes

    def forbids(self, question: Question) -> bool:
        """Whether the request itself says that its answer is not stored."""
        return question.no_store and self._no_store_counts

    def judge(self, question: Question, response: Response, jitter: float) -> Judgement:
        """``jitter`` is in [-1, 1]."""
        family, status = question.query.family, response.status
        answer, sub_item = (status, response.headers, response.body), question.query.sub_item is not None
        reading = self._shapes.read(family, question.key.entry, *answer, sub_item=sub_item)
        no_store, etag = self.forbids(question), _etag(response)
        if reading.speaks and family is Family.UNKNOWN and status not in (400, 403, 404):
            given = Circumstances(
                private_scope=question.private_scope,
                no_store=no_store,
                stale_if_error=self._rules.keeping(Family.UNKNOWN),
                stale_while_revalidate=self._rules.serving(Family.UNKNOWN, 0.0),
                failures=False,
                default_life=self._rules.unknown if status == 200 else 0.0,
            )
            entry, stored = _by_the_rfc(question, response, given, etag)
        else:
            life = self._life(question, response, reading, jitter) if response.sound and not no_store else None
            entry, stored = _by_the_policy(question, response, life, etag), life is not None
        return Judgement(entry, stored, reading.speaks, not reading.speaks or status == 429 or status >= 500)

    def _life(self, question: Question, response: Response, reading: Reading, jitter: float) -> Lifetime | None:
        times = response.dispatched, response.received
        answer = lifetimes.Answer(response.status, response.headers, reading, *times)
        private = question.private_scope
        return lifetimes.lifetime(question.query, answer, self._rules, jitter=jitter, private_scope=private)


class GenericJudge:
    """Any origin's answers, by RFC 9111, and by what ``rules`` say of stale ones where the origin says nothing.

    One that was followed by more than it announced is complete as it was framed (RFC 9112 §6.3): here it may be
    stored; the service would be suspected of being cut in two.
    """

    def __init__(self, rules: Lifetimes) -> None:
        self._stale_if_error = rules.keeping(Family.UNKNOWN)
        self._stale_while_revalidate = rules.serving(Family.UNKNOWN, 0.0)

    def forbids(self, question: Question) -> bool:
        """Whether the request itself says that its answer is not stored (RFC 9111 §5.2.1.5)."""
        return question.no_store

    def judge(self, question: Question, response: Response, jitter: float) -> Judgement:
        """``jitter`` plays no part, and whoever answers is the origin."""
        authorized = any(name == b"authorization" for name, _ in question.headers)
        given = Circumstances(
            authorized=authorized,
            no_store=question.no_store,
            stale_if_error=self._stale_if_error,
            stale_while_revalidate=self._stale_while_revalidate,
            stale_at_once=True,
        )
        etag = joined(response.headers, b"etag")
        entry, stored = _by_the_rfc(question, replace(response, sound=not response.ambiguous), given, etag)
        return Judgement(entry, stored, True, failed(entry))


def _by_the_policy(question: Question, response: Response, life: Lifetime | None, etag: bytes) -> Entry:
    error = life is not None and life.kind is Kind.ERROR
    entry = Entry(
        question.key.error if error else question.key.entry,
        response.status,
        storing.dated(response),
        response.body,
        etag,
        response.dispatched,
        response.received,
        0.0,
        0.0,
        0.0,
        response.received - storing.initial_age(response),
        variant=question.key.variant if error else SOLE,
        target=question.query.exact,
    )
    if life is None:
        return entry
    return structs.replace(
        entry,
        fresh_until=life.fresh_until,
        serve_until=life.serve_until,
        keep_until=life.keep_until,
        drop_at=life.keep_until,
        stale_ok=life.serve_until > life.fresh_until,
        rule=life.rule,
        bound=life.bound,
    )


NEGOTIATED = b"accept, accept-language"
"""What an answer may depend on without a word: where nobody but us names its lifetime, it is kept for those alone
who ask in the same words."""


def _by_the_rfc(question: Question, response: Response, given: Circumstances, etag: bytes) -> tuple[Entry, bool]:
    control = response_control(response.headers)
    times = storing.freshness(response, control, given)
    stored = storing.storable(response, control, given) and times.drop_at > response.received
    guessed = given.default_life and not storing.tells_lifetime(response, control)
    vary = names_of([joined(response.headers, b"vary"), NEGOTIATED if guessed else b""])
    entry = Entry(
        question.key.entry,
        response.status,
        storing.dated(response),
        response.body,
        etag,
        response.dispatched,
        response.received,
        times.fresh_until if stored else 0.0,
        times.serve_until,
        times.keep_until,
        times.born,
        times.drop_at,
        times.stale_ok,
        vary,
        variant_of(vary, question.headers),
        target=question.query.exact,
    )
    return entry, stored


def _etag(response: Response) -> bytes:
    """The service's own, else a strong one over the body (RFC 9110 §8.8.3); none for errors."""
    own = joined(response.headers, b"etag")
    if own or response.status != 200:
        return own
    return b'"' + blake2b(response.body, digest_size=12).hexdigest().encode() + b'"'
