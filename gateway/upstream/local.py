"""Flights without Redis: this process's own queue, its share of the budget, and its own view of the gate.

Who goes next, and who gives way, is as in Redis (``lua/room.lua``).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from gateway.errors import QueryPaused, QueueFull
from gateway.upstream.credential_breaker import NOTHING
from gateway.upstream.flight import Deserted, Fetched, Flight, Flow, LeadLost
from gateway.upstream.pacing import Heartbeat, LocalBudget, Priority, Shares
from gateway.upstream.queue_state import QueueRules
from gateway.upstream.tasks import Background, signalled
from gateway.upstream.upstream_breaker import UpstreamBreaker

CALLS_AHEAD = 10
"""Calls that jobs found spare and that count ahead; as in pace.lua."""
WORTH_ASKING = 0.1
"""Seconds of waiting after which Redis may be back."""

log = structlog.get_logger("gateway")


def full(retry_after: float) -> QueueFull:
    """The refusal of a queued call that finds no room, or had to make some."""
    return QueueFull("Too many requests wait for the service.", retry_after=retry_after)


class LocalRunner:
    """Runs flights without Redis: takes slots one at a time, so that none is left to be spent beside Redis's once
    it is back."""

    def __init__(
        self,
        flights: Mapping[str, Flight],
        rules: QueueRules,
        gate: UpstreamBreaker,
        heartbeat: Heartbeat,
        background: Background,
    ) -> None:
        self._flights = flights
        self._budget = LocalBudget()
        self._poll = rules.poll
        self._gate = gate
        self._heartbeat = heartbeat
        self._background = background
        self._queue = LocalQueue(rules.max_queued, rules.max_per_tenant, rules.shares)
        self._turns: dict[Flight, asyncio.Future[bool]] = {}
        self._giving = False
        self._writing = asyncio.Lock()
        self._judged = asyncio.Event()

    async def turn(self, flight: Flight) -> bool:
        """Wait for the flight's slot; False when Redis is back by then.

        Raises GateClosed for a flight that was not queued before the gate closed, or must not probe; QueryPaused;
        QueueFull for one without room or that had to make room for another; Deserted for one whose answer would
        serve nobody by now.
        """
        objection = self._gate.objection(time.monotonic(), flight.request)
        if objection is not None and (not flight.gen or isinstance(objection, QueryPaused)):
            raise objection
        self._make_room(flight)
        self._queue.enter(flight)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._turns[flight] = turn
        if not self._giving:
            self._giving = True
            self._background.spawn(self._give_turns())
        try:
            return await turn
        finally:
            self._turns.pop(flight, None)
            self._queue.leave(flight)

    def expected(self, flight: Flight) -> float:
        return self._expected(self._queue.rank(flight))

    async def fly(self, flight: Flight) -> Fetched:
        """Ask the service: the flight has its slot already. Raises LeadLost."""
        signal = NOTHING
        try:
            fetched = await flight.work(lambda: self._confirm(flight))
            signal = fetched.signal
            return fetched
        finally:
            if self._gate.judge(time.monotonic(), signal, flight.request, probe=flight.probe):
                log.warning("gate_closed", why=self._gate.why)
            flight.probe = 0
            self._judged.set()

    async def _confirm(self, flight: Flight) -> None:
        """Wait until the request may be written, which a handshake or a stall may have brought too near another.

        Raises LeadLost if it comes later than its slot and Redis is back by then: it goes through the queue.
        """
        fleet = self._heartbeat.fleet
        async with self._writing:
            while (turns := fleet.turns) is not None:
                late = flight.slot is None or time.monotonic() - flight.slot > fleet.budget.guard
                if late and await self._heartbeat.beat():
                    raise LeadLost
                wait = self._budget.write(fleet.now(), turns)
                if wait == 0:
                    return
                await asyncio.sleep(wait)

    def _make_room(self, flight: Flight) -> None:
        flying = sum(each.alone for each in self._flights.values()) - len(self._queue) - 1
        loser = self._queue.loser(flight, flying)
        if loser is flight:
            raise full(self._expected(self._queue.ahead_of(flight.request.flow.tenant)))
        if loser is not None:
            self._end(loser, full(self._expected(self._queue.rank(loser))))

    def _end(self, flight: Flight, error: Exception) -> None:
        self._queue.leave(flight)
        if not (turn := self._turns.pop(flight)).done():
            turn.set_exception(error)

    def _expected(self, ahead: int) -> float:
        fleet = self._heartbeat.fleet
        return max(fleet.budget.wait_for(ahead * fleet.share), self._gate.closed_for(time.monotonic()))

    async def _give_turns(self) -> None:
        """Give one slot after another to the next flight, until nobody waits or Redis is back."""
        try:
            while self._turns and await self._slot():
                for pointless in self._queue.pointless():
                    self._end(pointless, Deserted())
                while (flight := self._queue.next()) is not None:
                    if self._lets_go(flight, self._turns.pop(flight)):
                        break
        finally:
            self._giving = False
            for turn in self._turns.values():
                if not turn.done():
                    turn.set_result(False)
            self._turns.clear()

    def _lets_go(self, flight: Flight, turn: asyncio.Future[bool]) -> bool:
        """Whether the flight uses this slot; refuses it if the service may not be asked for it by now."""
        now = time.monotonic()
        objection = self._gate.objection(now, flight.request)
        if turn.done():
            return objection is None
        if objection is not None:
            turn.set_exception(objection)
            return False
        flight.slot, flight.probe = now, self._gate.enter()
        turn.set_result(True)
        return True

    async def _slot(self) -> bool:
        """Wait for this process's next slot, and for the gate; False when Redis is back by then."""
        fleet, turns = self._heartbeat.fleet, self._heartbeat.fleet.turns
        wait = 0.0 if turns is None else self._budget.reserve(fleet.now(), turns)
        await asyncio.sleep(wait)
        waited = wait >= WORTH_ASKING
        while (closed := self._gate.closed_for(time.monotonic())) > 0:
            self._judged.clear()
            await signalled(self._judged, min(closed, self._poll))
            waited = True
            if not self._heartbeat.degraded:
                break
        return not (waited and await self._heartbeat.beat())


