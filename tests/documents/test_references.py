"""The service's contract and the decisions are what the code and the other documents take them for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from tests.documents.pages import HEADING, ROOT, blocks, section

SERVICE = (ROOT / "docs" / "service.md").read_text()
DECISIONS = (ROOT / "docs" / "decisions.md").read_text()
ROWS = tomllib.loads((ROOT / "tests" / "data" / "contract.toml").read_text())["rows"]
SOURCES = [
    *sorted((ROOT / "gateway").rglob("*.py")),
    *sorted((ROOT / "gateway").rglob("*.lua")),
    *sorted((ROOT / "tests").rglob("*.py")),
]


def references(page: str) -> Iterator[tuple[str, str]]:
    """Where a source refers to a part of a page, and the text that names the part."""
    for source in SOURCES:
        text = " ".join(re.sub(r"^\s*(?:#|--) ?", "", line).strip() for line in source.read_text().splitlines())
        for found in re.finditer(rf"docs/{re.escape(page)}, (.{{1,40}})", text):
            yield source.relative_to(ROOT).as_posix(), found[1]


def test_sections_of_the_contract_that_the_code_refers_to_are_there() -> None:
    names = tuple(heading[2] for heading in HEADING.finditer(SERVICE))
    assert {"Endpoints", "Query semantics", "Answers", "Errors", "Documented examples"} <= set(names)
    assert [reference for reference in references("service.md") if not reference[1].startswith(names)] == []


def test_decisions_that_the_code_refers_to_are_there() -> None:
    numbers = {heading[2].partition(".")[0] for heading in HEADING.finditer(DECISIONS)}
    assert [
        (source, text)
        for source, text in references("decisions.md")
        if (found := re.match(r"\d+", text)) is None or found[0] not in numbers
    ] == []


def test_decisions_are_in_order_and_numbered_once() -> None:
    numbers = [int(found[1]) for found in re.finditer(r"^## (\d+)\. ", DECISIONS, re.MULTILINE)]
    assert numbers == sorted(set(numbers))


def test_examples_of_the_contract_are_those_that_the_sandbox_and_the_gateway_are_tested_with() -> None:
    rows = {(row["target"], row.get("auth", "–"), row["body"]) for row in ROWS}
    table = section(SERVICE, "Documented examples")
    examples = set(re.findall(r"^\| `(/[^`]+)` \| ([\w–]+) \| `([^`]+)` \|$", table, re.MULTILINE))
    assert len(examples) == 13
    assert examples <= rows


def test_errors_of_the_contract_are_tested_too() -> None:
    errors = section(SERVICE, "Errors")
    bodies = blocks(errors, "json")
    targets = re.findall(r"`GET (/[^`]+)`", errors)
    assert len(targets) == len(bodies) == 3
    found = {(row["target"], row["body"] + "\n") for row in ROWS}
    assert set(zip(targets, bodies, strict=True)) <= found
