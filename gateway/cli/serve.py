"""``stats-gateway serve``."""

from __future__ import annotations

import inspect
from pathlib import Path

import typer
from pydantic import SecretStr

from gateway.cli.registry import place_of
from gateway.settings import PREFIX, Settings, load_settings


def serve(
    host: str | None = typer.Option(None, help="Address of the public listener."),
    port: int | None = typer.Option(None, help="Port of the public listener; 0 takes a free one."),
    admin_host: str | None = typer.Option(None, help="Address of the admin listener."),
    admin_port: int | None = typer.Option(None, help="Port of the admin listener; 0 takes a free one."),
    workers: int | None = typer.Option(None, help="Worker processes; more than one needs Redis."),
    config: Path | None = typer.Option(None, help="TOML file with settings."),
    upstream: str | None = typer.Option(None, help="Base URL of the statistics service."),
    registry: str | None = typer.Option(None, help="The registry: a file, or a Redis URL without password."),
    budget: str | None = typer.Option(None, help="How fast the fleet may ask: N/s, N/m, N/h or unlimited."),
    budget_burst: int | None = typer.Option(None, help="Upstream calls that may follow at once."),
    allow_anonymous: bool | None = typer.Option(
        None, "--allow-anonymous/--no-allow-anonymous", help="Answer public queries without a key."
    ),
    drain_seconds: float | None = typer.Option(None, help="Time between SIGTERM and closing."),
) -> None:
    """Run the gateway.

    Every setting has an environment variable, STATS_GATEWAY_ and its name in capitals, and a line in the
    TOML file; an option here wins over the variable, the variable over the file. The settings without an
    option are listed below. The Redis URL and the encryption keys have none because a command line is
    visible to every user of the machine: set STATS_GATEWAY_REDIS_URL and STATS_GATEWAY_ENCRYPTION_KEYS.

    SIGTERM drains for --drain-seconds and ends with exit code 0; Ctrl-C ends without draining.
    """
    # Here, so that the small commands need not wait for the whole gateway to load.
    from gateway.app import create_application
    from gateway.server import serve as run

    settings = load_settings(
        config,
        host=host,
        port=port,
        admin_host=admin_host,
        admin_port=admin_port,
        workers=workers,
        upstream=upstream,
        registry=place_of(registry),
        budget=budget,
        budget_burst=budget_burst,
        allow_anonymous=allow_anonymous,
        drain_seconds=drain_seconds,
    )
    raise typer.Exit(run(settings, create_application, lambda line: typer.echo(line, err=True)))


def other_settings() -> str:
    """The settings that have no option, one a paragraph: variable, description and default."""
    optional = inspect.signature(serve).parameters
    fields = ((name, field) for name, field in Settings.model_fields.items() if name not in optional)
    return "\n\n".join(
        f"{PREFIX}{name.upper()}: {field.description} [default: {_shown(field.default)}]" for name, field in fields
    )


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()  # a default is no secret
    if isinstance(default, tuple):
        default = " ".join(default)
    return "none" if default == "" else str(default)