@dataclass(frozen=True, slots=True)
class Place:
    """A flight's turn, charged to a flow: by start tag (start-time fair queuing); among equals a tenant that had
    no turn to wait for goes first, then by arrival."""

    flow: Flow
    start: int
    newcomer: bool
    number: int


class LocalQueue:
    """The flights of a process that wait for their turns, at most ``most`` of them. Pure.

    Its time is the number of slots that came: the shares are counted in these, as ``lua/pace.lua`` does in calls.
    """

    def __init__(self, most: int, most_per_tenant: int, shares: Shares) -> None:
        self._most = most
        self._most_per_tenant = most_per_tenant
        self._shares = shares
        self._slots = 0
        self._taken = 0
        self._due = 1.0
        self._places: dict[Flight, Place] = {}
        self._finish: Counter[str] = Counter()
        self._virtual = 0
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, flight: Flight) -> None:
        self._charge(flight, flight.request.flow)

    def leave(self, flight: Flight) -> None:
        """Remove the flight if it waits; its tenant is not charged for it."""
        if place := self._places.pop(flight, None):
            self._finish[place.flow.tenant] -= place.flow.cost
            self._tidy()

    def next(self) -> Flight | None:
        """The flight that takes the slot that came; None if it stays empty."""
        self._slots += 1
        flight = self._guaranteed() or min(self._places, key=self._turn, default=None)
        if flight is None or self._too_warm(flight):
            return None
        self._taken = self._slots
        if self._priority(flight) is Priority.JOBS:
            self._note_job()
        self._virtual = self._places.pop(flight).start
        self._tidy()
        return flight

    def _guaranteed(self) -> Flight | None:
        """The first of the jobs, if this slot is theirs whatever people ask."""
        if not self._shares.jobs or self._due > self._slots:
            return None
        jobs = (each for each in self._places if self._priority(each) is Priority.JOBS)
        return min(jobs, key=self._turn, default=None)

    def _note_job(self) -> None:
        if self._shares.jobs:
            spacing = 1 / self._shares.jobs
            self._due = max(min(self._due, self._slots + CALLS_AHEAD * spacing) + spacing, self._slots)

    def _too_warm(self, flight: Flight) -> bool:
        """Whether it is to warm, and has to leave this slot empty."""
        return self._priority(flight) is Priority.WARM and self._slots - self._taken < 1 / self._shares.warm

    def rank(self, flight: Flight) -> int:
        if flight not in self._places:
            return 0
        turn = self._turn(flight)
        return sum(self._turn(other) < turn for other in self._places)

    def pointless(self) -> list[Flight]:
        return [flight for flight in self._places if flight.pointless]

    def ahead_of(self, tenant: str) -> int:
        last = self._last(tenant)
        return len(self) if last is None else self.rank(last) + 1

    def loser(self, flight: Flight, flying: int) -> Flight | None:
        """The flight that gives way so that this one may wait, with ``flying`` others under way: itself if no
        other does; None if there is room."""
        flow, priority = flight.request.flow, flight.request.priority
        if self._count(flow.tenant) >= flow.bound(self._most_per_tenant):
            return self._behind(priority, flow.tenant) or flight
        queued = len(self) + flying
        if priority.capacity < 1 and queued >= self._most * priority.capacity:
            return flight
        if queued < self._most:
            return None
        return self._behind(priority) or (priority is Priority.PEOPLE and self._heaviest_last(flow)) or flight

    def _heaviest_last(self, flow: Flow) -> Flight | None:
        """The last flight of the tenant that has the most by its weight, but nobody's only one; None if this flow
        has some already, and would have the most. If another tenant waits for it too, that one is charged for it
        instead, and the search goes on."""
        own = self._count(flow.tenant)
        while (heaviest := self._heaviest()) is not None:
            most, load = heaviest
            last = self._last(most)
            if last is None or (own and (own + 1) * flow.cost >= load):
                return None
            heir = next((other for other in last.others.values() if other.tenant != most), None)
            if heir is None:
                return last
            del last.others[heir.tenant]
            self.leave(last)
            self._charge(last, heir)
        return None

    def _heaviest(self) -> tuple[str, int] | None:
        """Among tenants with several flights, the one whose flights together cost the most, and their cost."""
        jobs, loads = Counter[str](), Counter[str]()
        for place in self._places.values():
            jobs[place.flow.tenant] += 1
            loads[place.flow.tenant] += place.flow.cost
        several = (tenant for tenant, count in jobs.items() if count > 1)
        most = max(several, key=lambda tenant: (loads[tenant], tenant), default=None)
        return None if most is None else (most, loads[most])

    def _count(self, tenant: str) -> int:
        return sum(place.flow.tenant == tenant for place in self._places.values())

    def _behind(self, priority: Priority, tenant: str | None = None) -> Flight | None:
        """The last flight of all, or of a tenant's, if its priority is later than this one."""
        last = self._last(tenant)
        return None if last is None or self._priority(last) <= priority else last

    def _charge(self, flight: Flight, flow: Flow) -> None:
        finish = self._finish[flow.tenant]
        start = max(self._virtual, finish)
        self._finish[flow.tenant] = start + flow.cost
        self._places[flight] = Place(flow, start, finish <= self._virtual, next(self._arrivals))

    def _tidy(self) -> None:
        if not self._places:
            self._virtual = 0
            self._finish.clear()

    def _last(self, tenant: str | None) -> Flight | None:
        places = self._places
        theirs = [each for each in places if tenant is None or places[each].flow.tenant == tenant]
        return max(theirs, key=self._turn, default=None)

    def _priority(self, flight: Flight) -> Priority:
        if flight.request.priority is Priority.PEOPLE and flight.deserted:
            return Priority.LEFT
        return flight.request.priority

    def _turn(self, flight: Flight) -> tuple[Priority, int, bool, int]:
        place = self._places[flight]
        return self._priority(flight), place.start, not place.newcomer, place.number
