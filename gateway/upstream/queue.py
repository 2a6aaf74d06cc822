"""Queue: the deduplicating, paced, fair queue that all upstream work goes through; this process's end of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from gateway.errors import CacheUnavailable, DeadlineExceeded, Overload
from gateway.redis import Client
from gateway.upstream.credential_breaker import Breaker, BreakerRules
from gateway.upstream.flight import Band, Flight, Landing, Payer, Recheck, Reuse, Work
from gateway.upstream.heartbeat import Heart
from gateway.upstream.local import Local
from gateway.upstream.pacing import Budget, Fleet, FleetRules
from gateway.upstream.queue_state import MICRO, Board, Leading, Pulse, Queued, QueueRules, Running
from gateway.upstream.runner import Dispatcher, OnDispatch, Pilot
from gateway.upstream.snapshot import Census, Standing, census_alone, gate_alone
from gateway.upstream.tasks import Background, EndOfInput, jittered, kept_alive, log_closing
from gateway.upstream.upstream_breaker import Gate, GateRules

STUBBORN = 5
GLANCE = 0.1
"""Seconds for which a caller whose time is up may wait to hear when to come back."""
DISPATCH = 2
LATE = {
    Reuse.LATER: "; it is on its way",
    Reuse.JOINERS: "; its place in the queue is kept for whoever asks again",
    Reuse.NOBODY: "",
}
"""What is added to the news that an answer is late."""

log = structlog.get_logger("gateway")


class Queue:
    """This process's flights, its dispatcher, and its signs of life.

    Redis holds ids, ranks and tokens; what is to be asked stays here, so only a process that holds a flight
    can lead it. ``on_clock`` is told the time with each sign of life, as in ``Clock.sync``; ``on_dispatch`` of
    each flight that sets out.

    ``gate`` is this process's view of the fleet's gate, ``breaker`` of the credentials that the service refuses.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        budget: Budget,
        rules: QueueRules,
        gate: GateRules | None = None,
        *,
        breaker: BreakerRules | None = None,
        fleet: FleetRules | None = None,
        on_clock: Callable[[float, float], object] = lambda now, skew: None,
        on_dispatch: OnDispatch = lambda band, waited: None,
    ) -> None:
        breaker = breaker or BreakerRules(probe=rules.longest_run)
        self.rules = rules
        self.gate = Gate(gate or GateRules())
        self._board = Board(client, prefix, budget, rules, self.gate, breaker)
        self.breaker = Breaker(breaker, self._board.probe)
        self._flights: dict[str, Flight] = {}
        self._heart = Heart(self._board, rules.beat, Fleet(budget, fleet), self._pulsed)
        self._dispatcher = Dispatcher(self._board, self._flights, rules.poll)
        self._background = Background()
        self._local = Local(self._flights, rules, self.gate, self._heart, self._background)
        self._pilot = Pilot(
            self._board,
            rules,
            self.gate,
            self.breaker,
            self._heart,
            self._dispatcher,
            self._local,
            self._background,
            on_dispatch,
        )
        self._loops: list[asyncio.Task[None]] = []
        self._on_clock = on_clock
        self._targets_refused = 0

    def __repr__(self) -> str:
        return f"<Queue {len(self._flights)} flights, {self.waiters} waiters, depth {self.depth}, {self._board!r}>"

    @property
    def waiters(self) -> int:
        """Callers of this process who wait for a flight now."""
        return sum(flight.waiters + flight.patient for flight in self._flights.values())

    @property
    def flights(self) -> int:
        """Flights of this process that have not landed."""
        return len(self._flights)

    @property
    def led(self) -> int:
        """Flights of this process that it asks the service for now."""
        return sum(flight.flies for flight in self._flights.values())

    @property
    def budget(self) -> Budget:
        """How fast the fleet may ask: the lowest budget among those last seen."""
        return self.fleet.budget

    @property
    def fleet(self) -> Fleet:
        """The processes that share the budget, when last seen."""
        return self._heart.fleet

    @property
    def depth(self) -> int:
        """Jobs queued in the whole fleet, when last seen."""
        return self._heart.depth

    @property
    def depths(self) -> tuple[int, int, int]:
        """The same by band, in the order of ``Band``."""
        return self._heart.depths

    @property
    def degraded(self) -> bool:
        """Whether this process has to do without Redis."""
        return self._heart.degraded

    @property
    def targets_refused(self) -> int:
        """Targets that are not asked for on their own account: in the whole fleet, when last seen; of this process
        while it has to do without Redis."""
        if self.degraded:
            return sum(1 for _ in self.gate.evidence.targets.lasting(time.monotonic()))
        return self._targets_refused

    @property
    def gate_closed_for(self) -> float:
        """Seconds for which nothing new is asked because the service seems to block us; 0 when it may be."""
        return self.gate.closed_for(time.monotonic())

    async def start(self) -> None:
        """Announces this process, and begins to listen and to dispatch. Redis may be down."""
        await self._heart.beat()
        loops = (self._heart.run, self._listen, self._dispatcher.run)  # DISPATCH is the last
        self._loops = [asyncio.create_task(kept_alive(loop)) for loop in loops]

    async def stop(self, grace: float) -> None:
        """Lets flights that run finish for up to ``grace`` seconds; those that only wait are given up."""
        for loop in self._loops[DISPATCH:]:
            loop.cancel()
        running = [flight.task for flight in self._flights.values() if flight.flies]
        if running:
            await asyncio.wait(running, timeout=grace)
        tasks: list[asyncio.Task[Any]] = [*self._loops, *self._background.tasks]
        tasks += [flight.task for flight in self._flights.values()]
        for _ in range(STUBBORN):
            for task in tasks:
                task.cancel()
            if not tasks or not (await asyncio.wait(tasks, timeout=1.0))[1]:
                return

    async def land(
        self,
        id: str,
        exact: str,
        payer: Payer,
        band: Band,
        work: Work,
        recheck: Recheck,
        timeout: float,
        *,
        reuse: Callable[[], Reuse] = lambda: Reuse.LATER,
        question: str = "",
        ending: EndOfInput | None = None,
    ) -> tuple[Landing, bool]:
        """Joins the flight of this id, or starts it, and waits for its landing.

        Answers the landing, and whether it is that of a flight which this caller started and this process led.
        Raises DeadlineExceeded, with the time after which to come back, when ``timeout`` passes first; the flight
        goes on all the same where that is of use, by what ``reuse`` says of its answer. A caller who is cancelled
        has gone for good; one whose ``ending`` comes may have: it waits on, but gives way to those who surely have
        not. ``question`` names what is asked, for what a refusal of it is about; without, ``exact``.
        """
        flight, started = self._join(id, exact, payer, band, work, recheck, reuse, question)
        flight.refused = max(0, flight.refused - 1)  # whoever was sent away has come back
        ending = ending or EndOfInput()
        with flight.awaiting(ending):
            done, _ = await asyncio.wait({flight.task}, timeout=timeout)
            if not done and not ending.reached and flight.reuse() is not Reuse.NOBODY:
                flight.refused += 1
        if flight.task.cancelled():
            raise Overload("The gateway is ending.", retry_after=1)
        if done:
            return flight.task.result(), started and flight.flies
        raise await self._late(flight, timeout)

    def refresh(
        self,
        id: str,
        exact: str,
        payer: Payer,
        work: Work,
        recheck: Recheck,
        question: str = "",
        again: Callable[[Landing], Work | None] = lambda landing: None,
    ) -> None:
        """Starts a background flight, unless one of this id is under way or the gate is closed.

        Where ``again`` has work for its landing, that flies once, in a flight of its own after this one.
        """
        if id in self._flights or self.gate_closed_for:
            return
        flight, _ = self._join(id, exact, payer, Band.REFRESH, work, recheck, lambda: Reuse.LATER, question)

        def landed(task: asyncio.Task[Landing]) -> None:
            if not task.cancelled() and task.exception() is None and (more := again(task.result())) is not None:
                self.refresh(id, exact, payer, more, recheck, question)

        flight.task.add_done_callback(landed)

    # What operators see and steer; each raises CacheUnavailable

    async def census(self) -> Census:
        """What is queued, runs and is kept back in the whole fleet."""
        return await self._board.census()

    def census_here(self) -> Census:
        """What this process knows of that on its own."""
        flights = self._flights.values()
        waiting = [flight.band for flight in flights if flight.claim is None and flight.slot is None]
        gate = gate_alone(self.gate_closed_for, self.gate.why, self.targets_refused, held=self.gate.held)
        return census_alone(waiting, len(flights) - len(waiting), self.fleet.processes, gate, self.breaker.count)

    async def standing(self, id: str) -> Standing | None:
        """Where the flight of this id stands in the whole fleet; None where none is under way."""
        return await self._board.standing(id)

    async def hold_gate(self) -> None:
        """Keeps the gate closed for the whole fleet until ``resume_gate``; flights under way end as ever."""
        await self._board.hold()

    async def resume_gate(self) -> None:
        """Opens the gate at once, whether it was held or closed by a block."""
        self._dispatcher.schedule(await self._board.resume())

    async def hold_credential(self, fingerprint: str) -> None:
        """Withholds a credential in the whole fleet until ``resume_credential``, as if the service refused it.

        Raises Overload where as many are held as can be.
        """
        if not await self._board.hold(fingerprint):
            raise Overload("No more credentials can be held.")
        self.breaker.heard(fingerprint, -1.0)

    async def resume_credential(self, fingerprint: str) -> None:
        """Lets a credential be used at once, whether it was held or refused."""
        self._dispatcher.schedule(await self._board.resume(fingerprint))
        self.breaker.resumed(fingerprint)

    # A flight's life

    def _join(
        self,
        id: str,
        exact: str,
        payer: Payer,
        band: Band,
        work: Work,
        recheck: Recheck,
        reuse: Callable[[], Reuse],
        question: str,
    ) -> tuple[Flight, bool]:
        """The flight of this id, and whether it had to be started."""
        flight = self._flights.get(id)
        if flight is None or flight.task.done():
            flight = Flight(id, exact, payer, band, work, recheck, reuse, question or exact)
            self._flights[id] = flight
            flight.task = asyncio.create_task(self._pilot.fly(flight))
            promising = reuse() is Reuse.LATER
            flight.task.add_done_callback(lambda _: self._ended(flight, promising))
            return flight, True
        if band < flight.band:
            flight.payer, flight.band = payer, band
            flight.restate()
        elif flight.note(payer) and not flight.flies:
            flight.restate()
        return flight, False

    def _ended(self, flight: Flight, promising: bool) -> None:
        if self._flights.get(flight.id) is flight:
            del self._flights[flight.id]
        if promising and flight.reuse() is not Reuse.LATER:
            # Its answer was not kept, after all: nor will be those of others like it, for which nobody waits.
            for other in self._flights.values():
                other.tell_deserted()

    async def _late(self, flight: Flight, timeout: float) -> DeadlineExceeded:
        """What a caller hears whose flight has not landed in time, and when to come back.

        Where the answer will be kept, that is when it should be there. Else the caller has to wait for it again,
        in the place that is kept or at the end: that pays once half of his patience will do.
        """
        wait, under_way, forwarded = await self._expected_wait(flight)
        reuse = flight.reuse()
        if reuse is not Reuse.LATER:
            wait = max(self.gate_closed_for, wait - timeout / 2)
        told = LATE[reuse] if under_way else LATE[Reuse.NOBODY]
        late = DeadlineExceeded(f"The answer could not be fetched in time{told}.", retry_after=wait)
        late.forwarded = forwarded
        return late

    async def _expected_wait(self, flight: Flight) -> tuple[float, bool, bool]:
        """Seconds until it should have landed, its rank divided by the rate; whether it is under way, and whether
        the service is being asked.

        Takes next to no time, since whoever asks has none left.
        """
        if flight.alone:
            return self._local.expected(flight), not flight.task.done(), flight.slot is not None
        try:
            async with asyncio.timeout(GLANCE):
                standing = await self._board.poll(flight.id, flight.gen)
        except (CacheUnavailable, TimeoutError):
            return self.budget.wait_for(self.depth), not flight.task.done(), flight.flies
        wait = self.budget.wait_for(standing.rank if isinstance(standing, Queued) else 0)
        asked = flight.claim is not None or isinstance(standing, Running | Leading)
        return max(wait, self.gate_closed_for), asked or isinstance(standing, Queued), asked

    # News of the fleet

    def _pulsed(self, pulse: Pulse) -> None:
        self._on_clock(pulse.now, pulse.skew)
        self.breaker.told(pulse.refused)
        self.gate.why = pulse.why or self.gate.why
        if (pulse.targets == 0) != (self._targets_refused == 0):
            log.warning("targets_refused", count=pulse.targets)
        self._targets_refused = pulse.targets
        self._dispatcher.schedule(pulse.wait)

    async def _listen(self) -> None:
        """Hears whose turn it is, what landed, and of blocks. A lost connection only costs the hints."""
        while True:
            try:
                async for kind, rest in self._board.hints():
                    self._hear(kind, rest)
            except CacheUnavailable:
                await asyncio.sleep(jittered(0.4))

    def _hear(self, kind: str, rest: str) -> None:
        match kind:
            case "turn":
                self._dispatcher.schedule(int(rest) * MICRO)
            case "gate":
                self.gate.told(time.monotonic(), int(rest) * MICRO)
            case "closed":
                self.gate.why, _, targets = rest.partition(":")
                log_closing(self.gate.why, targets_refused=int(targets))
            case "refused":
                left, _, fingerprint = rest.partition(":")
                self.breaker.heard(fingerprint, int(left) * MICRO)
            case "accepted":
                self.breaker.heard(rest, None)
            case "resumed":
                self.breaker.resumed(rest)
            case _:
                if flight := self._flights.get(rest.partition(":")[0]):
                    flight.signal.set()
