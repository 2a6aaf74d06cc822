"""Body: an answer's content, put together and decoded within a cap."""

from __future__ import annotations

import zlib

from gateway.errors import Headers, UpstreamProtocolError, UpstreamTooLarge

GZIP = 16 + zlib.MAX_WBITS
"""zlib's name for the gzip format (RFC 1952)."""


class Body:
    """Takes content as it arrives; neither its raw nor its decoded size passes ``cap`` bytes.

    Only gzip is asked for, so only gzip is understood; an empty content is empty under any coding.
    """

    def __init__(self, headers: Headers, cap: int) -> None:
        self._codings = _codings(headers)
        self._cap = cap
        self._raw = 0
        self._decoded = bytearray()
        self._member: zlib._Decompress | None = None

    def add(self, data: bytes) -> None:
        """The next piece. Raises UpstreamTooLarge, or UpstreamProtocolError where the coding is broken."""
        self._raw += len(data)
        if self._raw > self._cap:
            raise UpstreamTooLarge("The service's answer is too large.")
        if not self._codings:
            self._decoded += data
        elif self._codings == [b"gzip"]:
            self._inflate(data)
        else:
            raise UpstreamProtocolError("The service's answer has an unknown content coding.")

    def finish(self) -> bytes:
        """The whole content. Raises UpstreamProtocolError where the coding is cut short."""
        if self._member is not None and not self._member.eof:
            raise UpstreamProtocolError("The service's answer has a broken content coding.")
        return bytes(self._decoded)

    def _inflate(self, data: bytes) -> None:
        while data:
            if self._member is None or self._member.eof:
                self._member = zlib.decompressobj(GZIP)
            # One byte more than may be: an answer that inflates without end stops right there.
            room = self._cap - len(self._decoded) + 1
            try:
                self._decoded += self._member.decompress(data, room)
            except zlib.error as error:
                raise UpstreamProtocolError("The service's answer has a broken content coding.") from error
            if len(self._decoded) > self._cap:
                raise UpstreamTooLarge("The service's answer is too large.")
            data = self._member.unused_data


def _codings(headers: Headers) -> list[bytes]:
    """The content codings in the order applied (RFC 9110 §8.4); ``x-gzip`` is gzip, ``identity`` none."""
    listed = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    words = [word.strip().lower() for word in listed.split(b",")]
    return [b"gzip" if word == b"x-gzip" else word for word in words if word not in (b"", b"identity")]
