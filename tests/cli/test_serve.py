"""``stats-gateway serve`` as a command."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from gateway.cli import app
from gateway.cli.serve import serve as serve_command
from gateway.errors import ConfigurationError


def serve(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the command, which is expected to end by itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}
    given = {f"STATS_GATEWAY_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "gateway", "serve", *words]
    return subprocess.run(
        command, env=kept | given | {"COLUMNS": "200"}, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--port", "70000"], r"port \(STATS_GATEWAY_PORT\)"),
        (["--budget", "often"], "must be like 1/s"),
        (["--upstream", "stats.figshare.com"], "must be an http:// or https:// URL"),
        (["--config", "missing.toml"], "no settings file at missing.toml"),
        (["--workers", "2"], "memory:// cannot be shared by several workers"),
    ],
)
def test_wrong_options_are_explained(words: list[str], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        app(["serve", *words], standalone_mode=False)


def test_the_redis_url_is_no_option() -> None:
    with pytest.raises(typer.TyperException, match="--redis-url"):
        app(["serve", "--redis-url", "redis://127.0.0.1"], standalone_mode=False)


def test_a_wrong_setting_is_one_line_and_never_shows_a_secret() -> None:
    done = serve(redis_url="mongodb://user:hush@127.0.0.1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be redis[s]://" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_a_wrong_line_in_the_settings_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("ports = 1\n")
    done = serve("--config", str(file))
    assert (done.returncode, done.stderr) == (2, "stats-gateway: unknown setting 'ports'\n")


def test_secrets_have_no_option() -> None:
    for name in ("redis_url", "encryption_keys", "admin_token", "admin_tokens"):
        assert name not in inspect.signature(serve_command).parameters
