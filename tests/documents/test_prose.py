"""The pages are written in plain, short English, and what measures that finds what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents.pages import ROOT
from tests.documents.prose import AVERAGE, LONGEST, PAGES, faults, sentences

NAMES = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES]


@pytest.mark.parametrize("page", NAMES)
def test_a_page_is_plain_english(page: Path) -> None:
    assert list(faults(page.read_text())) == []


def sentence(length: int) -> str:
    return " ".join(["Word", *["word"] * (length - 1)]) + "."


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (sentence(LONGEST + 1), "36 words, more than 35"),
        (f"| a |\n|---|\n| {sentence(LONGEST + 1)} |", "36 words, more than 35"),
        (f"- {sentence(AVERAGE + 1)}\n- {sentence(AVERAGE)}", "20.5 words on average"),
        ("The log tells it.", "uses “tells”"),
        ("Ask whoever\nknows.", "uses “whoever”"),
        ("It is fine. As whose the call is made depends.", "begins with “As whose"),
        ("Of its day the call knows nothing.", "begins with “Of its"),
        ("| what |\n|---|\n| Who asks after a change gets the new answer |", "begins with “Who asks"),
    ],
)
def test_what_readers_stumble_over_is_found(page: str, fault: str) -> None:
    assert any(fault in found for found in faults(page)), list(faults(page))


@pytest.mark.parametrize(
    "page",
    [
        sentence(AVERAGE),
        f"{sentence(AVERAGE)} `see. This` {sentence(AVERAGE - 2)}",
        "Who asked? Of course the client did.",
        f"```\nThe log tells it to whoever asks. {sentence(50)}\n```",
        "Set `told=whoever`, and read [the page](told.md).",
    ],
)
def test_plain_sentences_and_code_are_left_alone(page: str) -> None:
    assert list(faults(page)) == []


def test_items_cells_and_paragraphs_end_sentences() -> None:
    page = (
        "# Title\n\nOne paragraph\n\n- first item\n- second item\n\n| head | row |\n|---|---|\n| a cell | more |"
    )
    assert [text for _, text in sentences(page)] == [
        *("One paragraph", "first item", "second item"),
        *("head", "row", "a cell", "more"),
    ]
