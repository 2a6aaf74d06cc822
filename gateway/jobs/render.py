"""A report as JSON, CSV and XLSX, all made of one document, which clients of the gateway can read back. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import chain, islice
from typing import Any

import msgspec

from gateway.errors import ConfigurationError
from gateway.jobs.checks import Difference
from gateway.jobs.report import UNKNOWN, Basis, Report

try:
    from xlsxwriter import Workbook  # at the start, as it takes long
    from xlsxwriter.exceptions import FileCreateError
except ImportError:
    Workbook, FileCreateError = None, OSError

HAS_XLSX = Workbook is not None
"""Whether the extra for workbooks is installed."""
Cell = int | str | None

NUMBERS_AT_ONCE = 32_768
BYTES_AT_ONCE = 256 * 1024
"""What one call encodes or decodes at most, give or take a row. Such a call keeps all other threads waiting, and
the event loop with them: these take some 2 ms, while a report may have 1,500,000 numbers and 10 MB."""


class ColumnView(msgspec.Struct, omit_defaults=True, rename={"first": "from", "last": "to"}):
    """A column, and what it rests on; see ``gateway.jobs.report.Basis``. Times are in UTC, ``age`` is the oldest
    answer's when the report was made, in seconds."""

    name: str
    counter: str
    period: str
    method: str
    checked: int = 0
    first: date | None = None
    last: date | None = None
    oldest: datetime | None = None
    newest: datetime | None = None
    age: float | None = None
    partial: bool = False
    why: str = ""
    difference: Difference | None = None


class RowView(msgspec.Struct, omit_defaults=True, gc=False):
    """An item, its numbers by column, null where there is none, and why so."""

    id: int
    values: tuple[int | None, ...]
    problem: str = ""


class Document(msgspec.Struct, omit_defaults=True, rename={"first": "from", "last": "to"}):
    """A report as clients get it; without ``rows`` it is what lies beside a CSV."""

    institution: str
    item: str
    by: str
    made: datetime
    columns: list[ColumnView]
    items: int
    failed: int = 0
    first: date | None = None
    last: date | None = None
    notes: list[str] = []
    rows: list[RowView] = []


def document(report: Report, notes: Sequence[str] = ()) -> Document:
    """The document of a report; ``notes`` are what is to be said about its order."""
    request = report.request
    return Document(
        institution=request.institution,
        item=request.item,
        by=request.by,
        made=_moment(report.made),
        columns=[_column(report, basis) for basis in report.columns],
        items=len(report.ids),
        failed=len(report.failures),
        first=request.first,
        last=request.last,
        notes=[*notes],
        rows=list(_rows(report)),
    )


def as_json(found: Document) -> bytes:
    """The document with all that is in it, its rows last."""
    head, rows = _encode(msgspec.structs.replace(found, rows=[])), iter(found.rows)
    at_once = max(1, NUMBERS_AT_ONCE // max(1, len(found.columns)))
    parts = [_encode(part)[1:-1] for part in iter(lambda: [*islice(rows, at_once)], [])]
    return b"".join([head[:-1], ROWS, b",".join(parts), b"]}"]) if parts else head


def document_of(body: bytes) -> Document:
    """The document of what ``as_json`` made. Raises msgspec.DecodeError."""
    found, rows = _parted(body)
    found.rows = list(chain.from_iterable(map(_decode_rows, rows)))
    return found


ROWS, NEXT_ROW = b',"rows":[', b',{"id":'
"""Where the rows and each further one begin. A text holds neither, as the quotation marks in it are escaped, and a
column's ``id`` follows no comma."""
_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(Document).decode
_decode_rows = msgspec.json.Decoder(list[RowView]).decode


def _parted(body: bytes) -> tuple[Document, Iterator[bytes]]:
    """The document without its rows, and these in lists that are each decoded at once."""
    head, rows, tail = body.partition(ROWS)
    return _decode_head(head + b"}" if rows else head), _lists(tail.removesuffix(b"]}"))


def _lists(rows: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(rows):
        end = rows.find(NEXT_ROW, at + BYTES_AT_ONCE)
        end = len(rows) if end < 0 else end
        yield b"[%b]" % rows[at:end]
        at = end + 1


def sidecar(body: bytes) -> bytes:
    """What lies beside a CSV, for people to read: all of the JSON but the rows."""
    return msgspec.json.format(_encode(_parted(body)[0]), indent=2) + b"\n"


def as_csv(found: Document) -> Iterator[str]:
    """Lines by RFC 4180: the names of the columns, then an item each. The last column names the problem of an item
    that failed; a cell without a number is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    for line in _lines(found):
        writer.writerow(line)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def as_xlsx(found: Document) -> bytes:
    """A workbook: the table on its first sheet, what the columns rest on on its second.

    Raises ConfigurationError where the extra ``xlsx`` is not installed, or temporary files cannot be written.
    """
    if Workbook is None:
        raise ConfigurationError("XLSX needs an extra: pip install 'stats-gateway[xlsx]'")
    buffer = io.BytesIO()
    # Rows go out as they are written. No text may become a link or a formula.
    options = {"constant_memory": True, "strings_to_urls": False, "strings_to_formulas": False}
    try:
        with Workbook(buffer, options) as book:
            bold = book.add_format({"bold": True})
            for name, lines in (("Report", _lines(found)), ("Columns", _column_lines(found))):
                sheet = book.add_worksheet(name)
                sheet.freeze_panes(1, 1)
                for number, line in enumerate(lines):
                    sheet.write_row(number, 0, line, bold if number == 0 else None)
    except (OSError, FileCreateError):
        raise ConfigurationError("There is no room for the temporary files of a workbook") from None
    return buffer.getvalue()


def _lines(found: Document) -> Iterator[list[Cell]]:
    yield ["id", *(column.name for column in found.columns), "problem"]
    for row in found.rows:
        yield [row.id, *row.values, row.problem]


def _column_lines(found: Document) -> Iterator[list[Cell]]:
    """Each column on a line, with the names that the JSON has."""
    views: list[dict[str, Any]] = [msgspec.to_builtins(column) for column in found.columns]
    names = list(ColumnView.__struct_encode_fields__)
    yield [*names]
    for view in views:
        yield [_flat(view.get(name)) for name in names]


def _flat(value: Any) -> Cell:
    match value:
        case dict():
            return ", ".join(f"{name}: {each}" for name, each in value.items())
        case bool():
            return "yes" if value else ""
        case float():
            return round(value)
        case _:
            return value  # type: ignore[no-any-return]


def _rows(report: Report) -> Iterator[RowView]:
    for id, values in zip(report.ids, zip(*report.rows, strict=True), strict=True):
        known = [None if value == UNKNOWN else value for value in values]
        yield RowView(id, tuple(known), report.failures.get(id, ""))


def _column(report: Report, basis: Basis) -> ColumnView:
    counter, period = basis.column
    return ColumnView(
        name=counter if report.request.by == "total" else f"{counter} {period.name}",
        counter=counter,
        period=period.name,
        method=basis.method,
        checked=basis.checked,
        first=period.first,
        last=period.last,
        oldest=None if basis.oldest is None else _moment(basis.oldest),
        newest=None if basis.newest is None else _moment(basis.newest),
        age=None if basis.oldest is None else max(0.0, report.made - basis.oldest),
        partial=basis.partial,
        why=basis.why,
        difference=basis.difference,
    )


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
