"""The ``stats-gateway`` command."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from gateway import __version__
from gateway.cli import batch, checkup, demo, key, operate, report, sandbox, serve, tenant, top
from gateway.cli.options import Commands, MainGroup, examples
from gateway.errors import AdminRefused, AdminUnreachable, GatewayError, NoSuchRecord, UnusableSettings
from gateway.observe.logs import settle

app = Commands(
    name="stats-gateway",
    cls=MainGroup,
    epilog=examples(*serve.FIRST_STEPS, title="First steps"),
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    tenant.app,
    key.app,
    key.secrets,
    serve.app,
    report.app,
    batch.app,
    checkup.app,
    operate.app,
    top.app,
    demo.app,
    sandbox.app,
):
    app.add_typer(group)


@app.callback(invoke_without_command=True)
def common(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    """A caching, coalescing, pacing reverse proxy in front of the figshare statistics service."""
    if version:
        print(f"stats-gateway {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line, which never ends in a traceback.

    An error is one line on stderr, one for each problem of the settings, and exit code 2; 3 where there is no such
    record, 6 where the admin API refuses, 7 where it cannot be reached.
    """
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except typer.TyperException as error:
        _exit(error.format_message(), hint=f"; try: {_command(error)} --help")
    except UnusableSettings as error:
        _exit(*error.problems)
    except NoSuchRecord as error:
        _exit(error.message, code=3)
    except AdminRefused as error:
        _exit(error.message, code=6)
    except AdminUnreachable as error:
        _exit(error.message, code=7)
    except GatewayError as error:
        _exit(error.message)
    except Exception as error:
        # Its text could repeat what was typed.
        _exit(f"failed unexpectedly ({type(error).__name__}); please report how", code=1)
    finally:
        settle()


def _command(error: typer.TyperException) -> str:
    """The command that was typed, as far as it was one."""
    context = getattr(error, "ctx", None)
    return "stats-gateway" if context is None else str(context.command_path)


def _exit(*messages: str, hint: str = "", code: int = 2) -> NoReturn:
    # A command group without a command has printed its help, and has nothing to add.
    try:
        for message in filter(None, messages):
            print(f"stats-gateway: {' '.join(message.split()).removesuffix('.')}{hint}", file=sys.stderr)
    except OSError:
        sys.stderr = None  # else Python tries again at the end, and makes another exit code of it
    sys.exit(code)
