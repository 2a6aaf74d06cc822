"""The project's pages: their sections, and what in them is to be typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "helm/stats-gateway").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


def blocks(page: str, language: str = "") -> list[str]:
    """The fenced blocks of a page, or of a part of it; all of them, or those of one language."""
    return [text for name, text in FENCE.findall(page) if language in ("", name)]


def section(page: str, heading: str) -> str:
    """What is under a heading, up to the next of its rank or above."""
    headings = list(HEADING.finditer(page))
    (at,) = [number for number, found in enumerate(headings) if found[2] == heading]
    after = [found.start() for found in headings[at + 1 :] if len(found[1]) <= len(headings[at][1])]
    return page[headings[at].end() : after[0] if after else len(page)]


def lines_to_type(page: str) -> Iterator[str]:
    """Lines of blocks, continued ones joined, and spans in the text."""
    for block in blocks(page):
        yield from block.replace("\\\n", " ").splitlines()
    for span in SPAN.findall(FENCE.sub("", page)):
        yield " ".join(span.split())
