"""Whether scheduled warmings can run: the doctor says so before they are due."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.doctor.finding import State
from gateway.admin.doctor.warming import warming_findings
from gateway.settings import Settings
from gateway.tenants.schema import read_tables

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


def told(file: Path, **fields: Any) -> list[tuple[str, State, str]]:
    warm = {"nightly": {"tenant": "lib", **({} if "template" in fields else {"file": str(file)}), **fields}}
    tables = read_tables({"tenants": {"lib": {}, "gone": {"enabled": False}}})
    found = warming_findings(tables, Settings.model_validate({"warm": warm}), NOW)
    return [(each.check, each.state, each.what) for each in found]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "list"
    path.write_text("/total/views/article/1\n/total/views/article/2\n")
    return path


def test_a_warming_that_can_run_says_when(file: Path) -> None:
    what = "warming nightly has 2 targets, due next on 2030-02-01 02:30 UTC"
    assert told(file) == [("warming.lists", State.OK, what)]


@pytest.mark.parametrize(
    ("tenant", "why"), [("nobody", "there is no tenant 'nobody'"), ("gone", "tenant 'gone' is disabled")]
)
def test_a_tenant_who_may_not_ask_is_a_warning(file: Path, tenant: str, why: str) -> None:
    finding, _ = told(file, tenant=tenant)
    assert finding == ("warming.tenants", State.WARNING, f"warming nightly cannot run: {why}")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "list cannot be read: FileNotFoundError"),
        (b"\xff", "list cannot be read: UnicodeDecodeError"),
        (b"\n", "These are 0 targets"),
        (b'{"template": "/{id}"}', "id: The template needs a list of values"),
    ],
)
def test_a_list_that_cannot_be_used_is_a_warning(file: Path, content: bytes | None, why: str) -> None:
    file.unlink() if content is None else file.write_bytes(content)
    ((check, state, what),) = told(file)
    assert (check, state) == ("warming.lists", State.WARNING)
    assert why in what


def test_a_template_that_serve_refuses_is_a_problem(file: Path) -> None:
    ((check, state, what),) = told(file, template="/{id}")
    assert (check, state) == ("warming.lists", State.PROBLEM)
    assert what.startswith("warm.nightly.template: id: ")


def test_without_warmings_there_is_nothing_to_say() -> None:
    assert list(warming_findings({}, Settings(), NOW)) == []
