"""Rules that read rankings: totals, overviews and shorter tops out of a top of a whole institution. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from gateway.catalogue.endpoints import COUNTERS
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.derivation.ranking import FIRST_COUNT, HEAD, is_id
from gateway.derivation.rules import Derived, Kind, Source, asked, count_of, means
from gateway.derivation.style import TOP, TOTAL, Layout, Numbers, orders_of

CHECKS, CHECKS_OF_ABSENT = 60, 300
"""So many checks without a difference leave a share of wrong answers below 5 %, or below 1 %."""
OVERVIEW = Layout(orders_of(COUNTERS), names=frozenset(COUNTERS))


def ranking_of(institution: str, counter: str, item: str) -> Query:
    """The query of the ranking of an institution's items, over all time."""
    return asked(institution, "top", counter, item, count=str(FIRST_COUNT))


@dataclass(frozen=True, slots=True)
class Totals:
    """The total of an item, or of each counter in its overview, as rankings list it.

    ``absent``: only where some ranking does not list the item although it has all there are; it counts 0 there.
    """

    name: str
    family: Family
    layout: Layout
    absent: bool = False
    repeats: bool = False

    @property
    def needed(self) -> int:
        return CHECKS_OF_ABSENT if self.absent else CHECKS

    def sources(self, query: Query) -> tuple[Query, ...]:
        """The ranking of each counter."""
        institution, item, id = query.institution, query.item, query.item_id
        if query.family is not self.family or institution is None or item is None or id is None or not is_id(id):
            return ()
        named = () if query.counter is None else (query.counter,)
        if not means(query, asked(institution, "total", *named, item, id)):
            return ()
        return tuple(ranking_of(institution, counter, item) for counter in named or COUNTERS)

    def derived(self, query: Query, sources: Sequence[Source]) -> Derived | None:
        numbers = self.counts(query, sources, {})
        pairs = list(zip(sources, numbers.values(), strict=True))
        missing = [source for source, number in pairs if not number]
        if bool(missing) is not self.absent or not all(map(_is_complete, missing)):
            return None
        low = any(number <= source.ranking.low for source, number in pairs)
        return Derived(numbers, Kind.TAIL if low and not self.absent else Kind.PLAIN)

    def counts(self, query: Query, sources: Sequence[Source], numbers: Numbers) -> dict[str, int]:
        names = COUNTERS if self.family is Family.OVERVIEW else ("totals",)
        id = int(query.item_id or 0)
        return {name: source.ranking.count(id) for name, source in zip(names, sources, strict=True)}


@dataclass(frozen=True, slots=True)
class Prefix:
    """A top of few items as the first places of a ranking, where these are by rank and nothing is tied: which of
    two that are tied comes first, or comes at all, is not known."""

    name: str = "prefix"
    layout: Layout = TOP
    needed: int = CHECKS
    repeats: bool = True

    def sources(self, query: Query) -> tuple[Query, ...]:
        """The ranking."""
        institution, counter, item = query.institution, query.counter, query.item
        if query.family is not Family.TOPS or institution is None or counter is None or item is None:
            return ()
        count = count_of(query)
        if count >= HEAD or not means(query, asked(institution, "top", counter, item, count=str(count))):
            return ()
        return (ranking_of(institution, counter, item),)

    def derived(self, query: Query, sources: Sequence[Source]) -> Derived | None:
        (source,), count = sources, count_of(query)
        ranking = source.ranking
        if not ranking.by_rank or (ranking.length <= count and not _is_complete(source)):
            return None
        first = ranking.head[: count + 1]
        falls = all(one > other for (_, one), (_, other) in pairwise(first))
        if not falls or not all(is_id(name) for name, _ in first):
            return None
        return Derived(dict(islice(first, count)), Kind.PLAIN if first else Kind.EMPTY)

    def counts(self, query: Query, sources: Sequence[Source], numbers: Numbers) -> dict[str, int]:
        ranking = sources[0].ranking
        return {name: ranking.count(int(name)) for name in numbers if is_id(name)}


def _is_complete(source: Source) -> bool:
    return source.ranking.is_complete(count_of(source.query))


FROM_RANKINGS = (
    Totals("listed", Family.TOTALS, TOTAL),
    Totals("absent", Family.TOTALS, TOTAL, absent=True),
    Totals("overview", Family.OVERVIEW, OVERVIEW),
    Totals("overview-absent", Family.OVERVIEW, OVERVIEW, absent=True),
    Prefix(),
)
