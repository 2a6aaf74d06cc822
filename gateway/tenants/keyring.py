"""Keyring: where the encryption keys come from."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.fernet import Fernet

from gateway.errors import ConfigurationError
from gateway.tenants import files
from gateway.tenants.vault import Vault


class Keyring:
    """The setting's encryption keys; where it is empty, those of the file ``<registry>.key``.

    Both hold Fernet keys, newest first, separated by commas or white space.
    """

    def __init__(self, setting: str, registry: Path) -> None:
        self._setting = setting
        self.path = registry.with_name(registry.name + ".key")

    def __repr__(self) -> str:
        return f"Keyring({'setting' if self._setting else str(self.path)})"

    def vault(self) -> Vault:
        """The vault as the keys are now; one without keys where there are none yet.

        Raises ConfigurationError for a key that is none, or a file that cannot be read.
        """
        if self._setting.strip():
            return _vault(self._setting, "encryption_keys (STATS_GATEWAY_ENCRYPTION_KEYS)")
        return _vault(files.read(self.path) or "", str(self.path))

    def vault_for_sealing(self) -> Vault:
        """The vault with at least one key: on first use the file is made, readable by its owner alone."""
        if not self._setting.strip() and files.stamp(self.path) is None:
            with files.locked(self.path):
                # Another process may have made it while this one waited for the lock.
                if files.stamp(self.path) is None:
                    files.replace(self.path, Fernet.generate_key().decode() + "\n")
        return self.vault()

    def complaint(self) -> str | None:
        """What an operator should know: that others may read the key file. None when all is well."""
        if self._setting.strip() or not files.open_to_others(self.path):
            return None
        return f"{self.path} holds the encryption keys and is open to other users; run: chmod 600 {self.path}"


def _vault(text: str, origin: str) -> Vault:
    try:
        return Vault([key for key in re.split(r"[,\s]+", text) if key])
    except ConfigurationError as error:
        raise ConfigurationError(f"{origin}: {error.message}") from None
