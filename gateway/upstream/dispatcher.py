"""Dispatcher: claims the flights of this process whose turn has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from gateway.errors import CacheUnavailable
from gateway.upstream.board import Board
from gateway.upstream.flight import Flight
from gateway.upstream.replies import Claimed, Wait
from gateway.upstream.waiting import jittered, signalled


class Dispatcher:
    """Knows when it may be this process's turn. That is hearsay: about every ``poll`` seconds it asks anyway."""

    def __init__(self, board: Board, flights: Mapping[str, Flight], poll: float) -> None:
        self._board = board
        self._flights = flights
        self._poll = poll
        self._turn: float | None = None
        self._kick = asyncio.Event()

    def schedule(self, wait: Wait) -> None:
        """It may be our turn in ``wait`` seconds."""
        if wait is None:
            return
        at = time.monotonic() + wait
        if self._turn is None or at < self._turn:
            self._turn = at
            self._kick.set()

    async def run(self) -> None:
        """Claims what comes to this process's turn, until cancelled."""
        while True:
            self._kick.clear()
            if await signalled(self._kick, self._pause()):
                continue
            self._turn = None
            if any(flight.claim is None for flight in self._flights.values()):
                try:
                    await self._claim_next()
                except CacheUnavailable:
                    continue

    def _pause(self) -> float:
        # A gate that was closed for long may be gone with the Redis that held it: not even then too long.
        poll = jittered(self._poll)
        return poll if self._turn is None else min(poll, max(0.0, self._turn - time.monotonic()))

    async def _claim_next(self) -> None:
        reply = await self._board.claim()
        if not isinstance(reply, Claimed):
            self.schedule(reply)
            return
        self.schedule(reply.wait)
        claim = reply.claim
        flight = self._flights.get(claim.id)
        if flight is None or flight.flies:
            # Nobody here is left to run it: a landing without an answer, so that others submit anew.
            self.schedule((await self._board.land([self._board.landing(claim.id, claim.token, b"again")])).wait)
            return
        flight.claim = claim
        flight.signal.set()
