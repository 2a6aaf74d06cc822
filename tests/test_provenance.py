"""Where each effective setting came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.provenance import DEFAULT, Provenance, Sources
from gateway.settings import Settings, load_settings

FILE = """
budget = "3/s"
port = 9000
[admin_tokens.one]
digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(FILE)
    return path


def sources(flags: Collection[str], environment: Mapping[str, str]) -> Sources:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return Sources.of(flags)


def test_a_flag_wins_over_a_variable_and_that_over_the_file(file: Path) -> None:
    environment = {"STATS_GATEWAY_CONFIG": str(file), "STATS_GATEWAY_BUDGET": "2/s", "STATS_GATEWAY_HOST": "::1"}
    found = sources({"host"}, environment).provenance("statistics")
    assert found["host"] == Provenance("flag", "--host")
    assert found["budget"] == Provenance("environment", "STATS_GATEWAY_BUDGET")
    assert found["port"] == Provenance("file", str(file))
    assert found["workers"] is DEFAULT
    assert set(found) == set(Settings.model_fields)


def test_it_agrees_with_what_is_loaded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs from the default came from somewhere, and what came from somewhere is in force."""
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", str(file))
    monkeypatch.setenv("stats_gateway_queue_max", "7")
    monkeypatch.setenv("STATS_GATEWAY_PORT", "9001")
    given: dict[str, Any] = {"upstream": "http://127.0.0.1:1"}
    settings = load_settings(**given)
    found = Sources.of(given).provenance(settings.profile)
    from_somewhere = {name for name, origin in found.items() if origin is not DEFAULT}
    differs = {
        name
        for name in Settings.model_fields
        if getattr(settings, name) != getattr(Settings.model_construct(), name)
    }
    assert differs == from_somewhere == {"budget", "port", "queue_max", "upstream", "admin_tokens"}
    assert found["queue_max"].place == "stats_gateway_queue_max"
    assert settings.queue_max == 7


def test_tables_of_several_sources_name_them_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", str(file))
    monkeypatch.setenv("STATS_GATEWAY_ADMIN_TOKENS", '{"two": {"digest": "sha256:%s"}}' % ("1" * 64))
    assert set(load_settings().admin_tokens) == {"one", "two"}
    environment = {"STATS_GATEWAY_CONFIG": str(file), "STATS_GATEWAY_ADMIN_TOKENS": "{}"}
    found = sources((), environment).provenance("statistics")["admin_tokens"]
    assert found == Provenance("environment", f"STATS_GATEWAY_ADMIN_TOKENS and {file}")


def test_the_generic_profiles_own_defaults_are_told_apart() -> None:
    found = sources({"profile", "budget"}, {}).provenance("generic")
    assert found["refresh_floor"] == Provenance("profile", "profile generic")
    assert found["budget"].kind == "flag"
    assert sources((), {}).provenance("statistics")["refresh_floor"] is DEFAULT


def test_what_a_service_is_called_is_no_source_of_a_setting() -> None:
    found = sources((), {"STATS_GATEWAY_PORT": "tcp://10.0.0.1:8080", "STATS_GATEWAY_HOST": "::1"})
    assert found.provenance("statistics")["port"] is DEFAULT
    assert found.provenance("statistics")["host"].kind == "environment"
    assert found.unknown_variables == []
