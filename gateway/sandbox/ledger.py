"""Ledger: how often, how fast and for what the sandbox was asked."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REMEMBERED = 10_000
"""How many of the latest arrivals are kept one by one."""


class Tally:
    """What is counted between two resets. Times are monotonic seconds."""

    def __init__(self, in_flight: int) -> None:
        self.total = 0
        self.by_path: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()
        self.max_in_flight = in_flight
        self.min_gap: float | None = None
        self.arrivals: deque[float] = deque(maxlen=REMEMBERED)
        self.targets: deque[str] = deque(maxlen=REMEMBERED)

    def arrived(self, path: str, target: str, now: float, in_flight: int) -> None:
        """Counts a request at the moment it comes in."""
        if self.arrivals:
            gap = now - self.arrivals[-1]
            self.min_gap = gap if self.min_gap is None else min(self.min_gap, gap)
        self.total += 1
        self.by_path[path] += 1
        self.max_in_flight = max(self.max_in_flight, in_flight)
        self.arrivals.append(now)
        self.targets.append(target)

    def answered(self, status: int) -> None:
        """Counts an answer at the moment it goes out."""
        self.by_status[str(status)] += 1


class Ledger:
    """The current tally, and the calls that are in flight."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._tally = Tally(in_flight=0)

    @contextmanager
    def call(self, path: str, target: str, now: float) -> Iterator[Tally]:
        """Counts a call from its arrival to its end; its answer counts where its arrival did."""
        tally = self._tally
        self.in_flight += 1
        tally.arrived(path, target, now, self.in_flight)
        try:
            yield tally
        finally:
            self.in_flight -= 1

    def reset(self) -> None:
        """Starts again from nothing, but for the calls that are in flight."""
        self._tally = Tally(self.in_flight)

    def report(self) -> dict[str, Any]:
        """All of it as JSON values; ``arrivals`` and ``targets`` are the latest, oldest first."""
        tally = self._tally
        return {
            "total": tally.total,
            "by_path": dict(tally.by_path),
            "by_status": dict(tally.by_status),
            "max_in_flight": tally.max_in_flight,
            "min_gap_seconds": tally.min_gap,
            "in_flight": self.in_flight,
            "arrivals": list(tally.arrivals),
            "targets": list(tally.targets),
        }
