"""``stats-gateway serve`` as a command."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import typer

from gateway.cli import app
from gateway.cli.options import SettingOptions
from gateway.errors import ConfigurationError
from tests.cli.command import Done, command


def serve(*words: str, **settings: str) -> Done:
    """Runs the command, which is expected to end by itself."""
    given = {f"STATS_GATEWAY_{name.upper()}": value for name, value in settings.items()}
    return command("serve", *words, given=b"", COLUMNS="200", **given)


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
    assert (done.code, done.out) == (2, "")
    assert "must be redis[s]://" in done.err
    assert done.err.count("\n") == 1
    assert "hush" not in done.err


def test_a_wrong_line_in_the_settings_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("ports = 1\n")
    done = serve("--config", str(file))
    told = f"stats-gateway: unknown setting 'ports' in {file}; did you mean port?\n"
    assert (done.code, done.err) == (2, told)


def test_every_problem_has_a_line_of_its_own_and_no_secret_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("lifetime_opne = 3\n")
    done = serve(
        "--config", str(file), upstream_url="http://127.0.0.1:1", redis_url="mongodb://:hush@127.0.0.1",
        admin_token="hush\x0bhush", budget="often", admin_tokens="{hush",
    )  # fmt: skip
    assert (done.code, done.out) == (2, "")
    assert "hush" not in done.err
    assert done.err.splitlines() == [
        "stats-gateway: admin_tokens (STATS_GATEWAY_ADMIN_TOKENS): must be JSON",
        f"stats-gateway: unknown setting 'lifetime_opne' in {file}; did you mean lifetime_open?",
        "stats-gateway: the environment variable STATS_GATEWAY_UPSTREAM_URL names no setting; "
        "did you mean STATS_GATEWAY_UPSTREAM?",
    ]
    done = serve(
        redis_url="mongodb://:hush@127.0.0.1", admin_token="hush\x0bhush", budget="often", upstream_url="x"
    )
    assert [line.split()[1] for line in done.err.splitlines()] == ["budget", "redis_url", "admin_token", "the"]
    assert "hush" not in done.err


@pytest.mark.parametrize(
    "name", ["UPSTREAM_URL", "BUGDET", "service_port", "X", "PORT_8080", "HOSTS", "Upstreams"]
)
def test_a_variable_that_names_no_setting_stops_the_start(name: str) -> None:
    done = serve(**{name: "http://127.0.0.1:1"})
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"STATS_GATEWAY_{name.upper()} names no setting" in done.err


def test_a_warming_that_can_never_run_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[warm.nightly]\ntenant = "lib"\nfile = "list"\nschedule = "61 2 * * *"\n')
    done = serve("--config", str(file))
    told = "warm.nightly.schedule (STATS_GATEWAY_WARM.NIGHTLY.SCHEDULE): is no cron schedule: Bad minute"
    assert (done.code, done.out, done.err) == (2, "", f"stats-gateway: {told}\n")
    file.write_text('[warm.nightly]\ntenant = "lib"\ntemplate = "/lboro/total/views/article/{id}"\n')
    done = serve("--config", str(file))
    told = "warm.nightly.template: id: The template needs a list of values for this place. Nothing was asked"
    assert (done.code, done.err.splitlines()[-1]) == (2, f"stats-gateway: {told}")


def test_secrets_have_no_option() -> None:
    offered = {field.name for field in fields(SettingOptions)}
    assert offered & {"redis_url", "encryption_keys", "admin_token", "admin_tokens"} == set()
    assert "budget" in offered
