"""Signs: what a call says about whether the service wants to hear from us, and with whose credential. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.cache_control import seconds
from gateway.caching.dates import http_date
from gateway.errors import GatewayError, UpstreamDisconnected

DENIALS = frozenset({403, 429, 503})
"""Statuses that mean a block where it is not the service that speaks."""
RESETS = 3
"""Connections that break off in a row, with no answer between, before that counts as a block."""


class Kind(StrEnum):
    """What a call was a sign of."""

    ANSWERED = "answered"
    FAILED = "failed"
    BLOCKED = "blocked"
    RESET = "reset"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Sign:
    """A call's sign. ``retry_after`` is how long a block asks us to stay away, in seconds, where it says so.

    FAILED is an answer that neither opens nor closes the gate; RESET closes it once there are three in a row.
    """

    kind: Kind
    retry_after: float | None = None


ANSWERED, FAILED, BLOCKED, RESET, NOTHING = (Sign(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer to a protected query says about the credential of this fingerprint."""

    fingerprint: str
    refused: bool


def sign_of(status: int, headers: Sequence[tuple[bytes, bytes]], now: float, *, speaks: bool) -> Sign:
    """The sign that an answer gives: header names in lower case, ``now`` in seconds since the epoch; ``speaks``
    says that the service gave it, and nobody in its place.

    A block is a 429 (RFC 6585 §4), or a 403 or 503 that is no word of the service but of something in front of
    it. Other failures (RFC 9110 §15.6), and what else somebody in its place may say, tell nothing about us.
    """
    if status == 429 or (status in DENIALS and not speaks):
        return Sign(Kind.BLOCKED, retry_after(headers, now))
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
