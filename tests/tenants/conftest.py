"""A registry in a directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.tenants.keyring import Keyring
from gateway.tenants.registry import FileRegistry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.toml"


@pytest.fixture
def keyring(path: Path) -> Keyring:
    return Keyring("", path)


@pytest.fixture
def registry(path: Path, keyring: Keyring) -> FileRegistry:
    return FileRegistry(path, keyring)
