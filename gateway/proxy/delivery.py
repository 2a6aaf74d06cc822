"""Delivery: what a client gets of a whole response: a 304, a part, a coded form, or all of it."""

from __future__ import annotations

import asyncio
import gzip
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

from msgspec.structs import replace

from gateway.cache.conditional import (
    CODINGS,
    METADATA,
    Part,
    Unsatisfiable,
    coded_tag,
    copy_of,
    not_modified,
    precondition_failed,
    range_of,
    unmodified,
)
from gateway.errors import Headers
from gateway.proxy.response import Response, varying

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
"""Bodies up to this many bytes are not coded."""
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
    """The coded body, deterministic; None where it is not smaller."""
    coded = _CODERS[coding](body)
    return coded if len(coded) < len(body) else None


class Coder:
    """Coded bodies (RFC 9110 §8.4), made once for an entry; the least recently used leave beyond ``max_bytes``.

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
        """Keep a result, also that there is none, so that it is not tried again with each request."""
        if _size(coded) > self.max_bytes:
            coded = None
        self._kept[slot] = coded
        self.bytes += _size(coded)
        while self.bytes > self.max_bytes and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= _size(oldest)
        return coded


def is_codable(headers: Headers, body: bytes) -> bool:
    """Whether a response is large and compressible enough to be coded, and may be (RFC 9111 §5.2.2.6)."""
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
    """The codings that the client accepts, best first; all of them without Accept-Encoding."""
    values = [value for name, value in asked if name == b"accept-encoding"]
    return _ranked(_weights(b",".join(values)), offered) if values else tuple(offered)


def coded_headers(headers: Headers, coding: bytes) -> Headers:
    """The headers of a response's coded variant, which has an ETag of its own (RFC 9110 §8.8.3.3)."""
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
    """The coding for an ``Accept-Encoding``, remembered for values of usual length."""
    return (_remembered if len(value) <= 200 else _remembered.__wrapped__)(value, offered)


def _weights(value: bytes) -> dict[bytes, float]:
    """The weights of an ``Accept-Encoding`` by coding, without malformed members; a repeated one counts with
    the least."""
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
    """Whether the word occurs anywhere: a response that is not coded is never wrong."""
    return b"no-transform" in value.lower()


def _size(coded: bytes | None) -> int:
    return OVERHEAD + len(coded or b"")


CONDITIONS = frozenset({b"if-match", b"if-unmodified-since", b"if-none-match", b"if-modified-since", b"range"})
HEEDED = CONDITIONS | {b"if-range", b"accept-encoding", b"cache-control"}
"""Request headers that decide about delivery."""

WHOLE_ONLY = frozenset({b"accept-ranges", b"content-length", b"content-md5", b"content-digest", b"content-range"})
"""Headers of whole responses only; a ``Content-Range`` on one means nothing (RFC 9110 §14.4)."""
GOVERNING = METADATA | {b"etag", b"last-modified", b"age", b"expires", b"cache-control", b"cdn-cache-control"}
"""Headers about the response's own body and lifetime, which a refusal in its place must not have."""

ACCEPT_RANGES = (b"accept-ranges", b"bytes")


async def deliver(
    response: Response, method: str, asked: Headers, coder: Coder | None, key: Hashable | None
) -> Response:
    """What a client gets who sent the headers ``asked``: for a 200 to a GET or HEAD a 412, a 304, a part (206,
    416), its coded form or the whole, tried in this order (RFC 9110 §13.2.2); for another 2xx a 412 at most;
    anything else as it is.

    ``key`` names the response's very body, None where it is not stored; without a ``coder`` nothing is coded.
    A HEAD gets the headers of the GET (§9.3.2).
    """
    if not 200 <= response.status < 300 or method not in ("GET", "HEAD"):
        return response
    conditional = not CONDITIONS.isdisjoint([name for name, _ in asked])
    if response.status != 200:
        return _failed(response) if conditional and _fails(response, asked, None) else response
    if coder is not None and is_codable(response.headers, response.body):
        response = replace(response, headers=varying(response.headers, b"Accept-Encoding"))
    else:
        coder = None
    if not conditional:
        return _whole(response) if coder is None else await _coded(response, asked, coder, key)
    asked = [line for line in asked if line[0] in HEEDED]
    ranged = method == "GET" and any(name == b"range" for name, _ in asked)
    if _fails(response, asked, None if ranged else coder):  # ranges are cut from the uncoded body alone
        return _failed(response)
    unchanged = await _unchanged(response, asked, coder, key)
    if unchanged is not None:
        return unchanged
    if method == "GET":
        match range_of(asked, *_validators(response.headers), len(response.body)):
            case Part() as part:
                return _partial(response, part, asked)
            case Unsatisfiable() as nothing:
                return _unsatisfiable(response, nothing)
    return await _coded(response, asked, coder, key)


