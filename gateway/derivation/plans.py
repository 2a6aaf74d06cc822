"""Plans: which rules may answer a query, and from which sources. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.derivation.from_days import FROM_DAYS
from gateway.derivation.from_rankings import FROM_RANKINGS
from gateway.derivation.rules import Rule, subject_of
from gateway.errors import BadTarget

RULES: tuple[Rule, ...] = (*FROM_RANKINGS, *FROM_DAYS)
FAMILIES = frozenset({Family.TOTALS, Family.OVERVIEW, Family.TOPS, Family.TIMELINE})
"""The families of queries that some rule answers."""
REMEMBERED = 1_024


class Plan(NamedTuple):
    """The sources of a query's answer, and the rules that read them, each with its subject of trust."""

    sources: tuple[Query, ...]
    rules: tuple[tuple[str, Rule], ...]


@lru_cache(REMEMBERED)
def plan_of(query: Query) -> Plan | None:
    """The plan for a query; None where no rule applies. All rules of a query have the same sources."""
    if query.family not in FAMILIES:
        return None
    try:
        applying = [(rule, sources) for rule in RULES if (sources := rule.sources(query))]
    except BadTarget:  # written out in full, a source's target may be longer than a target may be
        return None
    if not applying:
        return None
    rules = tuple((subject_of(rule, query), rule) for rule, _ in applying)
    return Plan(applying[0][1], rules)
