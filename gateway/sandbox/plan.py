"""Plan: answers that a test has ordered for the next calls."""

from __future__ import annotations

import json
from typing import Any

from gateway.sandbox.answer import JSON_TYPE, Answer


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
        """Nothing is ordered any more."""
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
