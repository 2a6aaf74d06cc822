"""The command line, in this process or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind. ``error`` is the message of what it raised, where it did."""

    code: int
    out: str
    err: str
    error: str | None = None

    @property
    def said(self) -> str:
        """All that anybody could read."""
        return f"{self.out}{self.err}{self.error or ''}"


def clean_environment() -> dict[str, str]:
    """The environment without any settings of the gateway's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}


def run(*words: str, given: str = "") -> Done:
    """Runs a command in this process."""
    settings = {name: None for name in os.environ if name.startswith("STATS_GATEWAY_")}
    result = CliRunner().invoke(app, list(words), input=given, env=settings)
    if isinstance(result.exception, GatewayError):
        return Done(2, result.stdout, result.stderr, result.exception.message)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def command(*words: str, given: bytes = b"", **settings: str) -> Done:
    """Runs a command as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        input=given,
        env=clean_environment() | settings,
        capture_output=True,
        timeout=60,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
