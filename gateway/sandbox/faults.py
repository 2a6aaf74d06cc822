"""Faults: how the sandbox can be made to misbehave."""

from __future__ import annotations

import math
from enum import Enum

from gateway.sandbox.answer import HTML_TYPE, Answer, Complaint, too_many_requests
from gateway.sandbox.dice import seeded

FIREWALL_PAGE = b"<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>\n"
TIMEOUT_PAGE = (
    b"<html><head><title>504 Gateway Time-out</title></head><body><h1>504 Gateway Time-out</h1></body></html>\n"
)
STRICTNESS = 0.95
"""The share of the interval 1/rate that has to pass: less is too fast."""


class Fault(Enum):
    """What ``--fail`` answers with. A TIMEOUT is silence first, and a 504 for whoever is still there."""

    ERROR = "error"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    FIREWALL = "firewall"


class Pacer:
    """A strict rate, in calls per second: a call too soon after the last accepted one is refused."""

    def __init__(self, rate: float | None) -> None:
        self._interval = None if rate is None else STRICTNESS / rate
        self._accepted: float | None = None

    def refusal(self, now: float) -> Answer | None:
        """None when a call at ``now`` (monotonic seconds) is accepted, else its 429 with ``Retry-After``."""
        wait = self._wait(now)
        if wait <= 0:
            self._accepted = now
            return None
        return too_many_requests().answer({"Retry-After": str(max(1, math.ceil(wait)))})

    def _wait(self, now: float) -> float:
        if self._interval is None or self._accepted is None:
            return 0.0
        return self._interval - (now - self._accepted)


class Faults:
    """A seeded stream of faults that strikes a fraction (0 to 1) of all calls."""

    def __init__(self, seed: int, fraction: float) -> None:
        self._draw = seeded(seed, "faults")
        self._fraction = fraction

    def next(self) -> Fault | None:
        """The fault that strikes the next call, if any."""
        return self._draw.choice(list(Fault)) if self._draw.random() < self._fraction else None


def faulty_answer(fault: Fault) -> Answer:
    """What a fault looks like on the wire."""
    match fault:
        case Fault.ERROR:
            return Complaint(500, "InternalError", "Internal server error").answer()
        case Fault.UNAVAILABLE:
            return Complaint(503, "ServiceUnavailable", "Service unavailable").answer()
        case Fault.TIMEOUT:
            return Answer(504, TIMEOUT_PAGE, HTML_TYPE)
        case Fault.FIREWALL:
            return Answer(403, FIREWALL_PAGE, HTML_TYPE)
