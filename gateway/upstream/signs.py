"""Signs: what a call says about whether the service wants to hear from us, and with whose credential. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.cache.control import seconds
from gateway.cache.dates import http_date
from gateway.errors import GatewayError, UpstreamDisconnected

DENIALS = frozenset({403, 503})
"""Statuses that are a refusal where it is not the service that speaks."""


class Kind(StrEnum):
    """What a call was a sign of."""

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"
    LIMITED = "limited"
    RESET = "reset"
    NOTHING = "nothing"


REFUSALS = frozenset({Kind.REFUSED, Kind.LIMITED, Kind.RESET})
"""What may mean that the service, or something in front of it, does not want to hear from us."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A call's sign. ``retry_after`` is how long a refusal asks us to stay away, in seconds, where it says so.

    FAILED is the service's own failure, which says nothing about us; REFUSED and RESET are evidence about their
    target first, LIMITED about its credential (``evidence.py``).
    """

    kind: Kind
    retry_after: float | None = None


ANSWERED, FAILED, REFUSED, LIMITED, RESET, NOTHING = (Sign(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer to a protected query says about the credential of this fingerprint. ``question`` names the
    query: one may be odd, two different ones are not."""

    fingerprint: str
    refused: bool
    question: str = ""


def sign_of(status: int, headers: Sequence[tuple[bytes, bytes]], now: float, *, speaks: bool) -> Sign:
    """The sign that an answer gives: header names in lower case, ``now`` in seconds since the epoch; ``speaks``
    says that the service gave it, and nobody in its place.

    A 429 (RFC 6585 §4) asks for fewer requests. A refusal is a 403 or 503 that is no word of the service but of
    something in front of it. Other failures (RFC 9110 §15.6), and what else somebody in its place may say, tell
    nothing about us.
    """
    if status == 429:
        return Sign(Kind.LIMITED, retry_after(headers, now))
    if status in DENIALS and not speaks:
        return Sign(Kind.REFUSED, retry_after(headers, now))
    return ANSWERED if speaks and status < 500 else FAILED


def sign_of_error(error: GatewayError) -> Sign:
    """The sign that a call without an answer gives. That a kept connection ends says nothing about us."""
    if isinstance(error, UpstreamDisconnected) and error.kept:
        return NOTHING
    return RESET if isinstance(error, UpstreamDisconnected) else NOTHING


def retry_after(headers: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds from ``now`` that ``Retry-After`` asks for, as a delay or a date (RFC 9110 §10.2.3).

    A delay of any length counts, as ``LONGEST`` at most. None where there is none, where it cannot be read, and
    where there are several.
    """
    values = [value.strip() for name, value in headers if name == b"retry-after"]
    if len(values) != 1:
        return None
    delay = seconds(values[0])
    if delay is not None:
        return delay
    at = http_date(values[0], now)
    return None if at is None else max(0.0, at - now)
