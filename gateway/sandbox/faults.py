"""How the sandbox misbehaves: a pace limit, random faults, and answers ordered for the next calls."""

from __future__ import annotations

import json
import math
from enum import Enum
from typing import Any

from gateway.sandbox.question import HTML_TYPE, JSON_TYPE, Answer, Complaint, too_many_requests
from gateway.sandbox.world import seeded

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


class Plan:
    """An answer, and how many calls are still to get it."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self.times = 0

    def order(self, raw: bytes) -> None:
        """Takes an order: ``{"status", "body", "content_type", "headers", "times"}``, all optional.

        Raises ValueError, with a message to read, for anything else.
        """
        self._answer, self.times = _read(raw)

    def cancel(self) -> None:
        self._answer, self.times = None, 0

    def next(self) -> Answer | None:
        """The ordered answer for the next call, if any is left."""
        if self.times == 0:
            return None
        self.times -= 1
        return self._answer


def _read(raw: bytes) -> tuple[Answer, int]:
    order = json.loads(raw)
    if not isinstance(order, dict):
        raise ValueError("a plan is a JSON object")
    status = _typed(order, "status", int, 200)
    times = _typed(order, "times", int, 1)
    headers = _typed(order, "headers", dict, {})
    if not 200 <= status <= 599 or times < 1 or not all(isinstance(v, str) for v in headers.values()):
        raise ValueError("status is 200 to 599, times at least 1, and headers are strings")
    body = _typed(order, "body", str, "").encode()
    content_type = _typed(order, "content_type", str, JSON_TYPE)
    if order:
        raise ValueError(f"a plan has no {sorted(order)[0]!r}")
    return Answer(status, body, content_type, headers), times


def _typed(order: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = order.pop(name, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} must be of type {kind.__name__}")
    return value
