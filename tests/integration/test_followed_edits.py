"""Edits of the registry by the command line or by hand: a running gateway's log names the tenants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.lifespan import NAMED
from tests.cli.command import command
from tests.integration.stage import Stage, staged, until
from tests.redis_server import RedisServer

SECRET = "4mcMDEGBqTyJcYkUQ9tCHh0wCEL7dCUj3oXdsAEFQU0="


def reloads(stage: Stage) -> dict[str, list[str]]:
    """The ids that the log named, by what became of their tenants."""
    found: dict[str, list[str]] = {}
    for line in stage.gateways[0].output.splitlines():
        if '"registry_reloaded"' in line:
            told: dict[str, Any] = json.loads(line)
            for how in ("added", "changed", "removed"):
                found[how] = found.get(how, []) + told.get(f"{how}_ids", [])
                assert len(told.get(f"{how}_ids", ())) == min(told.get(how, 0), NAMED)
    return found


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_the_log_names_who_was_added_changed_and_removed(
    kind: str, shared_redis: RedisServer, prefix: str, tmp_path: Path
) -> None:
    place = str(tmp_path / "tenants.toml") if kind == "file" else shared_redis.url
    registry = {"STATS_GATEWAY_REGISTRY": place, "STATS_GATEWAY_REDIS_PREFIX": prefix}

    def does(*words: str) -> str:
        done = command(*words, given=b"hunter2", **registry, STATS_GATEWAY_ENCRYPTION_KEYS=SECRET)
        assert done.code == 0, done.said
        return done.out

    with staged(registry=place, encryption_keys=SECRET, redis_prefix=prefix) as stage:
        does("tenant", "add", "before")
        stage.serve(log_format="json")
        does("tenant", "add", "reports", "--institution", "lboro", "--username", "u", "--password-stdin")
        until(lambda: "reports" in reloads(stage).get("added", ()))
        key = does("key", "add", "reports").strip()
        until(lambda: reloads(stage)["changed"] == ["reports"])
        does("key", "revoke", key[4:14])
        until(lambda: reloads(stage)["changed"] == ["reports"] * 2)
        does("tenant", "remove", "reports")
        until(lambda: reloads(stage)["removed"] == ["reports"])
        many = tmp_path / "many.toml"
        many.write_text("".join(f'[tenants.t-{number:02}]\nname = "T"\n' for number in range(NAMED + 5)))
        does("tenant", "import", str(many))
        until(lambda: len(reloads(stage)["added"]) > NAMED)
        if kind == "file":
            Path(place).write_text(Path(place).read_text().replace('"before"', '"By hand"'))
            until(lambda: reloads(stage)["changed"][2:] == ["before"])
        assert "before" not in reloads(stage)["added"]
        assert "hunter2" not in stage.gateways[0].output
        assert key[15:] not in stage.gateways[0].output
