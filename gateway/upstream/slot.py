"""Slot: the moment at which a leader may write its request."""

from __future__ import annotations

import asyncio
import time

from gateway.upstream.board import Board
from gateway.upstream.flight import Claim
from gateway.upstream.pacing import Budget


class Slot:
    """Confirms, just before a request is written, that its slot still is now; else moves it.

    A new connection's handshake or a stalled process can come between a claim and its request; written that
    late, it would be too close to the next one.
    """

    def __init__(self, board: Board, budget: Budget, claim: Claim) -> None:
        self._board = board
        self._budget = budget
        self._record = claim.record
        self._at = claim.sent

    async def confirm(self) -> None:
        """Waits until the request may be written. Raises CacheUnavailable."""
        if self._budget.interval is None:
            return
        while (late := time.monotonic() - self._at) > self._budget.guard:
            self._at = time.monotonic()
            wait, self._record = await self._board.reslot(self._record, late)
            if wait > 0:
                self._at += wait
                await asyncio.sleep(max(0.0, self._at - time.monotonic()))
