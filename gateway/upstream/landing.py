"""Landing: what a flight ends with, and everyone who joined it gets."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway import errors
from gateway.cache.entry import Entry
from gateway.cache.rules import failed
from gateway.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Landing:
    """An answer of the service (``entry``, stored or not), or the error that took its place.

    ``exact`` is the leader's exact request: an error answer echoes it, so only those who asked the very same
    may have it. ``stored`` says that the entry is in the cache, ``revalidated`` that the service confirmed it
    (RFC 9111 §4.3.3), ``failed`` that it is no answer, so that a stale entry stands in for it. ``flown`` is how
    many seconds the service took, ``trace`` the call's place in its trace.
    """

    exact: str
    entry: Entry | None = None
    error: GatewayError | None = None
    stored: bool = False
    revalidated: bool = False
    flown: float = 0.0
    trace: str = ""
    failed: bool = False

    @property
    def asked(self) -> bool:
        """Whether the service was asked for it: else it was in the cache by the time the flight could set out."""
        return self.flown > 0 or not self.stored

    def answers(self, exact: str) -> bool:
        """Whether this landing is an answer to that exact request (decision 8: 4xx echo, 5xx do not)."""
        if self.entry is None or self.exact == exact:
            return True
        status = self.entry.status
        return not 400 <= status < 500 or status == 429


class _Wire(msgspec.Struct, array_like=True):
    """How a landing travels between processes."""

    exact: str
    entry: Entry | None
    error: str | None
    message: str
    retry_after: float | None
    stored: bool
    revalidated: bool = False
    flown: float = 0.0
    trace: str = ""
    failed: bool | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_CLASSES = {kind.__name__: kind for kind in errors.TABLE}


def encode(landing: Landing) -> bytes:
    """A landing as bytes, for the flight result in Redis."""
    error = landing.error
    return _encoder.encode(
        _Wire(
            exact=landing.exact,
            entry=landing.entry,
            error=None if error is None else type(error).__name__,
            message="" if error is None else error.message,
            retry_after=None if error is None else error.retry_after,
            stored=landing.stored,
            revalidated=landing.revalidated,
            flown=landing.flown,
            trace=landing.trace,
            failed=landing.failed,
        )
    )


def decode(data: bytes) -> Landing | None:
    """The landing, or None where there is none to be read: the job was dropped, or its leaders kept dying."""
    try:
        wire = _decoder.decode(data)
    except msgspec.DecodeError:
        return None
    if wire.error is None:
        error = None
    else:
        kind = _CLASSES.get(wire.error, errors.UpstreamFailure)
        error = kind(wire.message, retry_after=wire.retry_after)
    told = wire.failed
    if told is None:  # an older version does not tell
        told = wire.entry is not None and failed(wire.entry)
    return Landing(wire.exact, wire.entry, error, wire.stored, wire.revalidated, wire.flown, wire.trace, told)
