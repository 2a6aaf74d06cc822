"""The ``stats-gateway`` command."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from gateway import __version__
from gateway.cli import (
    breaker,
    config,
    demo,
    doctor,
    explain,
    explore,
    gate,
    health,
    key,
    purge,
    queue,
    sandbox,
    secrets,
    serve,
    tenant,
    top,
    usage,
)
from gateway.cli import config as settings
from gateway.cli.first_steps import FIRST_STEPS
from gateway.cli.options import Commands, MainGroup, examples
from gateway.errors import AdminRefused, AdminUnreachable, GatewayError, NoSuchRecord, UnusableSettings
from gateway.observe.stream import settle

app = Commands(
    name="stats-gateway",
    cls=MainGroup,
    epilog=examples(*FIRST_STEPS, title="First steps"),
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(tenant.app)
app.add_typer(key.app)
app.add_typer(secrets.app)
app.add_typer(gate.app)
app.add_typer(breaker.app)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("health", epilog=health.EXAMPLES)(health.health)
app.command("config", epilog=config.EXAMPLES)(config.config)
app.command("top", epilog=top.EXAMPLES)(top.top)
app.command("purge", epilog=purge.EXAMPLES)(purge.purge)
app.command("explain", epilog=explain.EXAMPLES)(explain.explain)
app.command("explore", epilog=explore.EXAMPLES)(explore.explore)
app.command("usage", epilog=usage.EXAMPLES)(usage.usage)
app.command("queue")(queue.queue)
app.command("settings")(settings.settings)
app.command("demo")(demo.demo)
app.command("sandbox", epilog=sandbox.EXAMPLES)(sandbox.sandbox)


@app.callback(invoke_without_command=True)
def common(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    """A caching, coalescing, pacing reverse proxy in front of the figshare statistics service."""
    if version:
        print(f"stats-gateway {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line: an error is one line on stderr, one for each of the settings' problems, and exit code
    2, 3 where there is no such thing, 6 where the admin API refuses, 7 where it cannot be reached; never a
    traceback."""
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except typer.TyperException as error:
        _complain(error.format_message(), hint=f"; try: {_command(error)} --help")
    except UnusableSettings as error:
        _complain(*error.problems)
    except NoSuchRecord as error:
        _complain(error.message, code=3)
    except AdminRefused as error:
        _complain(error.message, code=6)
    except AdminUnreachable as error:
        _complain(error.message, code=7)
    except GatewayError as error:
        _complain(error.message)
    except Exception as error:
        # Its text could repeat what was typed.
        _complain(f"failed unexpectedly ({type(error).__name__}); please report how", code=1)
    finally:
        settle()


def _command(error: typer.TyperException) -> str:
    """The command that was typed, as far as it was one."""
    context = getattr(error, "ctx", None)
    return "stats-gateway" if context is None else str(context.command_path)


def _complain(*messages: str, hint: str = "", code: int = 2) -> NoReturn:
    # A command group without a command has printed its help, and has nothing to add.
    try:
        for message in filter(None, messages):
            print(f"stats-gateway: {' '.join(message.split()).removesuffix('.')}{hint}", file=sys.stderr)
    except OSError:
        sys.stderr = None  # else Python tries again at the end, and makes another exit code of it
    sys.exit(code)
