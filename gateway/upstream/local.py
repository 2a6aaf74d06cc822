"""Local: flights without Redis, on this process's share of the budget and behind its own view of the gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from gateway.errors import QueryPaused, QueueFull
from gateway.upstream.credential_breaker import NOTHING
from gateway.upstream.flight import Deserted, Flight, Result
from gateway.upstream.heartbeat import Heart, LeadLost
from gateway.upstream.pacing import LocalBudget
from gateway.upstream.queue_state import QueueRules
from gateway.upstream.room import Room
from gateway.upstream.tasks import Background, log_closing, signalled
from gateway.upstream.upstream_breaker import Gate

WORTH_ASKING = 0.1
"""Seconds of waiting after which Redis may be back."""


def full(retry_after: float) -> QueueFull:
    """What those hear whose job finds no room, or made some."""
    return QueueFull("Too many requests wait for the service.", retry_after=retry_after)


class Local:
    """Slots are taken one at a time, so that none is left to be spent beside Redis's once it is back.

    Who goes next, and who gives way, is as in Redis.
    """

    def __init__(
        self,
        flights: Mapping[str, Flight],
        rules: QueueRules,
        gate: Gate,
        heart: Heart,
        background: Background,
    ) -> None:
        self._flights = flights
        self._budget = LocalBudget()
        self._rules = rules
        self._gate = gate
        self._heart = heart
        self._background = background
        self._room = Room(rules.max_queued, rules.max_per_tenant)
        self._turns: dict[Flight, asyncio.Future[bool]] = {}
        self._giving = False
        self._pen = asyncio.Lock()
        self._judged = asyncio.Event()

    async def turn(self, flight: Flight) -> bool:
        """Waits for the flight's slot; False when Redis is back by then.

        Raises GateClosed for one that was not queued before the gate closed, or must not probe; QueryPaused;
        QueueFull for one without room or that had to make room for another, Deserted for one whose answer would be
        for nobody by now.
        """
        objection = self._gate.objection(time.monotonic(), flight.payer, flight.question)
        if objection is not None and (not flight.gen or isinstance(objection, QueryPaused)):
            raise objection
        self._make_room(flight)
        self._room.enter(flight)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._turns[flight] = turn
        if not self._giving:
            self._giving = True
            self._background.spawn(self._give_turns())
        try:
            return await turn
        finally:
            self._turns.pop(flight, None)
            self._room.leave(flight)

    def expected(self, flight: Flight) -> float:
        """Seconds until the flight should have landed."""
        return self._expected(self._room.rank(flight))

    async def fly(self, flight: Flight) -> Result:
        """Asks the service: the flight has its slot already. Raises LeadLost."""
        sign = NOTHING
        try:
            result = await flight.work(lambda: self._confirm(flight))
            sign = result.sign
            return result
        finally:
            now = time.monotonic()
            if self._gate.judge(now, sign, flight.payer, flight.question, probe=flight.probe):
                log_closing(self._gate.why)
            flight.probe = 0
            self._judged.set()

    async def _confirm(self, flight: Flight) -> None:
        """Waits until the request may be written, which a handshake or a stall may have brought too near another.

        Raises LeadLost where it comes later than its slot and Redis is back by then: it goes through the queue.
        """
        fleet = self._heart.fleet
        async with self._pen:
            while (turns := fleet.turns) is not None:
                if self._late(flight) and await self._heart.beat():
                    raise LeadLost
                wait = self._budget.write(fleet.now(), turns)
                if wait == 0:
                    return
                await asyncio.sleep(wait)

    def _late(self, flight: Flight) -> bool:
        return flight.slot is None or time.monotonic() - flight.slot > self._heart.fleet.budget.guard

    def _make_room(self, flight: Flight) -> None:
        flying = sum(each.alone for each in self._flights.values()) - len(self._room) - 1
        loser = self._room.loser(flight, flying)
        if loser is flight:
            raise full(self._expected(self._room.ahead_of(flight.payer.tenant)))
        if loser is not None:
            self._end(loser, full(self._expected(self._room.rank(loser))))

    def _end(self, flight: Flight, error: Exception) -> None:
        self._room.leave(flight)
        if not (turn := self._turns.pop(flight)).done():
            turn.set_exception(error)

    def _expected(self, ahead: int) -> float:
        fleet = self._heart.fleet
        wait = fleet.budget.wait_for(ahead * fleet.share)
        return max(wait, self._gate.closed_for(time.monotonic()))

    async def _give_turns(self) -> None:
        """Gives one slot after another to whoever is next, until nobody waits or Redis is back."""
        try:
            while self._turns and await self._slot():
                for pointless in self._room.pointless():
                    self._end(pointless, Deserted())
                while (flight := self._room.next()) is not None:
                    if self._lets_go(flight, self._turns.pop(flight)):
                        break
        finally:
            self._giving = False
            for turn in self._turns.values():
                if not turn.done():
                    turn.set_result(False)
            self._turns.clear()

    def _lets_go(self, flight: Flight, turn: asyncio.Future[bool]) -> bool:
        """Whether the slot is this flight's; where it may not be asked by now, it hears that."""
        now = time.monotonic()
        objection = self._gate.objection(now, flight.payer, flight.question)
        if turn.done():
            return objection is None
        if objection is not None:
            turn.set_exception(objection)
            return False
        flight.slot, flight.probe = now, self._gate.enter()
        turn.set_result(True)
        return True

    async def _slot(self) -> bool:
        fleet, turns = self._heart.fleet, self._heart.fleet.turns
        wait = 0.0 if turns is None else self._budget.reserve(fleet.now(), turns)
        await asyncio.sleep(wait)
        waited = wait >= WORTH_ASKING
        while (closed := self._gate.closed_for(time.monotonic())) > 0:
            self._judged.clear()
            await signalled(self._judged, min(closed, self._rules.poll))
            waited = True
            if not self._heart.degraded:
                break
        return not (waited and await self._heart.beat())
