"""Which settings count with which profile: each is read where it counts, or said to be for one profile alone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import gateway
from gateway.app import create_application
from gateway.setting_values import GENERIC, STATISTICS_ONLY
from gateway.settings import Settings

AROUND = ("lifespan", "server/head", "server/listener", "server/process", "server/serve", "cli/serve")
"""What runs whatever app there is: modules that take their own from the settings."""
ELSEWHERE = {"allow_unknown_settings", "trace_sample", "trace_upstream"}
"""Read before there are settings, and where the extra for tracing is there."""
PLACES: list[dict[str, Any]] = [
    {},
    {
        "upstream": "https://127.0.0.1:1",
        "redis_url": "redis+sentinel://127.0.0.1:1/cache",
        "allow_anonymous": True,
        "warm": {"nightly": {"tenant": "reports", "template": "/total/views/article/1"}},
    },
]
"""Settings with which further ones are read; nothing of it is reached before the app runs."""
READ: set[str] = set()


class Watched(Settings):
    """Notes which of its values are asked for."""

    def __getattribute__(self, name: str) -> Any:
        READ.add(name)
        return super().__getattribute__(name)


def read_by_the_app(profile: str, folder: Path) -> set[str]:
    """What an app is built from."""
    found: set[str] = set()
    for place in PLACES:
        given: dict[str, Any] = {"profile": profile, "registry": str(folder / "none.toml"), **place}
        settings = Watched(**given)
        READ.clear()
        create_application(settings)
        found |= READ
    return found & set(Settings.model_fields)


def read_around_it() -> set[str]:
    """What is read beside that, whatever the profile."""
    house = Path(gateway.__file__).parent
    nodes = [node for name in AROUND for node in ast.walk(ast.parse((house / f"{name}.py").read_text()))]
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} & set(Settings.model_fields)


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_every_setting_is_read_with_each_profile_that_it_is_for(profile: str, tmp_path: Path) -> None:
    meant = set(Settings.model_fields) - ELSEWHERE
    if profile == "generic":
        meant -= STATISTICS_ONLY
    assert meant - read_by_the_app(profile, tmp_path) - read_around_it() == set()


def test_what_has_a_default_of_its_own_counts_with_that_profile() -> None:
    assert GENERIC.keys() & STATISTICS_ONLY == {"lifetime_jitter"}, "which is 0 there, as it counts"
