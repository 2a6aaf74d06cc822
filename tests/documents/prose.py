"""The language of the pages: how long their sentences are, which words they use, and in which order.

``python -m tests.documents.prose`` prints what to change, and exits with 1 if there is anything. The measures are
few and plain, so they need no library: readability scores count syllables, which says little of technical text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.documents.pages import FENCE, ROOT

AVERAGE, LONGEST = 20, 35
"""Words a sentence: on average over a page's running text, and at most, in tables too."""
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "helm/stats-gateway/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

UNUSED = (
    r"tells|told|whoever|whosoever|errands?|pilots?|befalls?|befell|amiss|anew|heeds?|heeded|in vain|of late|"
    r"say after|bears? on|likewise|a no|a whole|lands?|landed|sees to it|at hand|mends?|mended|lest|whence|"
    r"(?:nobody|anybody|somebody)(?: else)?'s"
)
"""Words of a private or dated language. Each has a plain one: says, fixes, again, fails, obeys, recently."""
UNUSED_WORD = re.compile(rf"\b(?:{UNUSED})\b", re.IGNORECASE)
INVERTED = re.compile(
    r"(?:As|Of|In|To|By|With|From|For|At|On|Beside) whose\b|Of (?!course\b)|Who(?:se)? [^?]*$|Whatever |Nor |"
    r"(?:So|Neither) (?:do|does|did|is|are|was|has|have|can) |Only (?:then|so|there) (?:do|does|is|are|can|may) "
)
"""How a sentence does not begin: a subject, a verb and an object are what a reader looks for."""

ELEMENT = re.compile(r"<!--.*?-->|<[a-zA-Z/][^>]*>", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
SPAN = re.compile(r"``?[^`]+``?")
ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+|^>\s?", re.MULTILINE)
END = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_\[]*[A-Z0-9‹])")
RULE = re.compile(r"[\s:|-]+")


def plain(text: str) -> str:
    """Markdown as running text: a span of code is one word, ``‹code›``, and a link is its text."""
    return LINK.sub(r"\1", SPAN.sub("‹code›", ELEMENT.sub("", text)))


def paragraphs(page: str) -> Iterator[tuple[bool, str]]:
    """The parts of a page that are read on their own, each with whether it is a table's cell; without headings and
    blocks of code."""
    for part in re.split(r"\n\s*\n", FENCE.sub("", page)):
        lines = [line for line in part.splitlines() if not line.startswith("#")]
        rows = [line for line in lines if line.startswith("|") and not RULE.fullmatch(line)]
        for cell in (cell for row in rows for cell in re.split(r"(?<!\\)\|", plain(row)) if cell.strip()):
            yield True, cell.strip()
        text = "\n".join(line for line in lines if not line.startswith("|"))
        yield from ((False, " ".join(plain(item).split())) for item in ITEM.split(text) if item.strip())


def sentences(page: str) -> Iterator[tuple[bool, str]]:
    """The sentences of a page, each with whether it is in a table."""
    for cell, paragraph in paragraphs(page):
        yield from ((cell, sentence) for sentence in END.split(paragraph) if words(sentence))


def words(sentence: str) -> int:
    """How many words a sentence has."""
    return sum(any(character.isalnum() for character in word) for word in sentence.split())


def faults(page: str) -> Iterator[str]:
    """What a reader would stumble over in a page."""
    found = list(sentences(page))
    lengths = [words(sentence) for cell, sentence in found if not cell]
    if lengths and (mean := sum(lengths) / len(lengths)) > AVERAGE:
        yield f"its sentences have {mean:.1f} words on average, more than {AVERAGE}"
    for _, sentence in found:
        if (length := words(sentence)) > LONGEST:
            yield f"{length} words, more than {LONGEST}: {sentence}"
        if unused := UNUSED_WORD.search(sentence):
            yield f"uses “{unused[0]}”: {sentence}"
        if INVERTED.match(sentence):
            yield f"begins with “{' '.join(sentence.split()[:2])}”: {sentence}"


def main() -> int:
    """Print the faults of all pages, or of those that are named."""
    named = [Path(name).resolve() for name in sys.argv[1:]] or PAGES
    found = [f"{page.relative_to(ROOT)}: {fault}" for page in named for fault in faults(page.read_text())]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
