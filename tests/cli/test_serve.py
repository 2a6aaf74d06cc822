"""``stats-gateway serve`` as a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.serve import other_settings
from gateway.settings import Settings


def serve(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the command, which is expected to end by itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}
    given = {f"STATS_GATEWAY_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "gateway", "serve", *words]
    return subprocess.run(
        command, env=kept | given | {"COLUMNS": "200"}, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize(
    ("words", "settings", "complaint"),
    [
        (["--port", "70000"], {}, "port (STATS_GATEWAY_PORT)"),
        (["--budget", "often"], {}, "must be like 1/s"),
        (["--upstream", "stats.figshare.com"], {}, "must be an http:// or https:// URL"),
        (["--config", "missing.toml"], {}, "no settings file at missing.toml"),
        (["--workers", "2"], {}, "memory:// cannot be shared by several workers"),
        ([], {"redis_url": "mongodb://user:hush@127.0.0.1"}, "must be memory://, redis://"),
        (["--redis-url", "redis://127.0.0.1"], {}, "--redis-url"),
    ],
)
def test_wrong_settings_are_one_line(words: list[str], settings: dict[str, str], complaint: str) -> None:
    done = serve(*words, **settings)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_a_wrong_line_in_the_settings_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("ports = 1\n")
    done = serve("--config", str(file))
    assert (done.returncode, done.stderr) == (2, "stats-gateway: unknown setting 'ports'\n")


def test_the_help_names_every_setting() -> None:
    said = serve("--help").stdout
    for name in Settings.model_fields:
        assert f"STATS_GATEWAY_{name.upper()}" in said or f"--{name.replace('_', '-')}" in said


def test_secrets_have_no_option() -> None:
    for name in ("REDIS_URL", "ENCRYPTION_KEYS"):
        assert f"STATS_GATEWAY_{name}:" in other_settings()
