"""Stored upstream responses with the times that govern them, and their checked encoding."""

from __future__ import annotations

import math
import sys
import zlib

import msgspec
from msgspec import structs

from gateway.errors import Headers

if sys.version_info >= (3, 14):
    from compression import zstd

    def compress(data: bytes) -> bytes:
        return zstd.compress(data)

    def decompress(data: bytes) -> bytes:
        return zstd.decompress(data)

    CodingError: type[Exception] = zstd.ZstdError
else:
    import zstandard

    def compress(data: bytes) -> bytes:
        return zstandard.ZstdCompressor(level=3).compress(data)

    def decompress(data: bytes) -> bytes:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_DECODED)

    CodingError: type[Exception] = zstandard.ZstdError

COMPRESS_FROM = 1_024
AHEAD = 60.0
"""Seconds by which clocks that are right may differ."""
TIMES = ("dispatched", "received", "fresh_until", "serve_until", "keep_until", "born", "drop_at", "bound")
MAX_DECODED = 256 * 1024 * 1024
PLAIN, ZSTD = b"p", b"z"
VARIANT, LENGTH, STAMP = 24, 8, 16
PREFIX = VARIANT + LENGTH
HEAD = STAMP + 1 + 4
SOLE = "-" * VARIANT
"""The variant of an answer that depends on no request header."""
MARK = b"!" * VARIANT
"""Stands in place of a variant in the frame that says since when a record is invalid."""
VARIANTS = 16
"""Variants kept under one key; as in put.lua."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stored upstream response; an error record has the same shape.

    ``key`` is the Redis key it was stored under, checked on reading. ``headers`` are the response's, filtered,
    lower-case; never the request's. ``etag`` is the validator that clients see.

    Of several entries under one key each is a ``variant``: a digest of the request's values of the fields that
    ``vary`` names (RFC 9111 §4.1).

    Times are seconds of the fleet's clock: ``dispatched`` and ``received`` are of its own fetch, or of its
    last validation; its age counts from ``born`` (§4.2.3); it is fresh until ``fresh_until``, serves while it
    is refreshed until ``serve_until``, stands in for a failure until ``keep_until``, and can be validated
    until ``drop_at``. ``stale_ok`` says that a client may ask for it stale.

    ``rule`` names the lifetime that applied (``closed``, …; empty for the origin's own), and ``bound`` is
    the latest time to which any lifetime may make it fresh. ``target`` is the request target that it answers.

    ``skew`` is how far the fleet's own time was ahead of that clock (redis.py), in seconds.
    """

    key: str
    status: int
    headers: Headers
    body: bytes
    etag: bytes
    dispatched: float
    received: float
    fresh_until: float
    serve_until: float
    keep_until: float
    born: float = 0.0
    drop_at: float = 0.0
    stale_ok: bool = True
    vary: tuple[bytes, ...] = ()
    variant: str = SOLE
    rule: str = ""
    bound: float = math.inf
    target: bytes = b""
    skew: float = 0.0

    @property
    def order(self) -> float:
        """When it was dispatched by the fleet's own time, which orders answers."""
        return self.dispatched + self.skew

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        return len(self.body) + 400 + sum([len(n) + len(v) + 120 for n, v in self.headers])

    def header(self, name: bytes) -> bytes:
        """The first value of a header, empty where there is none."""
        return next((value for key, value in self.headers if key == name), b"")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def stamp(order: float) -> bytes:
    """The time of dispatch, by the fleet's own time: 16 digits of microseconds, compared as text (put.lua)."""
    return b"%016d" % int(order * 1e6)


def mended(entry: Entry, now: float, skew: float) -> Entry:
    """The entry with its times moved to the present clock, which has stepped where ``skew`` has changed since.

    An entry from the future has an unknown age, and becomes stale.
    """
    shift = entry.skew - skew
    if entry.received + shift > now + AHEAD:
        shift = min(shift, now - entry.fresh_until)
    if shift == 0:
        return entry
    times = {name: getattr(entry, name) + shift for name in TIMES}
    return structs.replace(entry, **times, skew=entry.skew - shift)


def encode(entry: Entry) -> bytes:
    """One frame of a record: variant · length of the rest · stamp · coding · CRC-32 of the payload · payload.

    The payload is msgpack, compressed from 1 KiB of body on.
    """
    payload = _encoder.encode(entry)
    coding = ZSTD if len(entry.body) > COMPRESS_FROM else PLAIN
    if coding is ZSTD:
        payload = compress(payload)
    length = b"%08d" % (HEAD + len(payload))
    check = zlib.crc32(payload).to_bytes(4, "big")
    return b"".join((entry.variant.encode(), length, stamp(entry.order), coding, check, payload))


def decode(record: bytes, key: str) -> list[Entry]:
    """The entries of a record, newest first; frames that are not whole, well-formed and of this very key are
    left out, and so is a purge mark."""
    entries, at = [], 0
    while (end := _end_of_frame(record, at)) > at:
        entry = _decode_frame(record, at + PREFIX, end, key)
        if entry is not None:
            entries.append(entry)
        at = end
    return entries


def invalidated_since(record: bytes) -> bytes | None:
    """The stamp of a record's mark; None where it has none."""
    if MARK not in record:
        return None
    at = 0
    while (end := _end_of_frame(record, at)) > at:
        if record.startswith(MARK, at):
            return record[at + PREFIX : min(end, at + PREFIX + STAMP)]
        at = end
    return None


def _end_of_frame(record: bytes, at: int) -> int:
    """Where the frame that begins ``at`` ends; ``at`` itself where none begins."""
    length = record[at + VARIANT : at + PREFIX]
    return at + PREFIX + int(length) if length.isdigit() else at


def _decode_frame(record: bytes, at: int, end: int, key: str) -> Entry | None:
    """What stands after the length of a frame; None where that is no entry under this key."""
    coding, check = record[at + STAMP : at + STAMP + 1], record[at + STAMP + 1 : at + HEAD]
    payload = record[at + HEAD : end]
    if coding not in (PLAIN, ZSTD) or zlib.crc32(payload).to_bytes(4, "big") != check:
        return None
    try:
        entry = _decoder.decode(decompress(payload) if coding == ZSTD else payload)
    except (msgspec.DecodeError, CodingError, UnicodeDecodeError):
        return None
    return entry if entry.key == key else None
