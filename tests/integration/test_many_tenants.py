"""The benchmark of many tenants in small: all of them are served, and followed, from either registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from benchmarks.served import served
from tests.integration.stage import staged
from tests.redis_server import redis_server


@pytest.mark.parametrize("kind", ["redis", "file"])
def test_a_gateway_serves_all_tenants_of_a_registry_and_follows_the_command_line(
    kind: str, tmp_path: Path
) -> None:
    with staged(budget="unlimited") as stage, redis_server() as server:
        file = "" if kind == "redis" else str(tmp_path / "many.toml")
        gateway = served(stage, server, Fernet.generate_key().decode(), 40, file)
        assert gateway.tenants == 40
        assert len(set(gateway.keys)) == 40
        gateway.hit(iter(gateway.keys), 40)  # each tenant's key once, or it raises
        assert stage.calls()["total"] == 1
        gateway.revoked()
        assert len(gateway.keys) == 39
        gateway.hit(iter(gateway.keys), 39)
        assert gateway.memory > 0
