"""Invalidation: what a successful unsafe request makes void (RFC 9111 §4.4). Pure."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urljoin, urlsplit

from gateway.catalogue.target import canonical_authority
from gateway.errors import Headers

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 §9.2.1; of these only GET and HEAD are ever answered from the cache."""
LOCATIONS = frozenset({b"location", b"content-location"})
"""What names other targets that a request changed."""


def is_unsafe(method: str) -> bool:
    """Whether a successful request with this method invalidates; an unknown method does."""
    return method not in SAFE


def invalidated(target: bytes, status: int, headers: Headers, authorities: Collection[bytes]) -> list[bytes]:
    """The targets in origin form that a response to an unsafe request for ``target`` invalidates.

    On success these are the target itself, and where ``Location`` and ``Content-Location`` point, if that is
    the same origin: one of ``authorities`` (``host[:port]``, lower case).
    """
    if not 200 <= status < 400:
        return []
    targets = [target]
    for name, value in headers:
        if name in LOCATIONS:
            found = _resolve(target, value, authorities)
            if found is not None and found not in targets:
                targets.append(found)
    return targets


def _resolve(target: bytes, reference: bytes, authorities: Collection[bytes]) -> bytes | None:
    try:
        base = "http://same.invalid" + target.decode("ascii")
        found = urlsplit(urljoin(base, reference.decode("ascii").strip()))
    except (UnicodeDecodeError, ValueError):
        return None
    if found.netloc != "same.invalid" and not _is_among(authorities, found.scheme.encode(), found.netloc.encode()):
        return None
    path = found.path or "/"
    marked = found.query or reference.partition(b"#")[0].rstrip().endswith(b"?")
    return (f"{path}?{found.query}" if marked else path).encode()


def _is_among(authorities: Collection[bytes], scheme: bytes, authority: bytes) -> bool:
    named = canonical_authority(scheme, authority)
    return any(canonical_authority(scheme, each) == named for each in authorities)
