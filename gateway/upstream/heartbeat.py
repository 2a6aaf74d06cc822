"""Heart: this process's signs of life, and what it learns of the fleet with each.

Slot: the moment at which a leader may write its request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from gateway.errors import CacheUnavailable
from gateway.upstream.flight import Claim
from gateway.upstream.pacing import Budget, Fleet
from gateway.upstream.queue_state import Board, Pulse

log = structlog.get_logger("gateway")


class Heart:
    """Beats every ``period`` seconds and hands each pulse on.

    ``fleet`` and ``depths`` are the processes, and the queued jobs by band, when last seen, ``degraded`` whether
    the last sign of life was lost: Redis does not answer, or does not let anything be written.
    """

    def __init__(self, board: Board, period: float, fleet: Fleet, on_pulse: Callable[[Pulse], None]) -> None:
        self.fleet = fleet
        self.depths = (0, 0, 0)
        self.degraded = False
        self._board = board
        self._period = period
        self._on_pulse = on_pulse

    @property
    def depth(self) -> int:
        """Queued jobs of all bands, when last seen."""
        return sum(self.depths)

    async def beat(self) -> bool:
        """A sign of life; whether Redis took it."""
        try:
            pulse = await self._board.beat(self.fleet.rules.mark())
        except CacheUnavailable as error:
            self._found(lost=True, reason=error.message)
            return False
        self._found(lost=False)
        self.depths = pulse.queued
        self.fleet.heard(pulse)
        self._on_pulse(pulse)
        return True

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            await self.beat()

    def _found(self, lost: bool, **reason: str) -> None:
        if lost == self.degraded:
            return
        self.degraded = lost
        if lost:
            log.warning("redis_lost", consequence="near cache, local flights and a share of the budget", **reason)
        else:
            log.warning("redis_back")


NO_RECORD = ""
"""No budget's record, so that a slot is not moved but a new one taken."""


class LeadLost(Exception):
    """The leader took so long to write that the fleet gave its flight to another, or that Redis is back."""


class Slot:
    """Confirms, just before a request is written, that its slot still is now; else moves it.

    A new connection's handshake or a stalled process can come between a claim and its request; written that
    late, it would be too close to the next one. Each request that is written takes a slot of its own.
    """

    def __init__(self, board: Board, budget: Budget, claim: Claim) -> None:
        self._board = board
        self._budget = budget
        self._claim = claim
        self._used = False

    async def confirm(self) -> None:
        """Waits until the request may be written. Raises CacheUnavailable, LeadLost.

        Lateness counts from the moment at which a slot was asked for, which is before Redis gave it: it is
        never taken for less than it is. Each attempt allows for twice what the one before it took, and the
        next slot keeps its distance from that, so that a slow Redis delays but never blocks.
        """
        if self._budget.interval is None:
            return
        record, allowance = self._claim.record, 0.0
        late = time.monotonic() - self._claim.sent
        if self._used:
            record, late = NO_RECORD, max(late, 2 * self._budget.guard)
        self._used = True
        while late > self._budget.guard + allowance:
            allowance = min(2 * late, MAX_ALLOWANCE) if allowance else self._budget.guard
            asked = time.monotonic()
            wait, record = await self._board.reslot(self._claim, record, late, allowance)
            if wait < 0:
                raise LeadLost
            await asyncio.sleep(wait)
            late = time.monotonic() - asked - wait


MAX_ALLOWANCE = 5.0
"""Seconds; as in prelude.lua."""
