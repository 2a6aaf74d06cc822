"""Cache keys: meanings, not strings. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain

from gateway.caching.variants import canonical_value

SCHEMA = 3
"""Version of what is stored. A change of the key's or the entry's encoding raises it; old records expire."""

PUBLIC = "public"
"""The scope that everybody shares."""


REMEMBERED = 1_024
"""Questions whose key is remembered: dashboards ask the same few again and again."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where a query's answers live: ``entry`` by its meaning, ``error`` by its exact request.

    Both begin with the same hash tag, so that one MGET reads them in a Cluster too. ``flight`` names the
    flight: the meaning, and whatever headers go upstream with it. ``exact`` identifies the exact request
    within the meaning.
    """

    flight: str
    entry: str
    error: str
    exact: str


def encode(*parts: bytes) -> bytes:
    """The parts, each after its length: injective, whatever bytes they hold."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@lru_cache(REMEMBERED)
def cache_key(
    prefix: str, scope: str, canonical: bytes, exact: bytes, sent: tuple[tuple[bytes, bytes], ...] = ()
) -> CacheKey:
    """The key of a query within a scope.

    ``exact`` is what an error answer would echo; ``sent`` are the client's headers as they go upstream, on which
    the answer may depend, but not on how they are spelt.
    """
    meaning = _digest(20, str(SCHEMA).encode(), scope.encode(), canonical)
    negotiated = encode(*chain.from_iterable([(name, canonical_value(name, value)) for name, value in sent]))
    literal = _digest(12, exact, negotiated)
    tag = f"{prefix}:{{{meaning}}}"
    flight = f"{meaning}.{_digest(12, negotiated)}" if sent else meaning
    return CacheKey(flight=flight, entry=tag, error=f"{tag}:{literal}", exact=literal)


def question_of(method: bytes, exact: bytes, content: bytes = b"") -> str:
    """Names what is asked, without the headers that are negotiated."""
    return _digest(12, method, exact, content)


def _digest(size: int, *parts: bytes) -> str:
    return blake2b(encode(*parts), digest_size=size).hexdigest()
