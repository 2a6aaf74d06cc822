"""The help, at the width of an ordinary terminal; and what is said of a wrong command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.markup import render
from typer.core import TyperGroup

from gateway.cli import app
from gateway.cli.options import PANELS, examples, reflowed
from gateway.cli.serve import FIRST_STEPS
from tests.cli.command import command, run

ROOT: Any = typer.main.get_command(app)
WIDTH = 80
ONE_LINE = 66


def commands(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group with the words that call it."""
    yield path, group
    if isinstance(group, TyperGroup):
        for name, each in group.commands.items():
            yield from commands(each, (*path, name))


ALL = [pytest.param(path, each, id=" ".join(path) or "alone") for path, each in commands()]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


@pytest.mark.parametrize(("path", "each"), ALL)
def test_help_fits_and_wraps_where_the_terminal_does(path: tuple[str, ...], each: Any) -> None:
    done = run(*path, "--help")
    assert done.code == 0
    lines = done.out.splitlines()
    assert max(len(line) for line in lines) <= WIDTH
    assert "<str>" not in done.out
    assert "<bool>" not in done.out
    assert "``" not in done.out
    assert "\\[" not in done.out


@pytest.mark.parametrize(("path", "each"), ALL)
def test_the_first_line_says_it_in_one(path: tuple[str, ...], each: Any) -> None:
    assert each.help, "every command says what it does"
    first = each.help.split("\n\n")[0]
    assert first.endswith(".")
    assert path == () or len(first) <= ONE_LINE


@pytest.mark.parametrize(("path", "each"), ALL)
def test_examples_are_commands_that_there_are(path: tuple[str, ...], each: Any) -> None:
    for words in lines_to_type(each.epilog or ""):
        group: Any = ROOT
        while isinstance(group, TyperGroup):
            group = group.commands[words.pop(0)]
        group.make_context("stats-gateway", words, help_option_names=["--help"])
        assert path == () or group.name in {*path, "export"}


def lines_to_type(epilog: str) -> Iterator[list[str]]:
    """The words after ``stats-gateway`` of each example; without redirections, pipes and what surrounds them."""
    for line in str(render(epilog)).replace("\\\n", " ").splitlines():
        words = shlex.split(line.replace("$(", " ").replace(")", " "), comments=True)
        if "stats-gateway" in words:
            words = words[words.index("stats-gateway") + 1 :]
            ends = [words.index(sign) for sign in ("|", "<", ">") if sign in words]
            yield words[: min(ends, default=None)]


def test_every_command_is_in_a_panel_and_the_panels_in_their_order() -> None:
    assert set(ROOT.commands) <= {name for names in PANELS.values() for name in names}
    said = run("--help").out
    places = [said.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert said.index("│ serve ") < said.index("│ demo ")


def test_alone_it_shows_the_first_steps() -> None:
    done = command(COLUMNS="80")
    assert done.code == 2
    for line in FIRST_STEPS:
        assert f"\n   {line}" in done.out
    assert done.err == ""


def test_every_group_alone_shows_its_help() -> None:
    for name in ("tenant", "key", "secrets", "gate", "breaker"):
        assert f"Usage: stats-gateway {name}" in run(name).out.replace("root", "stats-gateway")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("tenant", ""),
        ("tenat list", "No such command 'tenat'. Did you mean 'tenant'?; try: {} --help"),
        ("tenant add", "Missing argument 'ID'; try: {} tenant add --help"),
        ("serve --prot 1", "No such option: --prot (Possible options: --host, --port); try: {} serve --help"),
        ("serve --port x", "try: {} serve --help"),
        ("tenant show one two", "try: {} tenant show --help"),
        ("sandbox --rate", "Option '--rate' requires an argument; try: {} sandbox --help"),
    ],
)
def test_bad_usage_is_one_line_that_says_where_to_look(words: str, hint: str) -> None:
    done = command(*words.split(), COLUMNS="80")
    assert done.code == 2
    if hint:
        assert done.out == ""
        assert done.err.count("\n") == 1
        assert hint.format("stats-gateway") in done.err


def test_what_looks_like_markup_stands_as_it_is_written() -> None:
    assert str(render(examples("purge [all]"))).endswith("  purge [all]")
    assert str(render(reflowed("Says [so]\nand ``so``."))) == "Says [so] and so."
