"""The registry that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.tenants.file_tables import FileTables
from gateway.tenants.keyring import Keyring
from gateway.tenants.registry import Registry

if TYPE_CHECKING:
    from gateway.settings import Settings


def keyring_of(settings: Settings) -> Keyring:
    """The encryption keys: the setting's, or those of the file beside a registry that is a file."""
    return Keyring(settings.encryption_keys.get_secret_value(), settings.registry_file)


def open_registry(settings: Settings) -> Registry:
    """The registry of ``settings.registry``, in a file or in Redis; nothing is read yet."""
    path = settings.registry_file
    if path is not None:
        return Registry(FileTables(path), keyring_of(settings), settings.registry_doubt)
    # Here, so that commands on a file need not wait for the Redis client to load.
    from gateway.tenants.redis_tables import RedisTables

    url = settings.registry.get_secret_value()
    sentinels = settings.redis_sentinel_password.get_secret_value()
    tables = RedisTables(url, settings.redis_prefix, sentinel_password=sentinels)
    return Registry(tables, keyring_of(settings), settings.registry_doubt)
