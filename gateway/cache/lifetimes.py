"""How long an answer of the service lives, by its headers and its query (docs/decisions.md, 6). Pure.

All times are seconds since the epoch, UTC; all durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Self

from gateway.cache.control import CacheControl, age_of
from gateway.catalogue.answers import Reading
from gateway.catalogue.families import ALL_TIME, Family
from gateway.catalogue.query import Query
from gateway.settings import Settings

DAY = 86_400.0
SETTLING = 48 * 3600.0
"""How long after its last day a window can still change."""


class Rule(StrEnum):
    """The lifetimes that a tenant may override, by the settings' names without ``lifetime_``.

    ``label`` says what has such a lifetime, ``reason`` why.
    """

    CLOSED = "closed", "Closed windows", "the window has settled: 48 hours have passed since its last day"
    OPEN = "open", "Open windows", "the window can still change"
    TOTALS = (
        "totals",
        "Totals, overviews, counts and tops",
        "totals, overviews, counts, and tops without a closed window, change all the time",
    )
    EMPTY = "empty", "Empty answers"
    ERROR = "error", "400 and 404"
    FORBIDDEN = "forbidden", "403"

    label: str
    reason: str

    def __new__(cls, value: str, label: str = "", reason: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_, member.label, member.reason = value, label, reason
        return member


ERRORS = frozenset({Rule.ERROR, Rule.FORBIDDEN})
CHANGED = "changed"
"""The lifetime of an answer in a shape that the service started to use recently."""

_BESIDE = ERRORS | {CHANGED}
_EPOCH = date(1970, 1, 1).toordinal()


class Kind(StrEnum):
    """How an answer is stored: an error record lies beside an entry and never replaces it."""

    ENTRY = "entry"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The configured lifetimes (docs/decisions.md, 6).

    ``jitter`` is the largest share added to or taken off a lifetime. ``stale_if_error`` is how long a stale entry
    stands in for a failure. ``obey`` says whether the service's ``Cache-Control`` bounds lifetimes. The
    ``…_family`` tables hold the exceptions by family; without one, a stale entry serves for one more lifetime
    while it is refreshed.
    """

    closed: float = 7 * DAY
    open: float = 900.0
    totals: float = 600.0
    empty: float = 300.0
    error: float = 600.0
    forbidden: float = 10.0
    unknown: float = 60.0
    jitter: float = 0.1
    stale_if_error: float = 7 * DAY
    obey: bool = True
    stale_while_revalidate_family: Mapping[str, float] = field(default_factory=dict)
    stale_if_error_family: Mapping[str, float] = field(default_factory=dict)

    @property
    def changed(self) -> float:
        """The lifetime of an answer in a new shape: that of an unknown endpoint."""
        return self.unknown

    def of(self, rule: str) -> float:
        return float(getattr(self, rule))

    def serving(self, family: Family, life: float) -> float:
        """How long a stale entry of this family serves while it is refreshed."""
        return self.stale_while_revalidate_family.get(family, life)

    def keeping(self, family: Family) -> float:
        """How long a stale entry of this family stands in for a failure."""
        return self.stale_if_error_family.get(family, self.stale_if_error)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole upstream response, its body as it was read. Header names are lower case."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    reading: Reading
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
    query: Query, answer: Answer, rules: Lifetimes, control: CacheControl, *, jitter: float, private_scope: bool
) -> Lifetime | None:
    """How long an answer to a query lives; None when it must not be stored.

    ``control`` is the answer's own; ``jitter`` is a random number in [-1, 1], here an argument; ``private_scope``
    says that the answer goes under a credential's fingerprint, which satisfies ``private``. A truncated answer is
    a failure and never comes here.
    """
    rule = _rule(query, answer, rules)
    control = control if rules.obey else CacheControl()
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
    if rule in _BESIDE:
        if fresh_until <= answer.received_at:
            return None
        return Lifetime(Kind.ERROR, fresh_until, fresh_until, fresh_until, rule, bound)
    if control.forbids_stale:
        return Lifetime(Kind.ENTRY, fresh_until, fresh_until, fresh_until, rule, bound)
    serve_until = fresh_until + rules.serving(query.family, life)
    keep_until = max(serve_until, fresh_until + rules.keeping(query.family))
    return Lifetime(Kind.ENTRY, fresh_until, serve_until, keep_until, rule, bound)


def _rule(query: Query, answer: Answer, rules: Lifetimes) -> str | None:
    """Which lifetime an answer has; None where it must not be stored."""
    reading = answer.reading
    if not reading.speaks:
        return None
    match answer.status:
        case 200 if reading.changed:
            return CHANGED
        case 200 if query.family is not Family.UNKNOWN:
            rule = rule_of(query, answer.dispatched_at)
            return Rule.EMPTY if reading.empty and rules.empty < rules.of(rule) else rule
        case 403:
            return Rule.FORBIDDEN
        case 400 | 404:
            return Rule.ERROR
        case _:
            return None


def rule_of(query: Query, now: float) -> Rule:
    """The name of the lifetime of an answer to a known query, asked at ``now`` and not empty."""
    if query.last_day is not None and _has_settled(query.last_day, now):
        return Rule.CLOSED
    return Rule.TOTALS if query.family in ALL_TIME or query.family is Family.TOPS else Rule.OPEN


def _has_settled(last_day: date, now: float) -> bool:
    return now >= (last_day.toordinal() - _EPOCH + 1) * DAY + SETTLING


def _next_midnight(now: float) -> float:
    return (now // DAY + 1) * DAY


def lifetimes_of(settings: Settings) -> Lifetimes:
    """The lifetimes that the settings name."""
    stale = Lifetimes(
        stale_if_error=settings.stale_if_error,
        stale_while_revalidate_family=settings.stale_while_revalidate_family,
        stale_if_error_family=settings.stale_if_error_family,
    )
    if settings.profile == "generic":
        return stale
    return replace(
        stale,
        closed=settings.lifetime_closed,
        open=settings.lifetime_open,
        totals=settings.lifetime_totals,
        empty=settings.lifetime_empty,
        error=settings.lifetime_error,
        forbidden=settings.lifetime_forbidden,
        unknown=settings.lifetime_unknown,
        jitter=settings.lifetime_jitter,
        obey=settings.upstream_directives == "obey",
    )