def _fails(response: Response, asked: Headers, coder: Coder | None) -> bool:
    """Whether a precondition rules out this response, and those that the ``coder`` makes of it (RFC 9110
    §13.1)."""
    etag, last_modified, _ = _validators(response.headers)
    return precondition_failed(asked, etag, last_modified, _codings(asked, coder))


def _codings(asked: Headers, coder: Coder | None) -> tuple[bytes, ...]:
    return () if coder is None else acceptable(asked, coder.offered)


async def _unchanged(
    response: Response, asked: Headers, coder: Coder | None, key: Hashable | None
) -> Response | None:
    """The 304, with the ETag of the client's copy, else that of what a 200 would have been (RFC 9110 §15.4.5)."""
    etag, last_modified, date = _validators(response.headers)
    codings = _codings(asked, coder)
    if not not_modified(asked, etag, last_modified, response.status, date=date, codings=codings):
        return None
    copy = copy_of(asked, etag, codings)
    if copy is None:
        response = await _coded(response, asked, coder, key)
        copy = _validators(response.headers)[0]
    return replace(response, status=304, headers=unmodified(response.headers, copy), body=b"")


async def _coded(response: Response, asked: Headers, coder: Coder | None, key: Hashable | None) -> Response:
    """The response in the client's preferred coding, if any; else the whole."""
    coding = None if coder is None else negotiate(asked, coder.offered)
    if coder is None or coding is None:
        return _whole(response)
    body = await coder.coded(key, coding, response.body)
    if body is None:
        return _whole(response)
    return replace(response, headers=coded_headers(response.headers, coding), body=body)


def _whole(response: Response) -> Response:
    """The whole response, which announces that ranges may be requested (RFC 9110 §14.3)."""
    if ACCEPT_RANGES in response.headers:
        return response
    headers = response.headers
    if b"accept-ranges" in [name for name, _ in headers]:
        headers = [line for line in headers if line[0] != b"accept-ranges"]
    return replace(response, headers=[*headers, ACCEPT_RANGES])


def _partial(response: Response, part: Part, asked: Headers) -> Response:
    """A 206; a client that sent ``If-Range`` has the other headers already (RFC 9110 §15.3.7)."""
    if any(name == b"if-range" for name, _ in asked):
        headers = unmodified(response.headers, _validators(response.headers)[0])
    else:
        headers = [line for line in response.headers if line[0] not in WHOLE_ONLY]
    headers.append((b"content-range", part.content_range(len(response.body))))
    return replace(response, status=206, headers=headers, body=response.body[part.start : part.end])


def _unsatisfiable(response: Response, nothing: Unsatisfiable) -> Response:
    """A 416 with the complete length (RFC 9110 §15.5.17)."""
    return _in_place_of(response, 416, (b"content-range", nothing.content_range(len(response.body))))


def _failed(response: Response) -> Response:
    return _in_place_of(response, 412)


def _in_place_of(response: Response, status: int, *more: tuple[bytes, bytes]) -> Response:
    """A refusal without content, which no cache may store."""
    headers = [line for line in response.headers if line[0] not in GOVERNING]
    return replace(response, status=status, headers=[*headers, (b"cache-control", b"no-store"), *more], body=b"")


def _validators(headers: Headers) -> tuple[bytes, bytes, bytes]:
    """``ETag``, ``Last-Modified`` and ``Date``; empty where there is none."""
    found = dict(reversed(headers))
    return found.get(b"etag", b""), found.get(b"last-modified", b""), found.get(b"date", b"")
