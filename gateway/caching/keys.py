"""Cache keys: meanings, not strings. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

SCHEMA = 1
"""Version of what is stored. A change of the key's or the entry's encoding raises it; old records expire."""

PUBLIC = "public"
"""The scope that everybody shares."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where a query's answers live: ``entry`` by its meaning, ``error`` by its exact request.

    Both begin with the same hash tag, so that one MGET reads them in a Cluster too. ``id`` names the flight.
    ``exact`` identifies the exact request within the meaning.
    """

    id: str
    entry: str
    error: str
    exact: str


def encode(*parts: bytes) -> bytes:
    """The parts, each after its length: injective, whatever bytes they hold."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def cache_key(prefix: str, scope: str, canonical: bytes, exact: bytes) -> CacheKey:
    """The key of a query within a scope; ``exact`` is what an error answer would echo."""
    meaning = blake2b(encode(str(SCHEMA).encode(), scope.encode(), canonical), digest_size=20).hexdigest()
    literal = blake2b(exact, digest_size=12).hexdigest()
    tag = f"{prefix}:{{{meaning}}}"
    return CacheKey(id=meaning, entry=tag, error=f"{tag}:{literal}", exact=literal)
