"""Reads the request for a report: the JSON that a client posts. Pure."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from typing import Literal

import msgspec

from gateway.catalogue.endpoints import COUNTERS, ITEMS
from gateway.catalogue.families import FIRST_SEGMENTS
from gateway.errors import InvalidInput
from gateway.jobs.columns import By, ReportRequest
from gateway.jobs.ids import listed_ids

LONGEST_INSTITUTION = 100
MOST_CALLS = 999_999_999
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")


class ReportBody(msgspec.Struct, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """A report: whose items, of which kind, and which of them, or all that the rankings list; counters by total,
    year, month or day, from a date to a date. It pauses before it makes more than so many calls."""

    institution: str
    counters: list[str]
    ids: list[int | float | str] | Literal["all"]
    item: str = "article"
    by: By = "total"
    first: str | None = None
    last: str | None = None
    method: Literal["auto", "ranking", "each"] = "auto"
    max_calls: int | None = None
    dry_run: bool = False


_BODY = msgspec.json.Decoder(ReportBody)


class Order(msgspec.Struct, frozen=True):
    """A report that was ordered, and how it is to be made: ``max_calls`` pauses it before it makes more,
    ``dry_run`` wants its plan alone. ``notes`` say what was not read as it is written."""

    report: ReportRequest
    max_calls: int | None = None
    dry_run: bool = False
    notes: tuple[str, ...] = ()


def read_order(body: bytes) -> Order:
    """The order in a body such as ``{"institution": "lboro", "ids": [23, 24], "counters": ["views"],
    "by": "month", "from": "2025-01", "to": "2025-12"}``; ``ids`` may be ``"all"``. Raises InvalidInput."""
    try:
        asked = _BODY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the report cannot be read: {error}") from None
    return checked_order(asked)


def checked_order(asked: ReportBody) -> Order:
    """The order in a body that was read. Raises InvalidInput, which begins with the name of what is wrong."""
    _check(asked)
    first, last = _window(asked)
    found = None if asked.ids == "all" else listed_ids([*map(str, asked.ids)])
    report = ReportRequest(
        institution=asked.institution,
        item=asked.item,
        ids=None if found is None else found.ids,
        counters=tuple(dict.fromkeys(asked.counters)),
        by=asked.by,
        first=first,
        last=last,
        method=asked.method,
    )
    return Order(report, asked.max_calls, asked.dry_run, () if found is None else found.notes)


def _check(asked: ReportBody) -> None:
    known = 0 < len(asked.institution) <= LONGEST_INSTITUTION and asked.institution not in {*FIRST_SEGMENTS, "-"}
    if not known:
        raise InvalidInput(f"institution: {asked.institution[:LONGEST_INSTITUTION]!r} is none")
    if asked.item not in ITEMS:
        raise InvalidInput(f"item: {asked.item[:40]!r} is none of {', '.join(ITEMS)}")
    for counter in asked.counters or [""]:
        if counter not in COUNTERS:
            raise InvalidInput(f"counters: {counter[:40]!r} is none of {', '.join(COUNTERS)}")
    if asked.max_calls is not None and not 0 < asked.max_calls <= MOST_CALLS:
        raise InvalidInput(f"max_calls: it must be from 1 to {MOST_CALLS}")


def _window(asked: ReportBody) -> tuple[date, date] | tuple[None, None]:
    """The window; all time where a report of totals has no dates."""
    if asked.first is None and asked.last is None and asked.by == "total":
        return None, None
    if asked.first is None or asked.last is None:
        raise InvalidInput("from, to: a report of a window needs both")
    first, last = days_of("from", asked.first)[0], days_of("to", asked.last)[1]
    if first > last:
        raise InvalidInput(f"from, to: {asked.first} is after {asked.last}")
    return first, last


def days_of(name: str, text: str) -> tuple[date, date]:
    """The first and the last day of a year, month or day, written like 2025, 2025-01 or 2025-01-31.

    Raises InvalidInput, under the ``name`` of what was asked.
    """
    found = _DATE.fullmatch(text)
    try:
        if found is not None:
            year, month, day = (int(part) if part else None for part in found.groups())
            assert year is not None
            length = monthrange(year, month or 12)[1]
            return date(year, month or 1, day or 1), date(year, month or 12, day or length)
    except ValueError:
        pass  # looks like a date and is none: 2025-02-30
    raise InvalidInput(f"{name}: {text[:40]!r} is no date like 2025, 2025-01 or 2025-01-31")
