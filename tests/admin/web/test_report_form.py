"""The form that orders a report: what its fields make, and where its errors belong."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.jobs import TenantReportBody
from gateway.admin.web.forms import Upload
from gateway.admin.web.report_form import CHOICES, FieldError, Fields, Problem, fields_of, order_of, problem_of
from gateway.errors import Forbidden, GatewayError, InvalidInput, NoSuchRecord, RateLimited
from gateway.jobs.request import checked_order

TODAY = date(2026, 3, 17)


def fields(**more: Any) -> Fields:
    return Fields(**{"tenant": "lib", "institution": "lboro", "ids": "1\n2"} | more)


@pytest.mark.parametrize(
    ("window", "dates"),
    [
        ({"window": "last-year"}, {"from": "2025", "to": "2025"}),
        ({"window": "last-12-months"}, {"from": "2025-03", "to": "2026-02"}),
        ({"window": "this-year"}, {"from": "2026", "to": "2026-03-17"}),
        ({"window": "dates", "start": "2025-01", "end": "2025-02-03"}, {"from": "2025-01", "to": "2025-02-03"}),
        ({"window": "all-time", "start": "2025-01"}, {}),
    ],
)
def test_a_window_is_a_first_and_a_last_date(window: dict[str, str], dates: dict[str, str]) -> None:
    body = order_of(fields(**window), None, TODAY).body
    assert {name: body[name] for name in ("from", "to") if name in body} == dates
    checked_order(msgspec.convert(body, TenantReportBody))


def test_a_file_takes_the_place_of_what_is_typed_and_what_is_read_otherwise_is_said_by_line() -> None:
    file = Upload("items.csv", b"\xef\xbb\xbfname;id\nA;1e1\nB;7\nC;7\n")
    ordered = order_of(fields(id_column="id"), file, TODAY)
    assert ordered.body["ids"] == [10, 7]
    assert ordered.notes == ["line 2: 1e1 is read as 10", "line 4: 7 is left out, for it is in line 3 already"]
    assert order_of(fields(which="all", ids="x"), None, TODAY).body["ids"] == "all"


@pytest.mark.parametrize(
    ("more", "file", "problem"),
    [
        ({"ids": "1\nx\n\n2 3"}, None, Problem("ids", ["line 2: 'x' is no id", "line 4: '2 3' is no id"])),
        ({"ids": ""}, None, Problem("ids", ["There are no items: type their ids, choose a file, or take all"])),
        ({}, b"id\n1\nx\n", Problem("file", ["line 3: 'x' is no id"])),
        ({}, b"\xff1\n", Problem("file", ["line 1: the file of ids is not UTF-8"])),
        ({"tenant": ""}, None, Problem("tenant", ["Choose whose request it is"])),
        ({"institution": ""}, None, Problem("institution", ["Choose whose items are counted"])),
        ({"counters": ()}, None, Problem("counters", ["Choose one at least"])),
        ({"by": "day"}, None, Problem("window", ["Columns by year, month or day need a window"])),
        ({"window": "dates", "end": "2025"}, None, Problem("start", ["A window has a first and a last date"])),
        ({"max_calls": "1e3"}, None, Problem("max_calls", ["A whole number from 1 to 999,999,999, or nothing"])),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_at_its_field(
    more: dict[str, Any], file: bytes | None, problem: Problem
) -> None:
    with pytest.raises(FieldError) as error:
        order_of(fields(**more), None if file is None else Upload("f.csv", file), TODAY)
    assert problem_of(error.value) == problem


def test_a_key_among_the_ids_is_shown_to_nobody() -> None:
    key = "sgw_aaaaaaaaaa_" + "b" * 43
    for upload in (None, Upload("f.csv", f"1\n{key}\n".encode())):
        with pytest.raises(FieldError) as error:
            order_of(fields(ids=f"1\n{key}"), upload, TODAY)
        assert "bbbb" not in str(problem_of(error.value))


def test_many_problems_are_some_lines_and_how_many_more() -> None:
    with pytest.raises(FieldError) as error:
        order_of(fields(ids="\n".join(["1", *["x"] * 30])), None, TODAY)
    assert (len(error.value.problem.lines), error.value.problem.lines[-1]) == (21, "and 10 more")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (InvalidInput("from, to: 2026 is after 2025"), Problem("start", ["2026 is after 2025"])),
        (InvalidInput("to: '2025-13' is no date"), Problem("end", ["'2025-13' is no date"])),
        (
            Forbidden("Unauthorized request"),
            Problem("institution", ["This tenant may not ask for this institution"]),
        ),
        (NoSuchRecord("there is no such tenant"), Problem("tenant", ["there is no such tenant"])),
        (InvalidInput("the report cannot be read: no"), Problem("", ["the report cannot be read: no"])),
        (RateLimited("from: too many", retry_after=1, headers=[]), Problem("", ["from: too many"])),
    ],
)
def test_an_error_of_the_order_belongs_to_the_field_that_it_names(error: GatewayError, problem: Problem) -> None:
    assert problem_of(error) == problem


@given(st.dictionaries(st.sampled_from([*Fields.__dataclass_fields__, "counter_views"]), st.text(max_size=30)))
def test_whatever_a_form_sends_is_an_order_or_an_error_at_a_field(form: dict[str, str]) -> None:
    found = fields_of(form)
    assert all(getattr(found, name) in CHOICES[name] for name in CHOICES if name != "counters")
    problem = None
    try:
        order_of(found, None, TODAY)
    except FieldError as error:
        problem = error.problem
    assert problem is None or problem.field in Fields.__dataclass_fields__


def test_the_fields_of_a_plan_order_the_same() -> None:
    planned = fields(counters=("views", "shares"), by="month", window="last-year", max_calls="9", id_column="id")
    again = fields_of(planned.hidden)
    assert again == Fields(
        **{name: getattr(planned, name) for name in Fields.__dataclass_fields__} | {"id_column": ""}
    )
