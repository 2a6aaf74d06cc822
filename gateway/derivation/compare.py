"""Comparison: what an answer of the service says of the rules that could have derived it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from gateway.catalogue.query import Query
from gateway.derivation.rules import Derived, Rule, Source
from gateway.derivation.style import Numbers
from gateway.derivation.trust import Check, Doubt, Trust, Verdict

HOUR = 3_600.0


class Answer(NamedTuple):
    """The service's own answer to a question; when it was ``asked``, and had answered, in seconds since the epoch.
    ``closed``: neither this nor its sources could change any more."""

    query: Query
    status: int
    body: bytes
    asked: float
    at: float
    closed: bool = False


class Sources(NamedTuple):
    """The sources of an answer: all were asked for after ``oldest``, and had come at ``newest``."""

    read: Sequence[Source]
    oldest: float
    newest: float


def compared(rule: Rule, answer: Answer, sources: Sources, trust: Trust) -> Trust:
    """The trust in a rule after an answer that it could have derived; the same where it could not have."""
    derived = rule.derived(answer.query, sources.read)
    if derived is None:
        return trust
    styles = rule.layout.learned(trust.styles, answer.body) if answer.status == 200 else ()
    told = rule.layout.read(answer.body)
    if not styles or told is None:
        why = "an answer is an error" if answer.status != 200 else "an answer is written in another style"
        check = _check(rule, answer, sources, derived, Verdict.DIFFERENT)
        return trust.after(replace(check, reason=why), rule.needed)
    written = rule.layout.written(styles, derived.numbers)
    verdict = _verdict(answer, sources, derived, told, written)
    if verdict is None:
        return trust
    check = _check(rule, answer, sources, derived, verdict, written or b"")
    after = trust.having(styles).after(check, rule.needed)
    if verdict is not Verdict.DOUBTFUL:
        return after
    first = dict(rule.counts(answer.query, sources.read, told))
    return after.doubting(Doubt(check, {name: told.get(name, 0) for name in first}, first))


def settled(rule: Rule, sources: Sources, questions: Mapping[int, Query], trust: Trust, now: float) -> Trust:
    """The trust in a rule whose doubts are about these ``questions``, by their places, all of which have these
    sources."""
    counts = {
        place: rule.counts(query, sources.read, trust.doubts[place].told)
        for place, query in questions.items()
        if sources.oldest >= trust.doubts[place].check.at
    }
    return trust.settled(counts, now, rule.needed)


def _verdict(
    answer: Answer, sources: Sources, derived: Derived, told: Numbers, written: bytes | None
) -> Verdict | None:
    """None where nothing can be said: the numbers differ, and the sources are not older than the answer."""
    if written == answer.body:
        return Verdict.EQUAL
    if answer.closed or dict(told) == derived.numbers:  # or else it is the order that differs
        return Verdict.DIFFERENT
    return Verdict.DOUBTFUL if sources.newest <= answer.asked else None


def _check(
    rule: Rule, answer: Answer, sources: Sources, derived: Derived, verdict: Verdict, written: bytes = b""
) -> Check:
    question = answer.query.exact.decode("latin-1")
    sample = answer.query.canonical.decode("utf-8", "replace")
    if rule.repeats:
        sample += f"@{sources.oldest // HOUR:.0f}"
    facts = question, verdict, answer.at, written, answer.body, derived.kind
    return Check(*facts, definite=verdict is Verdict.DIFFERENT, sample=sample)
