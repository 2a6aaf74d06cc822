"""Vault: passwords encrypted at rest, and the fingerprints of credentials. Keyring: the encryption keys'
source."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.errors import ConfigurationError, located
from gateway.tenants import files
from gateway.tenants.tenant import Credential

SEALED = "enc:"
"""Begins a sealed password."""


class Vault:
    """Seals passwords with the newest encryption key and opens them with any; Fernet keys, newest first. Pure.

    Fingerprints are made with the newest key too: a new one is a new start for what is cached. A vault without
    keys raises when it is used. Raises ConfigurationError for a malformed key.
    """

    def __init__(self, encryption_keys: Sequence[str]) -> None:
        ciphers = [_cipher(key, place) for place, key in enumerate(encryption_keys, start=1)]
        self._size = len(ciphers)
        self._keys = list(encryption_keys)
        self._cipher = MultiFernet(ciphers) if ciphers else None
        self._fingerprint_key = _derive(encryption_keys[0]) if ciphers else b""

    def __repr__(self) -> str:
        return f"Vault(keys={self._size})"

    @property
    def mark(self) -> str:
        """An identifier of the newest key that reveals nothing of it; empty without keys."""
        return hmac.digest(self._fingerprint_key, b"mark", "sha256").hex()[:16] if self._size else ""

    @property
    def marks(self) -> list[str]:
        """The mark of each key, the newest first."""
        return [Vault([key]).mark for key in self._keys]

    def newest(self) -> Vault:
        """A vault without the older keys."""
        return Vault(self._keys[:1])

    def seal(self, password: str) -> str:
        """Encrypt a password; the same one never looks the same twice."""
        return SEALED + self._usable().encrypt(password.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt a sealed password. Raises ConfigurationError for one that no key here opens."""
        if not sealed.startswith(SEALED):
            raise ConfigurationError("the password is stored in clear")
        try:
            return self._usable().decrypt(sealed.removeprefix(SEALED).encode()).decode()
        except InvalidToken:
            raise ConfigurationError("the password was encrypted with another encryption key") from None

    def fingerprint(self, institution: str, username: str, password: str) -> str:
        """The keyed HMAC-SHA256 of a pair and its institution, as lower-case hex."""
        self._usable()
        return hmac.digest(self._fingerprint_key, _injective(institution, username, password), "sha256").hex()

    def credential(self, institution: str, username: str, sealed: str) -> Credential:
        """The credential with a sealed password, ready for the upstream (RFC 7617 §2)."""
        password = self.open(sealed)
        authorization = b"Basic " + base64.b64encode(f"{username}:{password}".encode())
        return Credential(institution, username, self.fingerprint(institution, username, password), authorization)

    def _usable(self) -> MultiFernet:
        if self._cipher is None:
            raise ConfigurationError(
                "there is no encryption key; set STATS_GATEWAY_ENCRYPTION_KEYS or restore the key file"
            )
        return self._cipher


def _cipher(key: str, place: int) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise ConfigurationError(
            f"encryption key {place} is not 32 bytes in url-safe base64 (44 characters)"
        ) from None


def _derive(key: str) -> bytes:
    """A key for fingerprints (RFC 5869), so that they reveal nothing of the encryption key."""
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"stats-gateway fingerprint 1")
    return derivation.derive(base64.urlsafe_b64decode(key))


def _injective(*parts: str) -> bytes:
    encoded = (part.encode() for part in parts)
    return b"".join(len(part).to_bytes(4) + part for part in encoded)


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
        """The key file's stamp; None where the keys come from the setting."""
        return None if self._setting or self.path is None else self._files.stamp(self.path)

    def vault(self) -> Vault:
        """A vault with the current keys, none perhaps.

        Raises ConfigurationError for a malformed key, or a file that cannot be read.
        """
        if self._setting or self.path is None:
            return _vault(self._setting, "encryption_keys (STATS_GATEWAY_ENCRYPTION_KEYS)")
        return _vault(self._files.read(self.path) or "", str(self.path))

    def vault_for_sealing(self) -> Vault:
        """A vault with at least one key: on first use the file is created, readable by its owner alone."""
        if not self._setting and self.path is not None and files.stamp(self.path) is None:
            with files.locked(self.path):
                # Another process may have made it while this one waited for the lock.
                if files.stamp(self.path) is None:
                    files.replace(self.path, Fernet.generate_key().decode() + "\n")
        return self.vault()

    @contextmanager
    def renewing(self) -> Iterator[Callable[[], None]]:
        """Put a new key before those in the key file; the function it yields drops the others, once nothing needs
        them. Holds the file's lock. Raises ConfigurationError where the keys are not in a file."""
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
        """A warning for operators where other users may read the key file."""
        if self._setting or self.path is None or not self._files.open_to_others(self.path):
            return None
        return f"{self.path} holds the encryption keys and is open to other users; run: chmod 600 {self.path}"


def _vault(text: str, origin: str) -> Vault:
    with located(origin):
        return Vault([key for key in re.split(r"[,\s]+", text) if key])
