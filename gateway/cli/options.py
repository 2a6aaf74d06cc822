"""Commands and groups of them, whose help reads well at 80 columns.

The options of ``serve``: settings that a command line may give.

What a shell may complete besides commands and options: ids of the registry's file.

Nothing here may fail, print or wait: a shell is waiting. A registry in Redis is not asked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from gateway.cli.registry import place_of
from gateway.settings import Settings, load_settings
from gateway.tenants.file_store import FileTables
from gateway.tenants.schema import TenantTable, check_no_key

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


LISTENING, SERVICE, CALLERS = "Listening", "The service", "Who may ask"


def _option(name: str, metavar: str, text: str, panel: str | None = None) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=panel)


Config = Annotated[Path | None, _option("--config", "FILE", "TOML file with settings.")]
Host = Annotated[str | None, _option("--host", "ADDRESS", "Address of the public listener.", LISTENING)]
Port = Annotated[int | None, _option("--port", "PORT", "Its port; 0 takes a free one.", LISTENING)]
AdminHost = Annotated[str | None, _option("--admin-host", "ADDRESS", "Address of the admin listener.", LISTENING)]
AdminPort = Annotated[int | None, _option("--admin-port", "PORT", "Its port; 0 takes a free one.", LISTENING)]
Workers = Annotated[
    int | None, _option("--workers", "N", "Worker processes; more than one needs Redis.", LISTENING)
]
DrainSeconds = Annotated[
    float | None, _option("--drain-seconds", "SECONDS", "Time between SIGTERM and closing.", LISTENING)
]
Upstream = Annotated[str | None, _option("--upstream", "URL", "Base URL of the statistics service.", SERVICE)]
Budget = Annotated[
    str | None, _option("--budget", "RATE", "How fast the fleet may ask: N/s, N/m, N/h or unlimited.", SERVICE)
]
BudgetBurst = Annotated[
    int | None, _option("--budget-burst", "N", "Upstream calls that may follow at once.", SERVICE)
]
RegistryFlag = Annotated[
    str | None, _option("--registry", "PLACE", "The registry: a file, or a Redis URL without password.", CALLERS)
]
AllowAnonymous = Annotated[
    bool | None,
    typer.Option(
        "--allow-anonymous/--no-allow-anonymous",
        help="Answer public queries without a key.",
        rich_help_panel=CALLERS,
    ),
]
AllowUnknownSettings = Annotated[
    bool | None,
    typer.Option(
        "--allow-unknown-settings",
        help="Start although a variable STATS_GATEWAY_… or a line of the file names no setting.",
        show_default=False,
    ),
]


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, by setting. Raises ConfigurationError for a registry's URL with a password."""
    place_of(flags.get("registry"))
    return {name: value for name, value in flags.items() if name in Settings.model_fields and value is not None}


def settings_of(config: Path | None, flags: dict[str, Any], *, strict: bool = False) -> Settings:
    """The effective settings, as ``load_settings`` gives them."""
    return load_settings(config, strict=strict, **given(flags))


MAX_BYTES = 4 * 1024 * 1024
"""A larger file takes longer to read than anybody wants to wait at a prompt."""
PLAIN = re.compile(r"[\w .,/-]*")
"""What a description may hold: zsh evaluates more of it than it should."""

Suggestions = list[tuple[str, str]]


def tenant_ids(ctx: typer.Context, incomplete: str) -> Suggestions:
    """The ids of the tenants, with their names."""
    return [
        (tenant_id, _bare(table.name)) for tenant_id, table in _tables(ctx) if tenant_id.startswith(incomplete)
    ]


def key_ids(ctx: typer.Context, incomplete: str) -> Suggestions:
    """The ids of the keys that are not revoked, with their tenants and labels."""
    return [
        (key_id, _bare(f"{tenant_id} {key.label}".strip()))
        for tenant_id, table in _tables(ctx)
        for key_id, key in table.keys.items()
        if key.revoked is None and key_id.startswith(incomplete)
    ]


def institutions(ctx: typer.Context, incomplete: str) -> Suggestions:
    """The institutions that any tenant has a credential for."""
    found = sorted({institution for _, table in _tables(ctx) for institution in table.institutions})
    return [(institution, "") for institution in found if institution.startswith(incomplete)]


def _tables(ctx: typer.Context) -> list[tuple[str, TenantTable]]:
    try:
        path = _registry_file(ctx)
        small = path is not None and path.is_file() and path.stat().st_size <= MAX_BYTES
        return list(FileTables(path).read().items()) if path is not None and small else []
    except Exception:
        return []


def _registry_file(ctx: typer.Context) -> Path | None:
    return load_settings(registry=ctx.params.get("registry")).registry_file


def _bare(text: str) -> str:
    return text if PLAIN.fullmatch(text) else ""
