"""The documents of a report: what people open, and what programs read back."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from datetime import UTC, date, datetime
from typing import Any
from unittest.mock import Mock
from xml.etree import ElementTree

import msgspec
import pytest

from gateway.errors import ConfigurationError
from gateway.jobs import render
from gateway.jobs.checks import Difference
from gateway.jobs.columns import item_target
from gateway.jobs.render import (
    ColumnView,
    Document,
    RowView,
    as_csv,
    as_json,
    as_xlsx,
    document,
    document_of,
    sidecar,
)
from gateway.jobs.report_api import FORMATS, FormatUnavailable
from tests.jobs.sandboxed import NOW, Sandboxed, reported, wish

MONTHS = {"by": "month", "first": date(2016, 2, 1), "last": date(2016, 3, 20), "counters": ("views", "shares")}
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


async def made(**fields: Any) -> Document:
    """A report in which one item has no shares, and shares have no ranking."""
    request = wish(70, **MONTHS | fields)
    asker = Sandboxed({"items": 50})
    asker.answers = {"/lboro/top/shares/article?count=10000&start_date=2016-02-01&end_date=2016-02-29": (403, b""),
                     item_target(request, "shares", 7): (503, b"")}  # fmt: skip
    return document(await reported(asker, request), ["line 3: 1e+07 is read as 10000000"])


async def test_json_has_the_numbers_and_what_each_column_rests_on() -> None:
    found = await made()
    read = json.loads(as_json(found))
    assert (read["institution"], read["by"], read["from"], read["to"]) == (
        "lboro",
        "month",
        "2016-02-01",
        "2016-03-20",
    )
    assert [column["name"] for column in read["columns"]] == [
        "views 2016-02",
        "views 2016-03",
        "shares 2016-02",
        "shares 2016-03",
    ]
    views, shares = read["columns"][1], read["columns"][2]
    assert (views["method"], views["checked"], views["partial"]) == ("ranking", 20, True)
    assert (views["from"], views["to"]) == ("2016-03-01", "2016-03-20")
    assert shares["method"] == "each"
    assert shares["why"] == "the ranking of shares was answered 403"
    assert read["failed"] == 1
    assert read["rows"][6]["values"][2:] == [None, None]
    assert read["rows"][6]["problem"] == "shares: answered 503"
    assert read["notes"] == ["line 3: 1e+07 is read as 10000000"]
    assert msgspec.json.decode(as_json(found), type=Document) == found


def large(rows: int) -> Document:
    """A document whose texts look like the joints of its JSON."""
    joints = '},{"id":1,"rows":[{"id":2}],"rows":[', ',"rows":[', ',{"id":'
    column = ColumnView(
        "views", "views", "total", "each", why=joints[0], difference=Difference(1, joints[1], 2, 3)
    )
    numbers = (*range(70), None, 1 << 48)
    views = [RowView(id, numbers, joints[id % 3] if id % 5 == 0 else "") for id in range(rows)]
    made = datetime(2016, 3, 15, tzinfo=UTC)
    return Document("lboro", "article", "total", made, [column] * 72, rows, notes=[*joints], rows=views)


@pytest.mark.parametrize("rows", [0, 1, 454, 455, 456, 3_000])
def test_json_made_and_read_in_parts_is_what_it_would_be_at_once(rows: int) -> None:
    found = large(rows)
    body = as_json(found)
    assert body == msgspec.json.encode(found)
    assert document_of(body) == found
    assert json.loads(sidecar(body)) == {name: value for name, value in json.loads(body).items() if name != "rows"}


def test_no_call_makes_or_reads_much_of_a_large_report_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encode, decode, sizes = render._encode, render._decode_rows, list[int]()

    def encoding(value: Any) -> bytes:
        sizes.append(72 * len(value) if isinstance(value, list) else 72 * len(value.rows))
        return encode(value)

    def decoding(body: bytes) -> list[RowView]:
        read.append(len(body))
        return decode(body)

    read: list[int] = []
    monkeypatch.setattr(render, "_encode", encoding)
    monkeypatch.setattr(render, "_decode_rows", decoding)
    body = as_json(large(3_000))
    document_of(body)
    assert (len(sizes) > 5, max(sizes) <= render.NUMBERS_AT_ONCE) == (True, True)
    assert (len(read) > 2, max(read) <= render.BYTES_AT_ONCE + 1_000) == (True, True)


async def test_csv_has_a_row_an_item_and_names_failures_in_its_last_column() -> None:
    found = await made()
    text = "".join(as_csv(found))
    assert text.startswith("id,views 2016-02,views 2016-03,shares 2016-02,shares 2016-03,problem\r\n")
    assert text.count("\r\n") == text.count("\n") == 71
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[7][3:] == ["", "", "shares: answered 503"]
    for row, expected in zip(rows[1:], found.rows, strict=True):
        assert row[:3] == [str(expected.id), *map(str, expected.values[:2])]


async def test_a_sidecar_has_all_but_the_rows() -> None:
    found = await made()
    whole = json.loads(as_json(found))
    read = json.loads(sidecar(as_json(found)))
    assert read == {name: value for name, value in whole.items() if name != "rows"}


def cells(book: zipfile.ZipFile, sheet: int) -> list[list[str | None]]:
    """The texts of a sheet's cells; constant memory writes them in place."""
    tree = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))
    return [["".join(cell.itertext()) or None for cell in row] for row in tree.iter(f"{SHEET}row")]


async def test_xlsx_has_the_table_and_on_a_second_sheet_what_it_rests_on() -> None:
    pytest.importorskip("xlsxwriter")
    found = await made()
    found.rows[0].problem = "=1+1"
    with zipfile.ZipFile(io.BytesIO(as_xlsx(found))) as book:
        table, columns = cells(book, 1), cells(book, 2)
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
    assert table[0] == ["id", *(column.name for column in found.columns), "problem"]
    assert table[1][:3] == ["1", *map(str, found.rows[0].values[:2])]
    assert table[7][-1] == "shares: answered 503"
    assert len(table) == 71
    assert [row[0] for row in columns] == ["name", *(column.name for column in found.columns)]
    assert "the ranking of shares was answered 403" in columns[3]


async def test_without_its_extra_xlsx_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "Workbook", None)
    with pytest.raises(ConfigurationError, match=r"stats-gateway\[xlsx\]"):
        as_xlsx(await made())


async def test_a_workbook_without_room_for_its_files_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xlsxwriter")
    body = as_json(await made())
    monkeypatch.setattr(tempfile, "mkstemp", Mock(side_effect=OSError))
    with pytest.raises(FormatUnavailable, match="no room"):
        FORMATS["xlsx"].render(body)


async def test_a_difference_shows_both_numbers() -> None:
    asker = Sandboxed({"items": 50, "top_error": 0.2})
    found = document(await reported(asker, wish(70, counters=("views",))))
    [column] = json.loads(as_json(found))["columns"]
    assert (column["name"], column["period"], column["method"]) == ("views", "total", "each")
    assert column["difference"]["item"] > column["difference"]["ranking"]
    assert column["age"] == 0  # it was asked for after the report was begun
    assert found.made.timestamp() == NOW
