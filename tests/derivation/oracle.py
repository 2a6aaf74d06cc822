"""A sandbox's service as the oracle of derivations: sources, and what it says itself."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.catalogue.endpoints import recognise
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted
from gateway.derivation.compare import Answer, Sources
from gateway.derivation.plans import RULES
from gateway.derivation.rules import Rule, Source, source_of
from gateway.derivation.style import Style
from gateway.sandbox.service import Service
from tests.sandbox.asking import answer_of

WINDOW = "start_date=2014-01-01&end_date=2014-12-31"
CUT = "start_date=2014-01-05&end_date=2014-11-28"


def query(target: str) -> Query:
    """The query of a target."""
    return recognise(*parted(target.encode()))


def rule(name: str) -> Rule:
    """The rule of a name."""
    return next(each for each in RULES if each.name == name)


def body_of(service: Service, asked: Query) -> bytes:
    """The body of the service's own answer."""
    return answer_of(service, asked.exact.decode()).body


def sources_of(service: Service, by: Rule, target: str) -> list[Source]:
    """The sources that a rule reads, as the service answers them."""
    found = [source_of(each, body_of(service, each)) for each in by.sources(query(target))]
    return [each for each in found if each is not None]


def styles_of(service: Service, by: Rule, targets: Sequence[str]) -> Sequence[Style] | None:
    """What these answers show of how the service writes."""
    styles: Sequence[Style] | None = None
    for target in targets:
        styles = by.layout.learned(styles, body_of(service, query(target)))
    return styles


def answer(service: Service, target: str, at: float = 0.0, *, closed: bool = False) -> Answer:
    """The service's own answer, at once at this time."""
    said = answer_of(service, target)
    return Answer(query(target), said.status, said.body, at, at, closed)


def sources(service: Service, by: Rule, target: str, at: float = 0.0) -> Sources:
    """The rule's sources, which came at once at this time."""
    return Sources(sources_of(service, by, target), at, at)
