"""A registry in a directory of its own, and one in a Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import Settings
from gateway.tenants.file_store import FileStore
from gateway.tenants.registry import Registry, open_registry
from gateway.tenants.vault import Keyring
from tests.redis_server import RedisServer
from tests.tenants.places import DOUBT, KEY, TENANTS, Reopen, Seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.toml"


@pytest.fixture
def keyring(path: Path) -> Keyring:
    return Keyring("", path)


@pytest.fixture
def registry(path: Path, keyring: Keyring) -> Registry:
    return Registry(FileStore(path), keyring)


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> tuple[str, str, str]:
    """Where a registry lies, its encryption keys, and the prefix of Redis keys: in a file, then in a Redis."""
    if request.param == "file":
        return str(tmp_path / "anywhere.toml"), KEY, prefix
    server: RedisServer = request.getfixturevalue("shared_redis")
    return server.url, KEY, prefix


@pytest.fixture
def reopen(place: tuple[str, str, str]) -> Reopen:
    """Opens the registry as another process would."""
    where, keys, prefix = place

    def opened(encryption_keys: str = keys) -> Registry:
        return open_registry(Settings(registry=where, encryption_keys=encryption_keys, redis_prefix=prefix))

    return opened


@pytest.fixture
def anywhere(reopen: Reopen) -> Registry:
    """A registry in a file, then in a Redis."""
    return reopen()


# A registry of five tenants, and who follows it


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def editor(path: Path) -> Registry:
    """The registry as commands see it."""
    return Registry(FileStore(path), Keyring(KEY, None))


@pytest.fixture
def keys(editor: Registry) -> dict[str, str]:
    """The tenants' keys, one each."""
    for tenant in TENANTS:
        editor.add(tenant)
    return {tenant: editor.add_key(tenant) for tenant in TENANTS}


@pytest.fixture
def followed(path: Path, keys: dict[str, str], seconds: Seconds) -> Registry:
    registry = Registry(FileStore(path), Keyring(KEY, None), DOUBT, seconds)
    registry.load()
    return registry
