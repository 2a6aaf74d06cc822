"""Whatever a page names is there: commands and their options, make targets, files, and where its links lead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from gateway.cli import app
from tests.documents.pages import FENCE, HEADING, PAGES, ROOT, SPAN, lines_to_type

COMMANDS: Any = typer.main.get_command(app)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMES = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES]
PLACES = ("gateway", "tests", "benchmarks", "docs")
SOURCE = re.compile(r"(?:[a-z_]+/)*[a-z_]+\.(?:py|lua|js)")
PATHS = re.compile(r"(?:tests|benchmarks|docs|gateway|helm)/[\w./-]+")


def typed(page: Path) -> Iterator[list[str]]:
    """The words after ``stats-gateway`` of each command, without pipes, redirections and what surrounds them."""
    for line in lines_to_type(page.read_text()):
        if not re.search(r"(?:^|[\s|;&(=])stats-gateway [a-z-]", line):
            continue
        words = shlex.split(line.replace("$(", " ").replace(")", " "), comments=True)
        words = words[words.index("stats-gateway") + 1 :]
        ends = [words.index(sign) for sign in ("|", "<", ">", "…", "&&") if sign in words]
        yield words[: min(ends, default=None)]


@pytest.mark.parametrize("page", NAMES)
def test_commands_and_their_options_are_there(page: Path) -> None:
    for words in typed(page):
        group, rest = COMMANDS, list(words)
        while isinstance(group, TyperGroup) and rest and not rest[0].startswith("-"):
            assert rest[0] in group.commands, words
            group = group.commands[rest.pop(0)]
        known = {"--help"} | {name for each in group.params for name in (*each.opts, *each.secondary_opts)}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, words


@pytest.mark.parametrize("page", NAMES)
def test_addresses_with_a_query_are_quoted(page: Path) -> None:
    """zsh takes a bare ``?`` for a pattern, and refuses the line where no file is like it."""
    for line in lines_to_type(page.read_text()):
        if line.startswith("curl "):
            assert not re.search(r"(?<![\"'\w])https?://\S*\?", line), line


@pytest.mark.parametrize("page", NAMES)
def test_make_targets_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in lines_to_type(page.read_text()):
        if found := re.match(r"make ([a-z-]+)", line):
            assert found[1] in targets, line


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", NAMES)
def test_files_it_names_are_there(page: Path) -> None:
    for span in SPAN.findall(FENCE.sub("", page.read_text())):
        if PATHS.fullmatch(span) and (ROOT / span.partition("/")[0]).is_dir():
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize("page", NAMES)
def test_files_of_rooms_it_names_are_there(page: Path) -> None:
    """Design pages name files by their room, ``cache/store.py``, or alone, ``put.lua``."""
    there = [file.as_posix() for place in PLACES for file in (ROOT / place).rglob("*")]
    for span in SPAN.findall(FENCE.sub("", page.read_text())):
        if SOURCE.fullmatch(span):
            assert any(f"/{file}".endswith(f"/{span}") for file in there), span


def anchors(text: str) -> set[str]:
    """The fragments that headings can be reached by, as forges make them."""
    bare = [re.sub(r"[^\w\- ]", "", heading[2].lower()) for heading in HEADING.finditer(FENCE.sub("", text))]
    return {each.strip().replace(" ", "-") for each in bare}


def test_what_is_looked_for_is_found() -> None:
    assert sum(1 for page in PAGES for _ in typed(page)) > 40
    assert ["tenant", "import", "all.toml"] in list(typed(ROOT / "docs" / "commands.md"))
