"""Budget: how fast the fleet may ask the service, and this process's share when it is on its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

GUARD_SECONDS = 0.020
GUARD_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Budget:
    """``interval`` seconds between two calls (None: unlimited), ``burst`` calls that may follow at once.

    ``guard`` absorbs network jitter: slots are that much further apart than the interval, and a request is
    written at most that much after its slot, so that two writes are never closer than the interval.
    """

    interval: float | None
    burst: int

    @property
    def guard(self) -> float:
        return 0.0 if self.interval is None else min(GUARD_SECONDS, GUARD_SHARE * self.interval)

    @property
    def rate(self) -> float:
        """Calls a second; infinite when unlimited."""
        return math.inf if self.interval is None else 1 / self.interval

    @property
    def spacing(self) -> float:
        """Seconds between two slots; 0 when unlimited."""
        return 0.0 if self.interval is None else self.interval + self.guard

    def wait_for(self, rank: int) -> float:
        """Seconds in which a job that ``rank`` others go before should have landed."""
        return (rank + 1) * self.spacing + 1.0

    @property
    def arguments(self) -> tuple[int, int]:
        """Spacing in microseconds, and burst, as the scripts take them."""
        return round(self.spacing * 1e6), self.burst


class LocalBudget:
    """A process's own share while Redis is gone: the rate divided by the fleet, burst 1, starting empty.

    ``now`` is monotonic, ``fleet`` the number of processes that share the rate.
    """

    def __init__(self, budget: Budget) -> None:
        self._spacing = budget.spacing
        self._next: float | None = None
        self._written: float | None = None

    def reserve(self, now: float, fleet: int) -> float:
        """Takes the next slot; answers the seconds to wait for it."""
        share = self._spacing * max(1, fleet)
        # What was asked through Redis until a moment ago is not known here: idle time earns nothing.
        at = now + share if self._next is None or self._next < now else self._next
        self._next = at + share
        return at - now

    def write(self, now: float, fleet: int) -> float:
        """Writes now where the last one was written long enough ago; else answers the seconds until it was.

        A slot that is used late moves: those taken from now on keep their distance from its request.
        """
        share = self._spacing * max(1, fleet)
        if self._written is not None and self._written + share > now:
            return self._written + share - now
        self._written = now
        self._next = now + share if self._next is None else max(self._next, now + share)
        return 0.0
