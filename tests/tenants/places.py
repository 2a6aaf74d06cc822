"""What the tests of registries share: pairs, keys, and the places where registries lie."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gateway.tenants.directory import identify
from gateway.tenants.file_store import FileStore
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Pair, Tenant
from gateway.tenants.vault import Keyring

LBORO = Pair("lboro", "lboro", "hunter2-lboro")
MONASH = Pair("monash", "monash", "hunter2-monash")
KEY = "b3VyLW93bi1rZXktdGhhdC1vcGVucy1ub3RoaW5nLiE="
OTHER_KEY = "YW5vdGhlci1rZXktdGhhdC1vcGVucy1ub3RoaW5nLiE="
TENANTS = ("reports", "dashboards", "library", "repository", "bench")
DOUBT = 10.0
"""Seconds for which a registry is doubted that has lost most of them."""


class Seconds:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def asker(registry: Registry, key: str) -> Tenant:
    """Whose key it is, as a request would find out."""
    return identify([(b"x-api-key", key.encode())], registry.load(), None, time.time()).tenant


Reopen = Callable[..., Registry]
"""Opens the same place as another process would, with these encryption keys or the usual."""


def path_of(registry: Registry) -> Path:
    """Its file."""
    assert isinstance(registry.store, FileStore)
    return registry.store.path


def key_file(keyring: Keyring) -> Path:
    """The file of its encryption keys."""
    assert keyring.path is not None
    return keyring.path


def works(registry: Registry, key: str) -> bool:
    """Whether somebody may ask with it, by the state in force."""
    return registry.directory.holder_of(key.encode(), time.time()) is not None
