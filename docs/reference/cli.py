"""The page of all commands, ``cli.md``, from the help of ``stats-gateway``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from rich.markup import render
from typer.core import TyperArgument, TyperGroup

from gateway.cli import app
from gateway.cli.options import PANELS

HEAD = """\
# Command reference

Made from the help of `stats-gateway` by `make reference`; a test compares the two. [Commands](commands.md) shows
common tasks. Every command also has `--help`.
"""
ROOT: Any = typer.main.get_command(app)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each command with the words that call it; groups only stand for theirs."""
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from commands(each, (*path, name))
        else:
            yield " ".join((*path, name)), each


def panel(name: str) -> str:
    """The heading under which ``--help`` lists a command."""
    return next(panel for panel, names in PANELS.items() if name.split()[0] in names)


def text(markup: str) -> str:
    """Help as Markdown: what a shell or a file would read in it is code."""
    plain = render(markup).plain
    return re.sub(r"(?<![\w`])(--[a-z][\w-]*|STATS_GATEWAY_\w+…?)", r"`\1`", plain)


def names(param: Any) -> str:
    """How a parameter is written: its names, and what its value is called."""
    if isinstance(param, TyperArgument):
        return f"`{param.metavar or param.human_readable_name.upper()}`"
    metavar = "" if param.is_flag else param.metavar or param.type.name.upper()
    spelt = [*param.opts, *param.secondary_opts]
    return ", ".join(f"`{f'{name} {metavar}'.rstrip()}`" for name in spelt)


def remarks(param: Any) -> str:
    """What a parameter is, and its default."""
    said = text(param.help or "").replace("|", "\\|")
    if isinstance(param, TyperArgument) and param.required:
        return f"{said} Required."
    shown = isinstance(param.default, str | int | float) and not isinstance(param.default, bool)
    return f"{said} Default: `{param.default}`." if shown and param.default != "" else said


def described(name: str, command: Any) -> Iterator[str]:
    """The section of one command."""
    yield f"\n### {name}\n"
    arguments = [param.metavar or "" for param in command.params if isinstance(param, TyperArgument)]
    yield "```\n" + " ".join(["stats-gateway", name, "[options]", *arguments]).rstrip() + "\n```\n"
    yield text(command.help or "")
    rows = [f"| {names(param)} | {remarks(param)} |" for param in command.params if param.name != "help"]
    if rows:
        yield "\n| argument or option | meaning |\n|---|---|\n" + "\n".join(rows)
    if command.epilog:
        title, _, lines = render(command.epilog).plain.strip().partition("\n")
        yield f"\n{title}\n\n```\n" + "\n".join(line.removeprefix("  ") for line in lines.splitlines()) + "\n```"


def page() -> str:
    """The page."""
    lines, last = [HEAD], ""
    for name, command in commands(ROOT):
        if panel(name) != last:
            last = panel(name)
            lines.append(f"\n## {last}")
        lines += described(name, command)
    return "\n".join(lines) + "\n"
