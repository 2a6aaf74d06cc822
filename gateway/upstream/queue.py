"""The deduplicating, paced, fair queue that all upstream work goes through: this process's end of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from gateway.errors import CacheUnavailable, DeadlineExceeded, Overload
from gateway.redis import Client
from gateway.upstream.credential_breaker import CredentialBreaker
from gateway.upstream.flight import Flight, FlightRequest, FlightResult, Recheck, Reuse, Work, encode
from gateway.upstream.local import LocalRunner
from gateway.upstream.pacing import MICRO, Budget, Fleet, FleetRules, Heartbeat, HeartbeatReply
from gateway.upstream.queue_state import Leading, Queued, QueueRules, QueueState, Running
from gateway.upstream.runner import Dispatcher, FlightRunner, OnDispatch
from gateway.upstream.snapshot import GateSnapshot, QueuePosition, QueueSnapshot
from gateway.upstream.tasks import Background, EndOfInput, jittered, kept_alive

STUBBORN = 5
"""Attempts to cancel the tasks of a queue that ends."""
CANCELLED_SECONDS = 60.0
"""After which whoever waited for a call that an operator cancelled may ask again."""
GLANCE = 0.1
"""Seconds for which a caller whose time is up may wait to learn when to come back."""
LATE = {
    Reuse.LATER: "; it is on its way",
    Reuse.JOINERS: "; its place in the queue is kept for the next request",
    Reuse.NOBODY: "",
}
"""What is added to the news that an answer is late."""

log = structlog.get_logger("gateway")


class Queue:
    """This process's flights, its dispatcher, and its heartbeat.

    Redis holds ids, ranks and tokens; what is to be asked stays here, so only a process that holds a flight can
    lead it. ``on_clock`` is called with the time of each heartbeat, as ``Clock.sync``; ``on_dispatch`` for each
    flight that sets out.

    ``gate`` is this process's view of the fleet's gate, ``breaker`` of the credentials that the service refuses,
    ``fleet`` of the processes that share the budget. ``targets_refused`` counts targets that are not asked for on
    their own account, in the whole fleet.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        budget: Budget,
        rules: QueueRules,
        fleet: FleetRules | None = None,
        on_clock: Callable[[float, float], object] = lambda now, skew: None,
        on_dispatch: OnDispatch = lambda priority, waited: None,
    ) -> None:
        self._state = QueueState(client, prefix, budget, rules)
        self.gate = self._state.gate
        self.breaker = CredentialBreaker(rules.breaker, self._state.probe, rules.longest_run)
        self.fleet = Fleet(budget, fleet)
        self._flights: dict[str, Flight] = {}
        self._heartbeat = Heartbeat(self._state.beat, rules.beat, self.fleet, self._on_heartbeat)
        self._dispatcher = Dispatcher(self._state, self._flights, rules.poll)
        self._background = Background()
        self._local = LocalRunner(self._flights, rules, self.gate, self._heartbeat, self._background)
        self._runner = FlightRunner(
            self._state,
            self.breaker,
            self._heartbeat,
            self._dispatcher,
            self._local,
            self._background,
            on_dispatch,
        )
        self._loops: list[asyncio.Task[None]] = []
        self._on_clock = on_clock
        self._targets_refused = 0

    def __repr__(self) -> str:
        depth = sum(self.depths)
        return f"<Queue {self.flights} flights, {self.waiters} waiters, depth {depth}, {self._state!r}>"

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
    def depths(self) -> tuple[int, ...]:
        """Calls queued in the whole fleet, in the order of ``Priority``, when last seen."""
        return self._heartbeat.depths

    @property
    def degraded(self) -> bool:
        """Whether this process has to do without Redis."""
        return self._heartbeat.degraded

    @property
    def targets_refused(self) -> int:
        """Refused targets: in the whole fleet, when last seen; of this process while it is without Redis."""
        if self.degraded:
            return sum(1 for _ in self.gate.evidence.targets.lasting(time.monotonic()))
        return self._targets_refused

    @property
    def gate_closed_for(self) -> float:
        """Seconds for which nothing new is asked because the service seems to block us; 0 when it may be."""
        return self.gate.closed_for(time.monotonic())

    async def start(self) -> None:
        """Announce this process, and begin to listen and to dispatch. Redis may be down."""
        await self._heartbeat.beat()
        loops = (self._dispatcher.run, self._heartbeat.run, self._listen)
        self._loops = [asyncio.create_task(kept_alive(loop)) for loop in loops]

    async def stop(self, grace: float) -> None:
        """Let running flights finish for up to ``grace`` seconds; those that only wait are given up."""
        for dispatching in self._loops[:1]:
            dispatching.cancel()
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
        request: FlightRequest,
        work: Work,
        recheck: Recheck,
        timeout: float,
        *,
        reuse: Callable[[], Reuse] = lambda: Reuse.LATER,
        ending: EndOfInput | None = None,
    ) -> tuple[FlightResult, bool]:
        """Join the flight with the request's id, or start it, and wait until it lands.

        Returns the result, and whether it is that of a flight which this caller started and this process led.
        Raises DeadlineExceeded, with the time after which to come back, when ``timeout`` seconds pass first; the
        flight goes on if that is of use, by what ``reuse`` says of its answer. A caller who is cancelled has gone
        for good; one whose ``ending`` comes may have: it waits on, but gives way to those who surely have not.
        """
        flight, started = self._join(request, work, recheck, reuse)
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
        request: FlightRequest,
        work: Work,
        recheck: Recheck,
        again: Callable[[FlightResult], Work | None] = lambda result: None,
    ) -> None:
        """Start a background flight, unless one with this id is under way or the gate is closed.

        If ``again`` has work for its result, that flies once, in a flight of its own after this one.
        """
        if request.id in self._flights or self.gate_closed_for:
            return
        flight, _ = self._join(request, work, recheck, lambda: Reuse.LATER)

        def landed(task: asyncio.Task[FlightResult]) -> None:
            if not task.cancelled() and task.exception() is None and (more := again(task.result())) is not None:
                self.refresh(request, more, recheck)

        flight.task.add_done_callback(landed)

    # For operators; each but the local snapshot raises CacheUnavailable

    async def snapshot(self) -> QueueSnapshot:
        """What is queued, runs and is kept back in the whole fleet."""
        return await self._state.snapshot()

    def local_snapshot(self) -> QueueSnapshot:
        """What this process knows of that on its own."""
        flights = self._flights.values()
        waiting = [each.request.priority for each in flights if each.claim is None and each.slot is None]
        running = len(flights) - len(waiting)
        gate = GateSnapshot.local(self.gate_closed_for, self.gate.why, self.targets_refused, held=self.gate.held)
        return QueueSnapshot.local(waiting, running, self.fleet.processes, gate, self.breaker.refused)

    async def position(self, id: str) -> QueuePosition | None:
        """The position of the flight with this id in the whole fleet; None if none is under way."""
        return await self._state.position(id)

    async def hold_gate(self) -> None:
        """Keep the gate closed for the whole fleet until ``resume_gate``; flights under way end as ever."""
        await self._state.hold()

    async def resume_gate(self) -> None:
        """Open the gate at once, whether it was held or closed by a block."""
        self._dispatcher.schedule(await self._state.resume())

    async def hold_credential(self, fingerprint: str) -> None:
        """Withhold a credential in the whole fleet until ``resume_credential``, as if the service refused it.

        Raises Overload if as many are held as can be.
        """
        if not await self._state.hold(fingerprint):
            raise Overload("No more credentials can be held.")
        self.breaker.update(fingerprint, -1.0)

    async def resume_credential(self, fingerprint: str) -> None:
        """Let a credential be used at once, whether it was held or refused."""
        self._dispatcher.schedule(await self._state.resume(fingerprint))
        self.breaker.resumed(fingerprint)

    async def cancel_call(self, id: str) -> int:
        """Take a queued call out of the queue; whoever waits for it gets an error. How many were taken out."""
        return await self._cancel("call", id)

    async def cancel_tenant(self, tenant: str) -> int:
        """The same for all queued calls on a tenant's account."""
        return await self._cancel("tenant", tenant)

    async def _cancel(self, kind: str, name: str) -> int:
        error = Overload("An operator took this request out of the queue.", retry_after=CANCELLED_SECONDS)
        taken, wait = await self._state.cancel(kind, name, encode(FlightResult("", error=error)))
        self._dispatcher.schedule(wait)
        return taken

    # A flight's life

    def _join(
        self, request: FlightRequest, work: Work, recheck: Recheck, reuse: Callable[[], Reuse]
    ) -> tuple[Flight, bool]:
        """The flight with the request's id, and whether it had to be started."""
        flight = self._flights.get(request.id)
        if flight is not None and not flight.task.done():
            flight.join(request)
            return flight, False
        flight = Flight(request, work, recheck, reuse)
        self._flights[request.id] = flight
        flight.task = asyncio.create_task(self._runner.run(flight))
        promising = reuse() is Reuse.LATER
        flight.task.add_done_callback(lambda _: self._ended(flight, promising))
        return flight, True

    def _ended(self, flight: Flight, promising: bool) -> None:
        if self._flights.get(flight.request.id) is flight:
            del self._flights[flight.request.id]
        if promising and flight.reuse() is not Reuse.LATER:
            # Its answer was not kept, after all: nor will be those of others like it, for which nobody waits.
            for other in self._flights.values():
                other.check_deserted()

    async def _late(self, flight: Flight, timeout: float) -> DeadlineExceeded:
        """The error for a caller whose flight has not landed in time, with the time after which to come back.

        If the answer will be kept, that is when it should be there. Else the caller has to wait for it again, in
        the place that is kept or at the end: that pays once half of the caller's patience will do.
        """
        wait, under_way, forwarded = await self._expected_wait(flight)
        reuse = flight.reuse()
        if reuse is not Reuse.LATER:
            wait = max(self.gate_closed_for, wait - timeout / 2)
        outlook = LATE[reuse] if under_way else ""
        late = DeadlineExceeded(f"The answer could not be fetched in time{outlook}.", retry_after=wait)
        late.forwarded = forwarded
        return late

    async def _expected_wait(self, flight: Flight) -> tuple[float, bool, bool]:
        """Seconds until the flight should have landed, by its rank and the rate; whether it is under way, and
        whether the service is being asked.

        Takes next to no time, since the caller has none left.
        """
        if flight.alone:
            return self._local.expected(flight), not flight.task.done(), flight.slot is not None
        try:
            async with asyncio.timeout(GLANCE):
                job = await self._state.poll(flight.request.id, flight.gen)
        except (CacheUnavailable, TimeoutError):
            return self.budget.wait_for(sum(self.depths)), not flight.task.done(), flight.flies
        wait = self.budget.wait_for(job.rank if isinstance(job, Queued) else 0)
        asked = flight.claim is not None or isinstance(job, Running | Leading)
        return max(wait, self.gate_closed_for), asked or isinstance(job, Queued), asked

    # News of the fleet

    def _on_heartbeat(self, reply: HeartbeatReply) -> None:
        self._on_clock(reply.now, reply.skew)
        self.breaker.replace(reply.refused)
        self.gate.why = reply.why or self.gate.why
        if (reply.targets == 0) != (self._targets_refused == 0):
            log.warning("targets_refused", count=reply.targets)
        self._targets_refused = reply.targets
        self._dispatcher.schedule(reply.wait)

    async def _listen(self) -> None:
        """Heed messages about turns, landings and blocks. A lost connection only costs the hints."""
        while True:
            try:
                async for kind, rest in self._state.hints():
                    self._heed(kind, rest)
            except CacheUnavailable:
                await asyncio.sleep(jittered(0.4))

    def _heed(self, kind: str, rest: str) -> None:
        match kind:
            case "turn":
                self._dispatcher.schedule(int(rest) * MICRO)
            case "gate":
                self.gate.update(time.monotonic(), int(rest) * MICRO)
            case "closed":
                self.gate.why, _, targets = rest.partition(":")
                log.warning("gate_closed", why=self.gate.why, targets_refused=int(targets))
            case "refused":
                left, _, fingerprint = rest.partition(":")
                self.breaker.update(fingerprint, int(left) * MICRO)
            case "accepted":
                self.breaker.update(rest, None)
            case "resumed":
                self.breaker.resumed(rest)
            case _:
                if flight := self._flights.get(rest.partition(":")[0]):
                    flight.signal.set()
