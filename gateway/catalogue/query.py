"""Query: a recognised request, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum


class Family(StrEnum):
    """The known families of questions (contract page, Endpoints), and everything else.

    An overview is all totals of one item at once; counts are of the articles in groups, and are asked by POST.
    """

    TOTALS = "totals"
    OVERVIEW = "overview"
    TIMELINE = "timeline"
    BREAKDOWN = "breakdown"
    TOPS = "tops"
    COUNT = "count"
    UNKNOWN = "unknown"


ALL_TIME = frozenset({Family.TOTALS, Family.OVERVIEW, Family.COUNT})
"""Families whose answers cover all time, and need no credential inside an institution."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What is sent along with a question that is asked by POST: the headers that describe the content, and the
    content as it came; ``digest`` is of both."""

    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes = field(repr=False)
    digest: str


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, independent of how it was spelt.

    ``canonical`` is the injective encoding that cache keys are made of: equal for requests that mean the
    same, different for all others; of an unknown request it is the exact target. ``exact`` is the request
    target as the client wrote it, which goes upstream, with what is ``posted`` where it is asked by POST.

    ``institution`` is the exact decoded segment, or None outside any. An unknown request has its first segment
    there, so that the caller's credential goes along; no family's name and no ``-`` is ever one. The next five
    are decoded values, None where the request has none; tops have their ``item_id`` from the query.
    ``protected`` says that the service wants that institution's credential, as far as the catalogue knows.

    ``last_day`` is the window's end where the request states it, clamped where the service clamps it; None
    where it rests on *today* or where the answer covers all time. ``rests_on_today`` is true when an omitted
    date makes the answer depend on the day it is asked.
    """

    family: Family
    canonical: bytes
    exact: bytes
    institution: str | None = None
    counter: str | None = None
    item: str | None = None
    item_id: str | None = None
    granularity: str | None = None
    sub_item: str | None = None
    protected: bool = False
    last_day: date | None = None
    rests_on_today: bool = False
    posted: Posted | None = None

    @property
    def literal(self) -> bytes:
        """The exact request, which an error answer echoes: the target, and what is posted there."""
        return self.exact if self.posted is None else b"%s\n%s" % (self.exact, self.posted.digest.encode())
