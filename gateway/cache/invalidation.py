"""Invalidation: which targets a successful unsafe request invalidates, and since when (RFC 9111 §4.4). Pure."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from urllib.parse import urljoin, urlsplit

from gateway.cache.entry import AHEAD, Entry, stamp
from gateway.catalogue.target import canonical_authority
from gateway.errors import Headers

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 §9.2.1; of these only GET and HEAD are ever answered from the cache."""
LOCATIONS = frozenset({b"location", b"content-location"})
"""Headers that name other targets changed by a request."""


def is_unsafe(method: str) -> bool:
    """Whether a successful request with this method invalidates; unknown methods do."""
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


KEPT = 120.0
"""Seconds for which an invalidation keeps out answers that were under way; longer than any call."""
MOST = 20_000


class Invalidations(dict[str, bytes]):
    """The records that were invalidated recently, oldest first, and since when (RFC 9111 §4.4), as far as this
    process knows.

    An answer that was dispatched before its record's invalidation no longer counts, whether it arrives late or is
    still in Redis. Times are stamps by the fleet's own clock, compared as text as in put.lua. An invalidation is
    remembered until no older answer can be under way, and until the fleet knows of it. Beyond ``MOST`` the oldest
    are forgotten, and Redis alone keeps out older answers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unsent: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Invalidations {len(self)} known, {len(self._unsent)} unsent>"

    def note(self, key: str, since: bytes, now: float) -> None:
        """A record was invalidated. A time beyond ``now`` is of a clock that was wrong."""
        if not self.get(key, b"") < since <= stamp(now + AHEAD):
            return
        self.pop(key, None)
        self[key] = since
        self._forget(stamp(now - KEPT))

    def since(self, key: str, now: float) -> bytes | None:
        """When a record was invalidated last, where older answers may be under way."""
        since = self.get(key)
        return None if since is None or since < stamp(now - KEPT) else since

    def covers(self, entry: Entry) -> bool:
        """Whether an answer was asked for before its record was invalidated."""
        since = self.get(entry.key)
        return since is not None and since > stamp(entry.order)

    # What the fleet does not know yet

    def send_later(self, key: str, since: bytes) -> None:
        """Keep an invalidation until it is ``sent``."""
        self._unsent[key] = since

    def sent(self, key: str, since: bytes) -> None:
        """The fleet knows of this invalidation."""
        if self._unsent.get(key) == since:
            del self._unsent[key]

    @property
    def unsent(self) -> list[tuple[str, bytes]]:
        """The records whose invalidation the fleet does not know of, each with the time of it."""
        return list(self._unsent.items())

    def _forget(self, horizon: bytes) -> None:
        for key, since in list(islice(self.items(), 2)):
            if len(self) > MOST or (since < horizon and key not in self._unsent):
                del self[key]
                self._unsent.pop(key, None)
