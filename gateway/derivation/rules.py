"""The rules by which an answer follows from other answers, and what they have in common. Pure.

Never derived: breakdowns; answers of one scope or institution from those of another; anything with a parameter
that is not documented, or without both dates where an omitted one would have a default; totals with dates; groups
from their articles; errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlencode

from gateway.catalogue.endpoints import recognise
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query, decoded_parameters
from gateway.catalogue.target import parted
from gateway.derivation.ranking import NotARanking, Ranking, decode
from gateway.derivation.style import TIMELINE, Layout, Numbers, Style

LONGEST_COUNT = 9
"""Digits of a count that are read."""


class Kind(StrEnum):
    """Kinds of derivations that are checked, and trusted, by themselves: those from the last tenth of a ranking,
    and those that come to nothing."""

    PLAIN = "plain"
    TAIL = "tail"
    EMPTY = "empty"


class Derived(NamedTuple):
    """Numbers that follow from a source, in the order of the answer where that is given."""

    numbers: dict[str, int]
    kind: Kind = Kind.PLAIN


class Source(NamedTuple):
    """An answer that others follow from: its query, and either the ranking that it is, or its numbers by day."""

    query: Query
    ranking: Ranking = Ranking({})
    days: Numbers = MappingProxyType({})


class Rule(Protocol):
    """One way to an answer. ``needed`` checks in a row, all of different questions, earn it trust; where it
    ``repeats``, as there are too few questions, the same one counts again an hour later."""

    @property
    def name(self) -> str: ...

    @property
    def layout(self) -> Layout: ...

    @property
    def needed(self) -> int: ...

    @property
    def repeats(self) -> bool: ...

    def sources(self, query: Query) -> tuple[Query, ...]:
        """The questions whose answers it derives this one's from; none where it does not apply."""

    def derived(self, query: Query, sources: Sequence[Source]) -> Derived | None:
        """The numbers that follow from the sources; None where none do."""

    def counts(self, query: Query, sources: Sequence[Source], numbers: Numbers) -> Numbers:
        """What the sources say of whatever ``numbers`` name, and of all that the answer must name."""


def derive(rule: Rule, query: Query, sources: Sequence[Source], styles: Sequence[Style] | None) -> bytes | None:
    """The answer that follows by a rule, in a style that was learned; None where none does for certain."""
    derived = rule.derived(query, sources)
    return None if derived is None else rule.layout.written(styles, derived.numbers)


def subject_of(rule: Rule, query: Query) -> str:
    """What is trusted by itself: a rule for one counter, kind of item, and kind of sub-item."""
    parts = [rule.name, query.counter or "all", query.item or "", *([query.sub_item] if query.sub_item else [])]
    return ":".join(parts)


def source_of(query: Query, body: bytes) -> Source | None:
    """A source, read; None for a body that is none. A ranking takes some 15 ms for 20,000 items, which is too long
    for an event loop."""
    if query.family is Family.TOPS:
        try:
            return Source(query, ranking=decode(body))
        except NotARanking:
            return None
    days = TIMELINE.read(body)
    return None if days is None else Source(query, days=days)


def parameters_of(query: Query) -> dict[str, str]:
    """The parameters of a query by name, as its client wrote them."""
    pairs = decoded_parameters(parted(query.exact)[1])
    return {name: value for name, value in pairs if value is not None}


def count_of(query: Query) -> int:
    """How many places a top asks for; of a number longer than any ranking, only that it is one."""
    return int(parameters_of(query).get("count", "10")[:LONGEST_COUNT])


def asked(institution: str | None, *segments: str, **parameters: str) -> Query:
    """The query of a target that is made of these."""
    path = "/".join(quote(each, safe="") for each in (*([] if institution is None else [institution]), *segments))
    return recognise(f"/{path}".encode(), urlencode(parameters).encode())


def means(query: Query, plain: Query) -> bool:
    """Whether a query asks what a plain one does, and nothing besides."""
    return query.family is plain.family and query.canonical == plain.canonical
