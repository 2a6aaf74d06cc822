"""The ``stats-gateway`` command."""

from __future__ import annotations

import sys

import typer

from gateway import __version__
from gateway.cli import sandbox
from gateway.errors import GatewayError

app = typer.Typer(
    name="stats-gateway",
    help="A caching, coalescing, pacing reverse proxy in front of the figshare statistics service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("sandbox")(sandbox.sandbox)


@app.callback(invoke_without_command=True)
def common(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    """A caching, coalescing, pacing reverse proxy in front of the figshare statistics service."""
    if version:
        print(f"stats-gateway {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line: an error of ours is one line on stderr and exit code 2, never a traceback."""
    try:
        app()
    except GatewayError as error:
        print(f"stats-gateway: {error.message}", file=sys.stderr)
        sys.exit(2)
