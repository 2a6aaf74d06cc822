"""Commands and groups of them, whose help reads well at 80 columns."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import typer
from rich.markup import escape
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from gateway.tenants.schema import check_no_key

Function = TypeVar("Function", bound=Callable[..., Any])

PANELS: Mapping[str, tuple[str, ...]] = {
    "Serving": ("serve", "demo", "sandbox"),
    "Tenants and keys": ("tenant", "key", "secrets"),
    "Operating": ("doctor", "health", "config", "purge", "gate", "breaker"),
    "Looking": ("top", "usage", "explain", "explore", "queue", "settings"),
}
"""The commands in the order in which the help shows them; those of no panel come first."""


class Command(TyperCommand):
    """A command whose docstring may be laid out as the source wants it."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        attributes["help"] = reflowed(attributes.get("help") or "")
        super().__init__(name, **attributes)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's; an error always knows which command was meant."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            error.ctx = getattr(error, "ctx", None) or ctx  # type: ignore[attr-defined]
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, plain to read."""
        return _plain(super().get_params(ctx))


class Group(TyperGroup):
    """Commands, in panels where ``PANELS`` names them."""

    def __init__(self, *, name: str | None = None, **attributes: Any) -> None:
        attributes["help"] = reflowed(attributes.get("help") or "")
        super().__init__(name=name, **attributes)

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, plain to read."""
        return _plain(super().get_params(ctx))


class MainGroup(Group):
    """The command itself, with everything that it can do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's. Raises ConfigurationError for a key among what was typed, before anything repeats it: the
        command line is visible to every user of the machine, and no command takes one there."""
        for text in args:
            check_no_key(text, "an argument")
        return super().parse_args(ctx, args)

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        order = [name for names in PANELS.values() for name in names]
        self.commands = dict(sorted(self.commands.items(), key=lambda each: _place(order, each[0])))
        for panel, names in PANELS.items():
            for command in (self.commands[name] for name in names if name in self.commands):
                command.rich_help_panel = panel  # type: ignore[attr-defined]


class Commands(typer.Typer):
    """A typer app of these commands and groups; without a command it shows its help."""

    def __init__(self, *, cls: type[TyperGroup] = Group, **attributes: Any) -> None:
        super().__init__(cls=cls, no_args_is_help=True, **attributes)

    def command(self, *args: Any, **attributes: Any) -> Callable[[Function], Function]:
        """As typer's."""
        return super().command(*args, **{"cls": Command} | attributes)


def examples(*lines: str, title: str = "Examples") -> str:
    """What stands below a command's help: lines to type, word for word."""
    # typer takes away what all lines but the first are indented by; the first is therefore empty
    return escape("\n".join(["", f"{title}:", *(f"  {line}" for line in lines)]))


def reflowed(text: str) -> str:
    """A docstring's paragraphs, each on one line, so that the terminal breaks them; of code only the words."""
    paragraphs = inspect.cleandoc(text).replace("``", "").split("\n\n")
    return escape("\n\n".join(re.sub(r"\s*\n\s*", " ", paragraph) for paragraph in paragraphs))


def _plain(params: list[Any]) -> list[Any]:
    """Without the types of which the help would tell nothing new: a flag's, and that an argument is a text."""
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag and param.metavar is None:
            param.metavar = ""
        if isinstance(param, TyperArgument) and param.metavar is not None:
            param.display_type_rich = _no_type  # type: ignore[method-assign]
    return params


def _no_type(ctx: Any) -> str:
    return ""


def _place(order: list[str], name: str) -> int:
    return order.index(name) if name in order else -1
