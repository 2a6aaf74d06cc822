"""Lifetimes: how long an answer lives, by what it says and what it is about (decision 6). Pure.

All times are seconds since the epoch, UTC; all durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

import msgspec

from gateway.cache_control import CacheControl, age_of, joined, response_control
from gateway.catalogue.query import ALL_TIME, Family, Query

DAY = 86_400.0
SETTLING = 48 * 3600.0
"""How long after its last day a window can still change."""

ERRORS = frozenset({"error", "forbidden"})
RULES = frozenset({"closed", "open", "totals", "empty"}) | ERRORS
"""The lifetimes by name."""

_EPOCH = date(1970, 1, 1).toordinal()
_WRAPPERS = frozenset({"totals", "timeline", "breakdown", "top"})
_MALFORMED = object()


class Kind(StrEnum):
    """What an answer is stored as; an error record never takes an entry's place."""

    ENTRY = "entry"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The numbers of decision 6.

    ``jitter`` is the largest share added to or taken off a lifetime; ``stale_if_error`` how long a stale entry
    stands in for a failure; ``obey`` whether the service's own ``Cache-Control`` bounds lifetimes. The
    ``…_family`` tables say by family what differs; a stale entry serves while it is refreshed for one more
    lifetime where they say nothing.
    """

    closed: float = 7 * DAY
    open: float = 900.0
    totals: float = 600.0
    empty: float = 300.0
    error: float = 600.0
    forbidden: float = 10.0
    jitter: float = 0.1
    stale_if_error: float = 7 * DAY
    obey: bool = True
    stale_while_revalidate_family: Mapping[str, float] = field(default_factory=dict)
    stale_if_error_family: Mapping[str, float] = field(default_factory=dict)

    def of(self, rule: str) -> float:
        """The lifetime of this name."""
        return float(getattr(self, rule))

    def serving(self, family: Family, life: float) -> float:
        """How long a stale entry of this family serves while it is refreshed."""
        return self.stale_while_revalidate_family.get(family, life)

    def keeping(self, family: Family) -> float:
        """How long a stale entry of this family stands in for a failure."""
        return self.stale_if_error_family.get(family, self.stale_if_error)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole upstream response. Header names are lower case; the body is free of content coding."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    dispatched_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long an answer lives.

    Until ``fresh_until`` it is fresh; until ``serve_until`` it is served stale while it is refreshed; until
    ``keep_until`` it stands in for a failure, and then it is gone. An error record is never served stale: its
    three times are one. ``rule`` names the number of ``Lifetimes`` that applied; whatever that is, the answer is
    not fresh beyond ``bound``.
    """

    kind: Kind
    fresh_until: float
    serve_until: float
    keep_until: float
    rule: str
    bound: float


def lifetime(
    query: Query, answer: Answer, rules: Lifetimes, *, jitter: float, private_scope: bool
) -> Lifetime | None:
    """How long an answer to a query lives; None when it must not be stored.

    ``jitter`` is a random number in [-1, 1], here an argument; ``private_scope`` says that the answer goes under
    a credential's fingerprint, which satisfies ``private``. A truncated answer is a failure and never comes here.
    """
    rule = _rule(query, answer, rules)
    control = response_control(answer.headers) if rules.obey else CacheControl()
    if rule is None or control.no_cache or control.forbids_storing(private_scope):
        return None
    life = rules.of(rule) * (1 + rules.jitter * jitter)
    bound = _next_midnight(answer.dispatched_at) if query.rests_on_today else math.inf
    if control.max_age is not None:
        # RFC 9111 §4.2.3: the time the answer took and the age it came with count against its max-age
        left = control.max_age - age_of(answer.headers)
        bound = min(bound, answer.dispatched_at + left)
        life = min(life, max(0.0, left))
    fresh_until = min(answer.received_at + life, bound)
    if rule in ERRORS:
        if fresh_until <= answer.received_at:
            return None
        return Lifetime(Kind.ERROR, fresh_until, fresh_until, fresh_until, rule, bound)
    if control.forbids_stale:
        return Lifetime(Kind.ENTRY, fresh_until, fresh_until, fresh_until, rule, bound)
    serve_until = fresh_until + rules.serving(query.family, life)
    keep_until = max(serve_until, fresh_until + rules.keeping(query.family))
    return Lifetime(Kind.ENTRY, fresh_until, serve_until, keep_until, rule, bound)


def _rule(query: Query, answer: Answer, rules: Lifetimes) -> str | None:
    """Which lifetime a status and body have; None where they must not be stored."""
    known = query.family is not Family.UNKNOWN
    if answer.status not in (400, 403, 404) and not (answer.status == 200 and known):
        return None
    content = _content(answer)
    if content is _MALFORMED:
        return None
    match answer.status:
        case 200:
            rule = rule_of(query, answer.dispatched_at)
            return "empty" if _is_empty(content) and rules.empty < rules.of(rule) else rule
        case 403:
            return "forbidden"
        case _:
            return "error" if _is_service_shaped(content) else None


def rule_of(query: Query, now: float) -> str:
    """Which lifetime an answer to a known query has that is asked now and not empty."""
    if query.last_day is not None and _has_settled(query.last_day, now):
        return "closed"
    return "totals" if query.family in ALL_TIME or query.family is Family.TOPS else "open"


def _has_settled(last_day: date, now: float) -> bool:
    return now >= (last_day.toordinal() - _EPOCH + 1) * DAY + SETTLING


def _next_midnight(now: float) -> float:
    return (now // DAY + 1) * DAY


def _content(answer: Answer) -> Any:
    """The body's JSON value, or _MALFORMED when the answer is not what it says, or does not say JSON."""
    media_type = joined(answer.headers, b"content-type").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        return _MALFORMED
    try:
        return msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):
        return _MALFORMED


def _is_empty(content: Any) -> bool:
    """Nothing counted: ``{"totals": 0}``, ``{"timeline": null}``, ``{"top": {}}``, ``{}`` and the like.

    It may be about an item that does not exist yet, so it never lives as long as a closed window.
    """
    if isinstance(content, dict) and len(content) == 1 and not content.keys().isdisjoint(_WRAPPERS):
        return not next(iter(content.values()))
    return not content


def _is_service_shaped(content: Any) -> bool:
    """An error as the service writes them (contract page, Errors), not some intermediary's."""
    return isinstance(content, dict) and "message" in content and "code" in content
