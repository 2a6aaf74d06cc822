"""Environment variables that begin like settings: which belong there all the same, and which are mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.serve import ignored_settings
from gateway.errors import UnusableSettings
from gateway.setting_values import PREFIX, describe_unknown, made_of_services, unknown_variables
from gateway.settings import Settings, load_settings

KUBERNETES = {
    "STATS_GATEWAY_SERVICE_HOST": "10.96.0.17",
    "STATS_GATEWAY_SERVICE_PORT": "8080",
    "STATS_GATEWAY_SERVICE_PORT_HTTP": "8080",
    "STATS_GATEWAY_PORT": "tcp://10.96.0.17:8080",
    "STATS_GATEWAY_PORT_8080_TCP": "tcp://10.96.0.17:8080",
    "STATS_GATEWAY_PORT_8080_TCP_PROTO": "tcp",
    "STATS_GATEWAY_PORT_8080_TCP_PORT": "8080",
    "STATS_GATEWAY_PORT_8080_TCP_ADDR": "10.96.0.17",
    "STATS_GATEWAY_ADMIN_SERVICE_HOST": "fd00::17",
    "STATS_GATEWAY_ADMIN_SERVICE_PORT": "8081",
    "STATS_GATEWAY_ADMIN_PORT": "tcp://[fd00::17]:8081",
    "STATS_GATEWAY_ADMIN_PORT_8081_TCP_ADDR": "fd00::17",
    "STATS_GATEWAY_REDIS_HEADLESS_PORT_6379_UDP": "udp://10.96.0.18:6379",
}
DOCKER = {
    "STATS_GATEWAY_NAME": "/web/stats-gateway",
    "STATS_GATEWAY_ENV_PATH": "/usr/bin:/bin",
    "STATS_GATEWAY_ENV_UPSTREAM_URL": "anything",
    "STATS_GATEWAY_PORT": "tcp://172.17.0.5:8080",
    "STATS_GATEWAY_PORT_8080_TCP_PROTO": "tcp",
}


def unknown(environment: dict[str, str]) -> list[str]:
    return unknown_variables(environment, Settings.model_fields)


@pytest.mark.parametrize("made", [KUBERNETES, DOCKER], ids=["kubernetes", "docker"])
def test_what_is_made_of_a_services_name_is_no_mistake(made: dict[str, str]) -> None:
    assert made_of_services(made) == set(made)
    assert unknown(made) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_HOST", "gateway.example"),
        ("SERVICE_PORT", "http"),
        ("PORT_8080_TCP", "8080"),
        ("PORT_8080_TCP_PROTO", "http"),
        ("PORT_8080", "tcp://10.0.0.1:8080"),
        ("UPSTREAM_PORTS", "tcp://10.0.0.1:8080"),
        ("NAME", "gateway"),
        ("ENV_PATH", "/bin"),  # of no link
        ("SERVICES_HOST", "10.0.0.1"),
    ],
)
def test_a_name_or_a_value_alone_proves_nothing(name: str, value: str) -> None:
    assert unknown({PREFIX + name: value}) == [PREFIX + name]


def test_settings_and_what_else_is_ours_are_known_in_either_case() -> None:
    names = [PREFIX + name.upper() for name in Settings.model_fields]
    ours = ["STATS_GATEWAY_CONFIG", "STATS_GATEWAY_ADMIN_URL", "STATS_GATEWAY_KEY", "stats_gateway_port", "HOME",
            "_STATS_GATEWAY_COMPLETE"]  # fmt: skip
    assert unknown(dict.fromkeys((*names, *ours), "")) == []
    assert unknown({"stats_gateway_bugdet": ""}) == ["stats_gateway_bugdet"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("STATS_GATEWAY_UPSTREAM_URL", "STATS_GATEWAY_UPSTREAM"),
        ("STATS_GATEWAY_BUGDET", "STATS_GATEWAY_BUDGET"),
        ("stats_gateway_redis", "STATS_GATEWAY_REDIS_URL"),
        ("STATS_GATEWAY_CONFIGS", "STATS_GATEWAY_CONFIG"),
    ],
)
def test_a_misnomer_is_told_with_the_nearest_name(name: str, nearest: str) -> None:
    assert describe_unknown(name, Settings.model_fields) == (
        f"the environment variable {name} names no setting; did you mean {nearest}?"
    )


def test_a_name_that_cannot_be_printed_is_shown_as_what_it_is() -> None:
    assert "\x1b" not in describe_unknown("STATS_GATEWAY_\x1b[2J", ())


def test_a_services_address_is_not_taken_for_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STATS_GATEWAY_HOST", "::1")
    settings = load_settings(strict=True)
    assert (settings.port, settings.admin_port, settings.host) == (8080, 8081, "::1")
    assert [line.split()[1] for line in ignored_settings()] == ["STATS_GATEWAY_ADMIN_PORT", "STATS_GATEWAY_PORT"]


def test_only_who_starts_a_gateway_refuses_strangers_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STATS_GATEWAY_UPSTREAM_URL", "http://127.0.0.1:1")
    file = tmp_path / "gateway.toml"
    file.write_text('port = 1\nfleet = 3\n[lifetime_opne]\n"x" = 1\n')
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", f" {file}\n")
    with pytest.raises(UnusableSettings) as raised:
        load_settings(strict=True)
    assert len(raised.value.problems) == 3
    with pytest.raises(UnusableSettings) as raised:
        load_settings()
    assert len(raised.value.problems) == 2
    assert load_settings(strict=True, allow_unknown_settings=True).port == 1
    monkeypatch.setenv("STATS_GATEWAY_ALLOW_UNKNOWN_SETTINGS", "true\n")
    assert load_settings(strict=True).port == 1
    assert len(ignored_settings()) == 3
