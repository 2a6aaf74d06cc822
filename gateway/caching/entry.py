"""Entry: a stored upstream response with the times that govern it, and its checked encoding."""

from __future__ import annotations

import sys
import zlib

import msgspec

from gateway.errors import Headers

if sys.version_info >= (3, 14):
    from compression import zstd

    def _compress(data: bytes) -> bytes:
        return zstd.compress(data)

    def _decompress(data: bytes) -> bytes:
        return zstd.decompress(data)

    CodingError: type[Exception] = zstd.ZstdError
else:
    import zstandard

    def _compress(data: bytes) -> bytes:
        return zstandard.ZstdCompressor(level=3).compress(data)

    def _decompress(data: bytes) -> bytes:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_DECODED)

    CodingError: type[Exception] = zstandard.ZstdError

COMPRESS_FROM = 1_024
MAX_DECODED = 256 * 1024 * 1024
PLAIN, ZSTD = b"p", b"z"
STAMP = 16
HEAD = STAMP + 1 + 4


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stored upstream response; an error record has the same shape.

    ``key`` is the Redis key it was stored under, checked on reading. ``headers`` are the response's, filtered,
    lower-case; never the request's. Times are seconds of the fleet's clock: ``dispatched`` and ``received``
    are of its own fetch; it is fresh until ``fresh_until``, serves while it is refreshed until ``serve_until``,
    and stands in for a failure until ``keep_until``.
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

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        return len(self.body) + 400 + sum(len(n) + len(v) + 120 for n, v in self.headers)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def stamp(dispatched: float) -> bytes:
    """The time of dispatch as 16 digits of microseconds, comparable as text (put.lua does)."""
    return b"%016d" % int(dispatched * 1e6)


def encode(entry: Entry) -> bytes:
    """stamp · coding · CRC-32 of the payload · payload (msgpack, compressed from 1 KiB of body on)."""
    payload = _encoder.encode(entry)
    coding = ZSTD if len(entry.body) > COMPRESS_FROM else PLAIN
    if coding is ZSTD:
        payload = _compress(payload)
    return stamp(entry.dispatched) + coding + zlib.crc32(payload).to_bytes(4, "big") + payload


def decode(data: bytes, key: str) -> Entry | None:
    """The entry, or None where the bytes are not a whole, well-formed entry of this very key."""
    coding, check, payload = data[STAMP : STAMP + 1], data[STAMP + 1 : HEAD], data[HEAD:]
    if coding not in (PLAIN, ZSTD) or zlib.crc32(payload).to_bytes(4, "big") != check:
        return None
    try:
        entry = _decoder.decode(_decompress(payload) if coding == ZSTD else payload)
    except (msgspec.DecodeError, CodingError, UnicodeDecodeError):
        return None
    return entry if entry.key == key else None
