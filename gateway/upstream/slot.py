"""Slot: the moment at which a leader may write its request."""

from __future__ import annotations

import asyncio
import time

from gateway.upstream.board import Board
from gateway.upstream.flight import Claim
from gateway.upstream.pacing import Budget

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
