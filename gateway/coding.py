"""Coding: bodies coded for the way to the client (RFC 9110 §8.4), once for an entry, not once for a request."""

from __future__ import annotations

import asyncio
import gzip
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

from gateway.cache.conditional import CODINGS, coded_tag
from gateway.errors import Headers

if sys.version_info >= (3, 14):
    from compression import zstd

    def _zstd(body: bytes) -> bytes:
        return zstd.compress(body)
else:
    import zstandard

    def _zstd(body: bytes) -> bytes:
        return zstandard.ZstdCompressor(level=3).compress(body)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=6, mtime=0)


WORTHWHILE = 1_024
"""Bodies up to this many bytes are left alone."""
AT_ONCE = 65_536
"""Bodies over this many bytes are coded in a thread."""
OVERHEAD = 400
"""Approximate bytes that a kept body costs beside its own."""

_CODERS: dict[bytes, Callable[[bytes], bytes]] = {b"zstd": _zstd, b"gzip": _gzip}
_COMPRESSIBLE = re.compile(
    rb"\s*(?:text/[^;]+|application/(?:json|xml|javascript|ecmascript|x-javascript|x-ndjson)"
    rb"|image/svg\+xml|[^;/]+/[^;]+\+(?:json|xml))\s*(?:;|$)",
    re.IGNORECASE,
)
_MEMBER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")
_OUTDATED = frozenset(
    {
        *(b"etag", b"content-length", b"content-md5", b"content-digest", b"repr-digest", b"digest"),
        b"accept-ranges",
    }
)
"""What is not true of a coded body; ranges are given of the uncoded one alone."""

Slot = tuple[Hashable, bytes]
Code = Callable[[bytes, bytes], bytes | None]


def shrunk(coding: bytes, body: bytes) -> bytes | None:
    """The coded body, the same bytes each time; None where it is not smaller."""
    coded = _CODERS[coding](body)
    return coded if len(coded) < len(body) else None


class Coder:
    """Prepares coded bodies and keeps them, least recently used leaving first, within ``max_bytes``.

    ``offered`` are the codings' names, best first; ``code`` does the work, in this thread or another.
    """

    def __init__(self, max_bytes: int, offered: Sequence[bytes] = CODINGS, code: Code = shrunk) -> None:
        self.max_bytes = max_bytes
        self.offered = tuple(offered)
        self.bytes = 0
        self._code = code
        self._kept: OrderedDict[Slot, bytes | None] = OrderedDict()
        self._under_way: dict[Slot, asyncio.Task[bytes | None]] = {}

    def __repr__(self) -> str:
        return f"<Coder {len(self._kept)} bodies, {self.bytes}/{self.max_bytes} bytes>"

    async def coded(self, key: Hashable | None, coding: bytes, body: bytes) -> bytes | None:
        """The body in this coding; None where that is not smaller, or too large to be kept.

        ``key`` names this very body; callers with the same key share one preparation, which goes on without
        them. A body without a key is not kept, and coded only where that is quick.
        """
        if key is None:
            return self._code(coding, body) if len(body) <= AT_ONCE else None
        slot = (key, coding)
        if slot in self._kept:
            self._kept.move_to_end(slot)
            return self._kept[slot]
        if len(body) <= AT_ONCE:
            return self._keep(slot, self._code(coding, body))
        task = self._under_way.get(slot)
        if task is None:
            task = self._under_way[slot] = asyncio.create_task(self._prepare(slot, body))
        return await asyncio.shield(task)

    async def _prepare(self, slot: Slot, body: bytes) -> bytes | None:
        try:
            return self._keep(slot, await asyncio.to_thread(self._code, slot[1], body))
        finally:
            del self._under_way[slot]

    def _keep(self, slot: Slot, coded: bytes | None) -> bytes | None:
        """Keeps a result, also that there is none: else it would be looked for again with each request."""
        if _size(coded) > self.max_bytes:
            coded = None
        self._kept[slot] = coded
        self.bytes += _size(coded)
        while self.bytes > self.max_bytes and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= _size(oldest)
        return coded


