"""Body: an answer's content, put together and decoded within a cap."""

from __future__ import annotations

import zlib

from gateway.errors import Headers, UpstreamProtocolError, UpstreamTooLarge

GZIP = 16 + zlib.MAX_WBITS
"""zlib's name for the gzip format (RFC 1952)."""
MEMBER = b"\x1f\x8b\x08"
"""How each member of a gzip stream begins (RFC 1952 §2.3.1)."""
CODINGS = frozenset(
    {
        *(b"aes128gcm", b"br", b"compress", b"dcb", b"dcz", b"deflate", b"exi", b"gzip", b"pack200-gzip"),
        *(b"x-compress", b"x-gzip", b"zstd"),
    }
)
"""The registered content codings (RFC 9110 §16.6.1); what else a header may name was not done to the content."""


class Body:
    """Takes content as it arrives; neither its raw nor its decoded size passes ``cap`` bytes.

    Only gzip is asked for; deflate is understood as well. An empty content is empty under any coding, and
    padding after a complete one is dropped. ``received`` counts its bytes before they are decoded.
    """

    def __init__(self, headers: Headers, cap: int) -> None:
        self._codings = _codings(headers)
        self._cap = cap
        self.received = 0
        self._ahead = b""
        self._padded = False
        self._decoded = bytearray()
        self._member: zlib._Decompress | None = None

    def add(self, data: bytes) -> None:
        """The next piece. Raises UpstreamTooLarge, or UpstreamProtocolError where the coding is broken."""
        self.received += len(data)
        if self.received > self._cap:
            raise UpstreamTooLarge("The service's answer is too large.")
        if not self._codings:
            self._decoded += data
        elif self._codings in ([b"gzip"], [b"deflate"]):
            self._ahead += data
            while self._ahead and self._begun():
                self._inflate()
        else:
            raise UpstreamProtocolError("The service's answer has an unknown content coding.")

    def finish(self) -> bytes:
        """The whole content. Raises UpstreamProtocolError where the coding is cut short."""
        cut = bool(self._ahead) if self._member is None else not self._member.eof
        if cut:
            raise UpstreamProtocolError("The service's answer has a broken content coding.")
        return bytes(self._decoded)

    def _begun(self) -> bool:
        """Whether a member takes what is ahead; not where that is padding, or too short to tell."""
        if self._member is None:
            wbits = _wbits(self._codings[0], self._ahead)
            if wbits is None:
                return False
            self._member = zlib.decompressobj(wbits)
        elif self._member.eof:
            start = self._ahead[: len(MEMBER)]
            self._padded = self._padded or self._codings == [b"deflate"] or not MEMBER.startswith(start)
            if self._padded:
                self._ahead = b""
            elif start == MEMBER:
                self._member = zlib.decompressobj(GZIP)
        return not self._member.eof

    def _inflate(self) -> None:
        assert self._member is not None
        # One byte more than may be: an answer that inflates without end stops right there.
        room = self._cap - len(self._decoded) + 1
        try:
            self._decoded += self._member.decompress(self._ahead, room)
        except zlib.error as error:
            raise UpstreamProtocolError("The service's answer has a broken content coding.") from error
        if len(self._decoded) > self._cap:
            raise UpstreamTooLarge("The service's answer is too large.")
        self._ahead = self._member.unused_data


def _wbits(coding: bytes, start: bytes) -> int | None:
    """zlib's name for the format; None where the start is too short to tell.

    Deflate means the zlib format, and to some servers the bare one (RFC 9110 §8.4.1.2).
    """
    if coding == b"gzip":
        return GZIP
    if len(start) < 2:
        return None
    wrapped = start[0] & 15 == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS


def _codings(headers: Headers) -> list[bytes]:
    """The content codings in the order applied (RFC 9110 §8.4), without what is none; ``x-gzip`` is gzip."""
    listed = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    words = [word.partition(b";")[0].strip().lower() for word in listed.split(b",")]
    return [b"gzip" if word == b"x-gzip" else word for word in words if word in CODINGS]
