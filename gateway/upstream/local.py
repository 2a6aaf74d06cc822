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
        self._rules = rules
        self._gate = gate
        self._heart = heart
        self._lone = asyncio.Lock()
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
            flight.asked, flight.probe = True, self._gate.enter()
            return True

    async def fly(self, flight: Flight) -> Result:
        """Asks the service at once: the flight has its slot already."""
        sign = NOTHING
        try:
            result = await flight.work(_at_once)
            sign = result.sign
            return result
        finally:
            self._gate.judge(time.monotonic(), sign, probe=flight.probe)
            flight.probe = False
            self._judged.set()

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


async def _at_once() -> None:
    """Nothing is left to be confirmed."""
