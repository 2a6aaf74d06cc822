"""``stats-gateway config``: what serve would use, and where each of it comes from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.cli.command import Done, command

SECRETS = {
    "STATS_GATEWAY_REDIS_URL": "redis://user:hunter2@127.0.0.1:6379/0",
    "STATS_GATEWAY_REGISTRY": "redis://:hunter2@127.0.0.1:6379/1",
    "STATS_GATEWAY_ENCRYPTION_KEYS": "hunter2",
    "STATS_GATEWAY_ADMIN_TOKEN": "hunter2",
}


def config(*words: str, **settings: str) -> Done:
    return command("config", *words, COLUMNS="80", **settings)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text('budget = "3/s"\nport = 9000\n')
    return path


def test_every_setting_is_listed_with_its_value_and_its_place(file: Path) -> None:
    done = config("--config", str(file), "--port", "9001", STATS_GATEWAY_WORKERS="1", **SECRETS)
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert set(lines) == {"SETTING", *Settings.model_fields}
    assert re.fullmatch(rf"budget +3/s +{re.escape(str(file))}", lines["budget"])
    assert re.fullmatch(r"port +9001 +--port", lines["port"])
    assert re.fullmatch(r"workers +1 +STATS_GATEWAY_WORKERS", lines["workers"])
    assert re.fullmatch(r"lifetime_closed +604800 +default", lines["lifetime_closed"])
    assert re.fullmatch(r"allow_anonymous +false +default", lines["allow_anonymous"])
    assert re.fullmatch(r"content_codings +zstd gzip +default", lines["content_codings"])


def test_secrets_are_masked_in_every_form() -> None:
    for words in ([], ["--json"], ["--changed"], ["--describe"]):
        done = config(*words, **SECRETS)
        assert "hunter2" not in done.said
        assert "redis://user:***@127.0.0.1:6379/0" in done.out


def test_only_what_is_not_as_by_default_is_told_when_asked_so(file: Path) -> None:
    done = config("--changed", "--json", STATS_GATEWAY_CONFIG=str(file), STATS_GATEWAY_PROFILE="generic")
    told = json.loads(done.out)
    assert {name: each["from"] for name, each in told.items()} == {
        "port": "file",
        "profile": "environment",
        "budget": "file",
        "refresh_floor": "profile",
        "lifetime_jitter": "profile",
        "stale_if_error": "profile",
        "content_codings": "profile",
    }
    assert told["port"] == {
        "value": 9000,
        "from": "file",
        "place": str(file),
        "description": "port of the public listener",
    }
    none = config("--changed")
    assert (none.code, none.out, none.err) == (0, "", "All settings are as by default.\n")


def test_described_every_setting_says_what_it_is() -> None:
    done = config("--describe")
    for name, field in Settings.model_fields.items():
        assert re.search(
            rf"^{name} = .*\(default\)\n    {re.escape(str(field.description))}$", done.out, re.MULTILINE
        )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ports = 1\n", "unknown setting 'ports'"),
        ("port = 70000\n", "port (STATS_GATEWAY_PORT): Input should be less than or equal to 65535"),
        ("port = \n", "settings file"),
    ],
)
def test_a_wrong_settings_file_gives_the_same_error_as_serve(text: str, complaint: str, file: Path) -> None:
    file.write_text(text)
    done, served = config("--config", str(file)), command("serve", "--config", str(file))
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert done.err == served.err


def test_a_variable_that_names_no_setting_is_warned_of_and_goes_not_to_stdout() -> None:
    done = config("--json", STATS_GATEWAY_BUGDET="3/s")
    assert done.err.startswith("warning: the environment variable STATS_GATEWAY_BUGDET names no setting")
    assert json.loads(done.out)["budget"]["value"] == "1/s"


def test_it_takes_the_flags_of_serve_and_refuses_what_serve_refuses() -> None:
    done = config("--registry", "redis://:hunter2@127.0.0.1/0")
    assert (done.code, "visible to every user" in done.err, "hunter2" in done.said) == (2, True, False)
