"""Local: flights without Redis, on this process's share of the budget and behind its own view of the gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from gateway.upstream.board import QueueRules
from gateway.upstream.flight import Flight, Result
from gateway.upstream.gate import Gate, refusal
from gateway.upstream.heart import Heart
from gateway.upstream.pacing import Budget, LocalBudget
from gateway.upstream.signs import NOTHING
from gateway.upstream.slot import LeadLost
from gateway.upstream.waiting import signalled

WORTH_ASKING = 0.1
"""Seconds of waiting after which Redis may be back."""


class Local:
    """Slots are taken one at a time, so that none is left to be spent beside Redis's once it is back."""

    def __init__(
        self, flights: Mapping[str, Flight], budget: Budget, rules: QueueRules, gate: Gate, heart: Heart
    ) -> None:
        self._flights = flights
        self._budget = LocalBudget(budget)
        self._paced = budget.interval is not None
        self._guard = budget.guard
        self._rules = rules
        self._gate = gate
        self._heart = heart
        self._lone = asyncio.Lock()
        self._pen = asyncio.Lock()
        self._judged = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether more flights than may wait in all fly, or wait, without Redis."""
        return sum(flight.alone for flight in self._flights.values()) > self._rules.max_queued

    async def turn(self, flight: Flight) -> bool:
        """Waits for the flight's slot; False when Redis is back by then.

        Raises GateClosed for one that was not queued before the gate closed.
        """
        closed = self._gate.closed_for(time.monotonic())
        if closed > 0 and not flight.gen:
            raise refusal(closed, held=self._gate.held)
        async with self._lone:
            if not await self._slot():
                return False
            flight.slot, flight.probe = time.monotonic(), self._gate.enter()
            return True

    async def fly(self, flight: Flight) -> Result:
        """Asks the service: the flight has its slot already. Raises LeadLost."""
        sign = NOTHING
        try:
            result = await flight.work(lambda: self._confirm(flight))
            sign = result.sign
            return result
        finally:
            self._gate.judge(time.monotonic(), sign, probe=flight.probe)
            flight.probe = False
            self._judged.set()

    async def _confirm(self, flight: Flight) -> None:
        """Waits until the request may be written, which a handshake or a stall may have brought too near another.

        Raises LeadLost where it comes later than its slot and Redis is back by then: it goes through the queue.
        """
        if not self._paced:
            return
        async with self._pen:
            while True:
                if self._late(flight) and await self._heart.beat():
                    raise LeadLost
                wait = self._budget.write(time.monotonic(), self._heart.fleet)
                if wait == 0:
                    return
                await asyncio.sleep(wait)

    def _late(self, flight: Flight) -> bool:
        return flight.slot is None or time.monotonic() - flight.slot > self._guard

    async def _slot(self) -> bool:
        wait = self._budget.reserve(time.monotonic(), self._heart.fleet)
        await asyncio.sleep(wait)
        waited = wait >= WORTH_ASKING
        while (closed := self._gate.closed_for(time.monotonic())) > 0:
            self._judged.clear()
            await signalled(self._judged, min(closed, self._rules.poll))
            waited = True
            if not self._heart.degraded:
                break
        return not (waited and await self._heart.beat())
