"""Clock: the fleet's time, which is Redis's."""

from __future__ import annotations

import time


class Clock:
    """This machine's clock, corrected to Redis's by each sign of life, so that replicas agree on ages."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def sync(self, fleet: float) -> None:
        """``fleet`` is what Redis's clock shows now."""
        self._offset = fleet - time.time()
