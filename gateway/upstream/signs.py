"""Signs: what a call says about whether the service wants to hear from us, and with whose credential. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.caching.dates import http_date
from gateway.errors import GatewayError, UpstreamDisconnected

DENIALS = frozenset({403, 429, 503})
"""Statuses that mean a block where the body is not the service's own JSON."""
RESETS = 3
"""Connections that break off in a row, with no answer between, before that counts as a block."""

_DELAY = re.compile(rb"[0-9]{1,15}")


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


def sign_of(status: int, headers: Sequence[tuple[bytes, bytes]], now: float) -> Sign:
    """The sign that an answer gives: header names in lower case, ``now`` in seconds since the epoch.

    A block is a 429 (RFC 6585 §4), or a 403 or 503 that is not JSON: no word of the service but of something
    in front of it. Other failures (RFC 9110 §15.6) say nothing about us.
    """
    if status == 429 or (status in DENIALS and not _is_json(headers)):
        return Sign(Kind.BLOCKED, retry_after(headers, now))
    return FAILED if status >= 500 else ANSWERED


def sign_of_error(error: GatewayError) -> Sign:
    """The sign that a call without an answer gives. That a kept connection ends says nothing about us."""
    if isinstance(error, UpstreamDisconnected) and error.kept:
        return NOTHING
    return RESET if isinstance(error, UpstreamDisconnected) else NOTHING


def retry_after(headers: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds from ``now`` that ``Retry-After`` asks for, as a delay or a date (RFC 9110 §10.2.3).

    None where there is none, where it cannot be read, and where there are several.
    """
    values = [value.strip() for name, value in headers if name == b"retry-after"]
    if len(values) != 1:
        return None
    if _DELAY.fullmatch(values[0]):
        return float(values[0])
    at = http_date(values[0], now)
    return None if at is None else max(0.0, at - now)


def _is_json(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    kinds = [value.split(b";")[0].strip().lower() for name, value in headers if name == b"content-type"]
    return kinds == [b"application/json"]
