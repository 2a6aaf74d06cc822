"""Gateway keys as text: ``sgw_<id>_<secret>``, made, read and compared. Pure but for the randomness."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 10
SECRET_LENGTH = 27
"""Random base62 digits, of more than 160 bits: 62²⁷ > 2¹⁶⁰. With so short a key and a username of up to 14
characters, the base64 of Basic credentials fits into the 76 columns at which tools break it."""
OLDER_LENGTH = 43
"""Digits of the secrets of keys that older versions made, which work as ever."""

DIGEST = "sha256:"
"""Begins a digest in the registry's tables."""

KEY_ID = re.compile(rf"[0-9A-Za-z]{{{ID_LENGTH}}}")
KEY = re.compile(
    rb"sgw_([0-9A-Za-z]{%d})_([0-9A-Za-z]{%d}|[0-9A-Za-z]{%d})" % (ID_LENGTH, SECRET_LENGTH, OLDER_LENGTH)
)

KEY_LIKE = re.compile(rf"sgw_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{20,}}")
"""A key within other text, also one that was not copied whole."""

HOT = 1_024
"""Keys whose digest is remembered: the same few come with every request."""


class Minted(NamedTuple):
    """A new key: its whole text, which is shown once and never stored, and what is stored of it."""

    text: str
    id: str
    digest: bytes

    @property
    def stored(self) -> str:
        """The digest as the registry's tables hold it."""
        return DIGEST + self.digest.hex()


def mint() -> Minted:
    """A new random key."""
    key_id, secret = _digits(ID_LENGTH), _digits(SECRET_LENGTH)
    return Minted(f"sgw_{key_id}_{secret}", key_id, digest_of(secret))


def parse(text: bytes | str) -> tuple[str, str] | None:
    """The id and the secret of a key, or None for anything that is not exactly a key."""
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    found = KEY.fullmatch(raw)
    return None if found is None else (found[1].decode(), found[2].decode())


def id_within(text: str) -> str | None:
    """The id of a key that stands somewhere in a text, percent-encoded perhaps, None where there is none."""
    found = KEY_LIKE.search(unquote(text))
    return None if found is None else found[1]


@lru_cache(HOT)
def identity(text: bytes) -> tuple[str, bytes] | None:
    """The id of a presented key and the digest of its secret, or None for anything that is not exactly a key."""
    parsed = parse(text)
    return None if parsed is None else (parsed[0], digest_of(parsed[1]))


def digest_of(secret: str) -> bytes:
    """What is stored of a secret: the SHA-256 of its text. Slow hashing guards guessable secrets; these are
    not."""
    return hashlib.sha256(secret.encode()).digest()


def matches(digest: bytes, other: bytes) -> bool:
    """Whether two digests are the same, in a time that does not tell how close they came."""
    return hmac.compare_digest(digest, other)


def _digits(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))
