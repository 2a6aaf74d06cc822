"""The options of ``serve``: settings that a command line may give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.registry import place_of
from gateway.settings import Settings, load_settings

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
