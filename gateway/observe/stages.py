"""Stages: how long each part of a request's way took."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

clock: Callable[[], float] = monotonic
"""Seconds of the clock that stages are taken by; only differences mean anything."""


class Stages:
    """When each stage of one request ended, in seconds of ``clock``; 0 where it never got that far.

    ``flown`` is how long the service's own answer took, in the flight that this request led or joined;
    ``near`` says that it was answered by what was near. Slots and plain stores, because every hit pays for them.
    """

    __slots__ = ("admitted", "began", "flown", "identified", "landed", "looked_up", "near")

    def __init__(self) -> None:
        self.began = clock()
        self.identified = 0.0
        self.admitted = 0.0
        self.looked_up = 0.0
        self.landed = 0.0
        self.flown = 0.0
        self.near = False

    def spans(self, ended: float) -> list[tuple[str, float, float]]:
        """The stages that were begun, each with when it began and ended; the last ends with the request.

        ``queue`` is all waiting for a flight but for the service's own time, ``upstream``.
        """
        found: list[tuple[str, float, float]] = []
        since = self.began
        for name, end in (("identify", self.identified), ("admit", self.admitted), ("look_up", self.looked_up)):
            found.append((name, since, end or ended))
            if not end:
                return found
            since = end
        if self.landed:
            answered = max(since, self.landed - self.flown)
            found.append(("queue", since, answered))
            if self.flown:
                found.append(("upstream", answered, self.landed))
        return found

    def seconds(self, ended: float) -> dict[str, float]:
        """How long each stage took, in seconds."""
        return {name: round(end - began, 6) for name, began, end in self.spans(ended)}
