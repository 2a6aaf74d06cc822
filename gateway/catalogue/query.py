"""Queries: recognised requests as plain values, their canonical encoding, and the days they cover. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import NamedTuple
from urllib.parse import unquote

from gateway.catalogue.families import ALL_TIME, Family


@dataclass(frozen=True, slots=True)
class Posted:
    """The content of a query that is asked by POST, as it came, with the headers that describe it and a digest of
    both."""

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

    ``literal`` is the exact request, as an error answer echoes it: the target and the posted content.
    ``may_be_protected`` says that it is protected, or that nobody knows, as of an unknown endpoint.
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
    literal: bytes = field(init=False, repr=False, compare=False)
    may_be_protected: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once for all requests with this query, which is remembered.
        posted = self.posted
        literal = self.exact if posted is None else b"%s\n%s" % (self.exact, posted.digest.encode())
        object.__setattr__(self, "literal", literal)
        object.__setattr__(self, "may_be_protected", self.protected or self.family is Family.UNKNOWN)


Parameters = list[tuple[str, str | None]]
"""Decoded (name, value) pairs in the order written; the value is None where there was no ``=``."""


def decoded_segments(raw_path: bytes) -> list[str]:
    """The decoded segments of a path that ``check_target`` passed. A plus is a plus here."""
    segments = raw_path.decode("ascii").split("/")[1:]
    return [unquote(s, errors="strict") for s in segments] if b"%" in raw_path else segments


def decoded_parameters(raw_query: bytes) -> Parameters:
    """The parameters of a query that ``check_target`` passed, decoded as HTML forms are.

    ``+`` and ``%20`` are both a space, as for every web framework that the service could be made of. Empty
    pieces (``a=1&&b=2&``) mean nothing.
    """
    plain = b"%" not in raw_query and b"+" not in raw_query
    parameters: Parameters = []
    for piece in raw_query.decode("ascii").split("&"):
        if piece:
            name, equals, value = piece.partition("=")
            if not plain:
                name, value = _form_decoded(name), _form_decoded(value)
            parameters.append((name, value if equals else None))
    return parameters


def encoded(fields: Iterable[str | None]) -> bytes:
    """One byte string for a sequence of fields, injective: length-prefixed, and None apart from ``""``.

    It never begins with a slash, so it never equals a request target.
    """
    return "".join(["-" if field is None else f"{len(field)}:{field}" for field in fields]).encode()


def _form_decoded(text: str) -> str:
    return unquote(text.replace("+", " "), errors="strict")


CLAMPED = "clamped"
"""Stands for every end date that the service replaces with its limit."""

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LIMIT_YEARS = {"day": 1, "month": 2, "year": 5, "total": 1}
_SLACK = timedelta(days=2)


class Window(NamedTuple):
    """A window as the request states it.

    ``end_date`` is what the canonical form holds: the date as written, CLAMPED, or None where omitted.
    ``last_day`` is None where the window rests on *today* or covers all time.
    """

    end_date: str | None = None
    last_day: date | None = None
    rests_on_today: bool = False


def read_window(family: Family, granularity: str | None, known: Mapping[str, str]) -> Window | str:
    """The window of a request with these documented parameters; why its dates make none.

    Omitted dates default to the month so far, hence rest on *today*: always for timelines and breakdowns, for
    tops only with ``sub_item``. Totals, overviews, and tops without it cover all time (docs/service.md,
    Query semantics).
    """
    if family in ALL_TIME:
        return Window()
    start_date, end_date = known.get("start_date"), known.get("end_date")
    start = None if start_date is None else _day(start_date)
    end = None if end_date is None else _day(end_date)
    for name, day in (("start_date", start), ("end_date", end)):
        if day is None and name in known:
            return f"its {name} is no day like 2030-01-31"
    if start and end and start > end:
        return "its start_date is after its end_date"
    if family is Family.TOPS and "sub_item" not in known:
        return Window(end_date)
    if start is None or end is None:
        return Window(end_date, rests_on_today=True)
    return _bounded(family, granularity, start, end)


def _bounded(family: Family, granularity: str | None, start: date, end: date) -> Window:
    """A breakdown's end counts as clamped only two days past the limit: how the service counts is not known."""
    if family is Family.BREAKDOWN and granularity is not None:
        limit = _years_later(start, _LIMIT_YEARS[granularity])
        if end - limit > _SLACK:
            return Window(CLAMPED, last_day=limit)
    return Window(end.isoformat(), last_day=end)


def _years_later(day: date, years: int) -> date:
    """The same day so many years later; 1 March for a 29 February that the year has not, the later choice."""
    if day.year + years > date.max.year:
        return date.max
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def _day(text: str) -> date | None:
    """A calendar day written as YYYY-MM-DD; None for any other text."""
    try:
        return date.fromisoformat(text) if _ISO.fullmatch(text) else None
    except ValueError:
        return None
