"""The tables of docs/outcomes.md as cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.scripted_origin import MOODS

PAGE = Path(__file__).parents[2] / "docs" / "outcomes.md"
BUDGETS = ("free", "queued", "full")
GATE_CLOSED, REFUSED, TARGET_REFUSED = "gate-closed", "credential-refused", "target-refused"
ENTRIES = ("fresh", "swr", "sie", "too-old", "none")
BY_MOOD = {
    "The entry is fresh": ("fresh",),
    "The entry is stale, and may be served while it is refreshed": ("swr",),
    "The entry is stale, and may only stand in for a failure": ("sie",),
    "The entry is too old, or there is none": ("too-old", "none"),
}
BY_ENTRY = {
    "The gate is closed already": GATE_CLOSED,
    "The target is refused already": TARGET_REFUSED,
    "The credential is refused already": REFUSED,
}


@dataclass(frozen=True)
class Case:
    """A cell of the matrix and what the page says of it. ``source`` is ``the entry``, ``the service`` or the
    code of a refusal."""

    entry: str
    mood: str
    condition: str
    status: int
    source: str
    cache_status: str
    afterwards: frozenset[str]
    calls: int

    @property
    def name(self) -> str:
        return f"{self.entry}/{self.mood}/{self.condition}"


def cases() -> list[Case]:
    """Every case of the page's tables of entries, in its order."""
    return [case for heading, rows in _tables() for row in rows for case in _of(heading, row)]


def _tables() -> Iterator[tuple[str, list[list[str]]]]:
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        if lines and heading in (BY_MOOD | BY_ENTRY):
            yield heading, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _of(heading: str, row: list[str]) -> Iterator[Case]:
    if heading in BY_ENTRY:
        entries, answer, cache_status, calls = row
        for entry in _words(entries):
            yield _case(entry, "ok", BY_ENTRY[heading], answer, cache_status, "", calls)
        return
    moods, budgets, answer, cache_status, afterwards, calls = row
    for entry in BY_MOOD[heading]:
        for mood in sorted(MOODS) if moods == "any" else _words(moods):
            for budget in BUDGETS if budgets == "any" else _words(budgets):
                yield _case(entry, mood, budget, answer, cache_status, afterwards, calls)


def _case(
    entry: str, mood: str, condition: str, answer: str, cache_status: str, afterwards: str, calls: str
) -> Case:
    status, _, source = answer.partition(" ")
    return Case(
        entry,
        mood,
        condition,
        int(status),
        source.removeprefix("from ").strip("`"),
        cache_status.strip("`"),
        frozenset(afterwards.split(", ")) - {""},
        int(calls),
    )


def _words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)
