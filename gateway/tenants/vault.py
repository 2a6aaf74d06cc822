"""Vault: passwords encrypted at rest, and the fingerprints that credentials are known by. Pure."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.errors import ConfigurationError
from gateway.tenants.tenant import Credential

SEALED = "enc:"
"""How a sealed password begins, wherever it is stored."""


class Vault:
    """Seals with the newest encryption key and opens with any; keys are Fernet keys, newest first.

    Fingerprints are made with the newest key too: a new one is a new start for what is cached. A vault
    without keys can be held but not used. Raises ConfigurationError for a key that is none.
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
        """What tells whether another has the same newest key, and nothing of the key; empty without keys."""
        return hmac.digest(self._fingerprint_key, b"mark", "sha256").hex()[:16] if self._size else ""

    def newest(self) -> Vault:
        """The vault as it is without its older keys."""
        return Vault(self._keys[:1])

    def seal(self, password: str) -> str:
        """A password encrypted; the same one never looks the same twice."""
        return SEALED + self._usable().encrypt(password.encode()).decode()

    def open(self, sealed: str) -> str:
        """A sealed password in clear. Raises ConfigurationError for one that no key here opens."""
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
        """The credential that a sealed password belongs to, ready for the upstream (RFC 7617 §2)."""
        password = self.open(sealed)
        pair = base64.b64encode(f"{username}:{password}".encode())
        return Credential(
            institution=institution,
            username=username,
            fingerprint=self.fingerprint(institution, username, password),
            authorization=b"Basic " + pair,
        )

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
    """A key of its own for fingerprints (RFC 5869), so that they tell nothing about the encryption's."""
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"stats-gateway fingerprint 1")
    return derivation.derive(base64.urlsafe_b64decode(key))


def _injective(*parts: str) -> bytes:
    encoded = (part.encode() for part in parts)
    return b"".join(len(part).to_bytes(4) + part for part in encoded)
