"""Results: what a benchmark found, as plain values that travel as JSON and are shown as text or Markdown."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field


class Column(Struct, frozen=True):
    """A figure of each row: its key in ``Row.samples``, its heading with the unit, its digits after the point."""

    key: str
    heading: str
    digits: int = 0


class Row(Struct, frozen=True):
    """What one contender did: by column, a sample for each round. ``note`` says what the reader should mind."""

    contender: str
    samples: dict[str, list[float]]
    case: str = ""
    note: str = ""


class Table(Struct, frozen=True):
    """One measurement. ``about`` is what it is, in a sentence or two."""

    name: str
    title: str
    about: str
    columns: list[Column]
    rows: list[Row]

    def samples(self, contender: str, column: str, case: str = "") -> list[float]:
        """One figure of one row, by round; nothing where there is no such row."""
        for row in self.rows:
            if (row.contender, row.case) == (contender, case):
                return row.samples.get(column, [])
        return []


class Ratio(Struct, frozen=True):
    """How two figures stand to each other, by round; the aim is at least or at most ``goal``, if there is one."""

    name: str
    samples: list[float]
    goal: float | None = None
    at_least: bool = True
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None where there is none."""
        if self.goal is None:
            return None
        median = statistics.median(self.samples)
        return median >= self.goal if self.at_least else median <= self.goal


class Results(Struct, frozen=True):
    """A benchmark's run. ``date`` is ISO 8601; ``facts`` are the machine's, ``versions`` the contenders'.

    ``title`` and ``about`` (Markdown) introduce it on the page.
    """

    benchmark: str
    title: str
    about: str
    command: str
    date: str
    facts: dict[str, str]
    versions: dict[str, str]
    tables: list[Table]
    ratios: list[Ratio] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """As JSON, indented, so that a diff of two runs reads."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def read(path: Path) -> Results:
    """What ``write`` wrote. Raises ValidationError for anything else."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def made_by(target: str, words: Sequence[str]) -> str:
    """The command that a run was made by; where its results went is nobody's affair."""
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if "--json" not in (before, word) and not word.startswith("--json=")
    ]
    return f'make {target} ARGS="{shlex.join(kept)}"' if kept else f"make {target}"


def shown(samples: Sequence[float], digits: int = 0) -> str:
    """Median, and least to most where there are several: ``61,204 (58,111–62,480)``."""
    if not samples:
        return "–"
    median = f"{statistics.median(samples):,.{digits}f}"
    low, high = (f"{bound:,.{digits}f}" for bound in (min(samples), max(samples)))
    return median if low == high else f"{median} ({low}–{high})"


def cells(table: Table) -> list[list[str]]:
    """The table's heading and rows, as text."""
    cases = any(row.case for row in table.rows)
    heading = ["contender", *(["case"] if cases else []), *(column.heading for column in table.columns)]
    lines = [heading]
    for row in table.rows:
        figures = [shown(row.samples.get(column.key, []), column.digits) for column in table.columns]
        lines.append([row.contender, *([row.case] if cases else []), *figures])
    return lines


def ratio_cells(ratios: Sequence[Ratio]) -> list[list[str]]:
    """Heading and rows of the ratios."""
    lines = [["", "median (min–max)", "goal", "met"]]
    for ratio in ratios:
        goal = "" if ratio.goal is None else f"{'≥' if ratio.at_least else '≤'} {ratio.goal:g}{ratio.unit}"
        met = {None: "", True: "yes", False: "no"}[ratio.met]
        lines.append([ratio.name, shown(ratio.samples, 2) + ratio.unit, goal, met])
    return lines


def as_text(lines: Sequence[Sequence[str]]) -> str:
    """Columns one under another, the first to the left and the rest to the right."""
    widths = [max(len(line[each]) for line in lines) for each in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_markdown(lines: Sequence[Sequence[str]]) -> str:
    """The same as a table of Markdown."""
    heading, *rest = ["| " + " | ".join(line) + " |" for line in lines]
    rule = "|---" + "|---:" * (len(lines[0]) - 1) + "|"
    return "\n".join([heading, rule, *rest])
