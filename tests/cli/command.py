"""The command line, in this process or as a process of its own."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import GatewayError
from tests.forked import Forked

PATIENCE = 60.0


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
    with tempfile.TemporaryDirectory() as folder:
        typed, out, err = (Path(folder) / name for name in ("typed", "out", "err"))
        typed.write_bytes(given)
        running = Forked(words, clean_environment() | settings, out, err, typed)
        try:
            code = running.wait(PATIENCE)
        finally:
            running.kill()
        return Done(code, out.read_text(), err.read_text())