def is_codable(headers: Headers, body: bytes) -> bool:
    """Whether an answer is large and compressible enough to be coded, and may be (RFC 9111 §5.2.2.6)."""
    if len(body) <= WORTHWHILE:
        return False
    compressible = False
    for name, value in headers:
        if name == b"content-type":
            compressible = _is_compressible(value)
        elif name == b"content-encoding" or (name == b"cache-control" and _forbids_transforming(value)):
            return False
    return compressible


def negotiate(asked: Headers, offered: Sequence[bytes]) -> bytes | None:
    """The coding to send, by the client's weights, then by the order of ``offered``; None for none.

    No coding is what a client gets that names none, wishes no transformation (RFC 9111 §5.2.1.6), prefers
    ``identity``, or accepts nothing at all (RFC 9110 §12.5.3).
    """
    if any(name == b"cache-control" and _forbids_transforming(value) for name, value in asked):
        return None
    value = b",".join([value for name, value in asked if name == b"accept-encoding"])
    return _chosen(value, tuple(offered)) if value else None


def acceptable(asked: Headers, offered: Sequence[bytes]) -> tuple[bytes, ...]:
    """The codings that the client can decode, best first; all of them where it says nothing."""
    values = [value for name, value in asked if name == b"accept-encoding"]
    return _ranked(_weights(b",".join(values)), offered) if values else tuple(offered)


def coded_headers(headers: Headers, coding: bytes) -> Headers:
    """The headers of an answer's coded variant, which has an ETag of its own (RFC 9110 §8.8.3.3)."""
    kept = [(name, value) for name, value in headers if name not in _OUTDATED]
    etag = coded_tag(next((value for name, value in headers if name == b"etag"), b""), coding)
    return [*kept, *([(b"etag", etag)] if etag else []), (b"content-encoding", coding)]


@lru_cache(256)
def _is_compressible(content_type: bytes) -> bool:
    return _COMPRESSIBLE.match(content_type) is not None


@lru_cache(256)
def _remembered(value: bytes, offered: tuple[bytes, ...]) -> bytes | None:
    weights = _weights(value)
    best = next(iter(_ranked(weights, offered)), None)
    return best if best is not None and _weight(weights, best) >= weights.get(b"identity", 0.0) else None


def _chosen(value: bytes, offered: tuple[bytes, ...]) -> bytes | None:
    """Remembered for values of usual length: few clients, few values."""
    return (_remembered if len(value) <= 200 else _remembered.__wrapped__)(value, offered)


def _weights(value: bytes) -> dict[bytes, float]:
    """An ``Accept-Encoding`` by coding; malformed members do not count, of repeated ones the smallest does."""
    weights: dict[bytes, float] = {}
    for member in value.split(b","):
        found = _MEMBER.fullmatch(member.strip(b" \t"))
        if found is not None:
            coding = found[1].lower()
            coding = b"gzip" if coding == b"x-gzip" else coding
            weights[coding] = min(weights.get(coding, 1.0), float(found[2] or b"1"))
    return weights


def _weight(weights: dict[bytes, float], coding: bytes) -> float:
    return weights.get(coding, weights.get(b"*", 0.0))


def _ranked(weights: dict[bytes, float], offered: Sequence[bytes]) -> tuple[bytes, ...]:
    accepted = [coding for coding in offered if _weight(weights, coding) > 0]
    return tuple(sorted(accepted, key=lambda coding: -_weight(weights, coding)))


def _forbids_transforming(value: bytes) -> bool:
    """Taken as said wherever the word occurs: an answer that is not coded is never wrong."""
    return b"no-transform" in value.lower()


def _size(coded: bytes | None) -> int:
    return OVERHEAD + len(coded or b"")
