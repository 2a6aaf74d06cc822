"""Keyring: where the encryption keys come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.fernet import Fernet

from gateway.errors import ConfigurationError
from gateway.tenants import files
from gateway.tenants.vault import Vault


class Keyring:
    """The setting's encryption keys; where it is empty, those of the file ``<registry>.key``.

    Both hold Fernet keys, newest first, separated by commas or white space. A registry that is no file (None) has
    the setting's only.
    """

    def __init__(self, setting: str, registry: Path | None) -> None:
        self._setting = setting.strip()
        self.path = None if registry is None else registry.with_name(registry.name + ".key")
        self._files = files.Reader()

    def __repr__(self) -> str:
        return f"Keyring({'setting' if self._setting else str(self.path)})"

    def stamp(self) -> files.Stamp | None:
        """What changes when the keys in the file do."""
        return None if self._setting or self.path is None else self._files.stamp(self.path)

    def vault(self) -> Vault:
        """The vault as the keys are now; one without keys where there are none yet.

        Raises ConfigurationError for a key that is none, or a file that cannot be read.
        """
        if self._setting or self.path is None:
            return _vault(self._setting, "encryption_keys (STATS_GATEWAY_ENCRYPTION_KEYS)")
        return _vault(self._files.read(self.path) or "", str(self.path))

    def vault_for_sealing(self) -> Vault:
        """The vault with at least one key: on first use the file is made, readable by its owner alone."""
        if not self._setting and self.path is not None and files.stamp(self.path) is None:
            with files.locked(self.path):
                # Another process may have made it while this one waited for the lock.
                if files.stamp(self.path) is None:
                    files.replace(self.path, Fernet.generate_key().decode() + "\n")
        return self.vault()

    @contextmanager
    def renewing(self) -> Iterator[Callable[[], None]]:
        """Puts a new key before those in the key file; what it gives drops those, once nothing needs them.

        Two who renew come one after another. Raises ConfigurationError where the keys are not in a file.
        """
        path = self._file()
        with files.locked(path):
            new = Fernet.generate_key().decode()
            files.replace(path, f"{new}\n{files.read(path) or ''}")
            yield lambda: files.replace(path, f"{new}\n")

    def _file(self) -> Path:
        if self._setting or self.path is None:
            raise ConfigurationError(
                "the encryption keys come from STATS_GATEWAY_ENCRYPTION_KEYS; put the new one there, first"
            )
        return self.path

    def complaint(self) -> str | None:
        """What an operator should know: that others may read the key file. None when all is well."""
        if self._setting or self.path is None or not self._files.open_to_others(self.path):
            return None
        return f"{self.path} holds the encryption keys and is open to other users; run: chmod 600 {self.path}"


def _vault(text: str, origin: str) -> Vault:
    try:
        return Vault([key for key in re.split(r"[,\s]+", text) if key])
    except ConfigurationError as error:
        raise ConfigurationError(f"{origin}: {error.message}") from None
