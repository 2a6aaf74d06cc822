"""Reads the ids of a report's items from a file, as people and their programs write such files. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from gateway.derivation.ranking import is_id
from gateway.errors import InvalidInput
from gateway.jobs.columns import MOST_ITEMS

MOST_PROBLEMS = 20
"""How many problems a message names."""


class Ids(NamedTuple):
    """The ids in their order, each once; ``notes`` say by line what was not read as it is written."""

    ids: tuple[int, ...]
    notes: tuple[str, ...]


class _Cell(NamedTuple):
    place: str
    text: str


def read_ids(content: bytes, column: str | None = None) -> Ids:
    """The ids in a CSV file, or in one with an id a line: its first column, or the named one.

    Columns are parted by commas, semicolons or tabs (RFC 4180 otherwise), in UTF-8 with or without a byte order
    mark. A first line without an id is a heading, unless it has digits there. Raises InvalidInput, which names the
    problems by line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidInput(f"line {line}: the file of ids is not UTF-8") from None
    lines = text.splitlines(keepends=True)
    rows = csv.reader(lines, delimiter=_delimiter(lines))
    try:
        return checked_ids(list(_cells(((rows.line_num, row) for row in rows), column)))
    except csv.Error as error:
        raise InvalidInput(f"line {rows.line_num}: {error}") from None


def listed_ids(texts: Sequence[str]) -> Ids:
    """The ids in a list, which is kept with what is to be said of it, so that duplicates count too. Raises
    InvalidInput, which names the problems by their places in it."""
    if len(texts) > MOST_ITEMS:
        raise InvalidInput(f"{len(texts)} ids are more than {MOST_ITEMS}")
    return checked_ids([_Cell(f"ids[{place}]", text) for place, text in enumerate(texts)])


def checked_ids(cells: list[_Cell]) -> Ids:
    """The ids in cells. Raises InvalidInput."""
    first_seen: dict[int, str] = {}
    notes, problems = [], []
    for place, text in cells:
        id = id_of(text)
        if id is None:
            problems.append(f"{place}: {text[:40]!r} is no id" if text else f"{place}: there is no id")
            continue
        if not is_id(text):
            notes.append(f"{place}: {text} is read as {id}")
        if id in first_seen:
            notes.append(f"{place}: {id} is left out, for it is in {first_seen[id]} already")
        first_seen.setdefault(id, place)
    if len(first_seen) > MOST_ITEMS:
        problems.append(f"{len(first_seen)} ids are more than {MOST_ITEMS}")
    if problems:
        raise InvalidInput("; ".join(_some(problems)), data={"problems": problems[:MOST_PROBLEMS]})
    return Ids(tuple(first_seen), tuple(notes))


def id_of(text: str) -> int | None:
    """The id that a text means; None for none. Other programs write numbers: ``1e+07``, ``23.0``, ``007``."""
    if is_id(text):
        return int(text)
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if "_" in text or not text.isascii() or not number.is_finite() or not 0 <= number < 10**18:
        return None
    return int(number) if number == int(number) else None


def _cells(rows: Iterator[tuple[int, list[str]]], column: str | None) -> Iterator[_Cell]:
    place = 0
    for number, (line, row) in enumerate((line, row) for line, row in rows if any(map(str.strip, row))):
        if number == 0 and column is not None:
            place = _place_of(column, row)
            continue
        text = row[place].strip() if place < len(row) else ""
        if number > 0 or id_of(text) is not None:
            yield _Cell(f"line {line}", text)
        elif any(map(str.isdigit, text)):  # rather an id that is mistyped, which must not be left out
            yield _Cell(f"line {line}, no heading as it has digits", text)


def _place_of(column: str, head: list[str]) -> int:
    names = [name.strip().lower() for name in head]
    if column.strip().lower() not in names:
        raise InvalidInput(f"the file of ids has no column {column!r}; its first line names {', '.join(head)}")
    return names.index(column.strip().lower())


def _delimiter(lines: list[str]) -> str:
    head = next((line for line in lines if line.strip()), "")
    return max(",;\t", key=head.count)


def _some(problems: list[str]) -> list[str]:
    more = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], f"and {more} more"] if more > 0 else problems
