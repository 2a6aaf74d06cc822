"""Queue: the deduplicating, paced, fair queue that all upstream work goes through; this process's end of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, assert_never

import structlog

from gateway.errors import (
    CacheUnavailable,
    DeadlineExceeded,
    GatewayError,
    Overload,
    QueueFull,
    UpstreamDisconnected,
)
from gateway.redis_client import Client
from gateway.scripts import Invocation
from gateway.upstream import landing as landings
from gateway.upstream.board import (
    MICRO,
    Board,
    Claimed,
    Full,
    Gone,
    Landed,
    Leading,
    Left,
    LookAgain,
    Queued,
    QueueRules,
    Running,
    Wait,
)
from gateway.upstream.flight import Band, Claim, Flight, Recheck, Work
from gateway.upstream.landing import Landing
from gateway.upstream.pacing import Budget, LocalBudget
from gateway.upstream.slot import LeadLost, Slot

log = structlog.get_logger("gateway")

STUBBORN = 5
MAX_TURNS = 20
"""Times that a flight comes back to the queue before it gives up; each ends in a landing or a lost leader."""
LOST = 2
DISPATCH = 2
WORTH_ASKING = 0.1
"""Seconds of waiting after which Redis may be back."""
RETELL = (0.0, *tuple(0.2 * 2**n for n in range(6)))
"""Seconds between attempts to tell of a landing while Redis does not answer."""


class Queue:
    """This process's flights, its dispatcher, and its signs of life.

    Redis holds ids, ranks and tokens; what is to be asked stays here, so only a process that holds a flight
    can lead it. ``on_clock`` is told the fleet's time with each sign of life.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        budget: Budget,
        rules: QueueRules,
        *,
        on_clock: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.budget = budget
        self.rules = rules
        self.fleet = 1
        self.depth = 0
        self.degraded = False
        self._board = Board(client, prefix, budget, rules)
        self._flights: dict[str, Flight] = {}
        self._local = LocalBudget(budget)
        self._lone = asyncio.Lock()
        self._turn: float | None = None
        self._kick = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._on_clock = on_clock

    def __repr__(self) -> str:
        return f"<Queue {len(self._flights)} flights, {self.waiters} waiters, depth {self.depth}, {self._board!r}>"

    @property
    def waiters(self) -> int:
        """Callers of this process who wait for a flight now."""
        return sum(flight.waiters for flight in self._flights.values())

    @property
    def flights(self) -> int:
        """Flights of this process that have not landed."""
        return len(self._flights)

    @property
    def led(self) -> int:
        """Flights of this process that it asks the service for now."""
        return sum(flight.claim is not None or flight.alone for flight in self._flights.values())

    async def start(self) -> None:
        """Announces this process, and begins to listen and to dispatch. Redis may be down."""
        await self._beat()
        loops = (self._beats, self._listen, self._dispatch)  # DISPATCH is the last
        self._loops = [asyncio.create_task(_kept_alive(loop)) for loop in loops]

    async def stop(self, grace: float) -> None:
        """Lets flights that run finish for up to ``grace`` seconds; those that only wait are given up."""
        for loop in self._loops[DISPATCH:]:
            loop.cancel()
        running = [flight.task for flight in self._flights.values() if flight.claim is not None or flight.alone]
        if running:
            await asyncio.wait(running, timeout=grace)
        tasks: list[asyncio.Task[Any]] = [*self._loops, *self._background]
        tasks += [flight.task for flight in self._flights.values()]
        for _ in range(STUBBORN):
            for task in tasks:
                task.cancel()
            if not tasks or not (await asyncio.wait(tasks, timeout=1.0))[1]:
                return

    async def land(
        self, id: str, exact: str, tenant: str, band: Band, work: Work, recheck: Recheck, timeout: float
    ) -> tuple[Landing, bool]:
        """Joins the flight of this id, or starts it, and waits for its landing.

        Answers the landing, and whether it is that of a flight which this caller started and this process led.
        Raises DeadlineExceeded, with the time after which the answer should be there, when ``timeout`` passes
        first; the flight goes on all the same.
        """
        started = id not in self._flights
        flight = self._join(id, exact, tenant, band, work, recheck)
        flight.waiters += 1
        try:
            done, _ = await asyncio.wait({flight.task}, timeout=timeout)
        except asyncio.CancelledError:
            if flight.waiters == 1 and not flight.refused:
                self._spawn(self._leave(flight))
            raise
        finally:
            flight.waiters -= 1
        if flight.task.cancelled():
            raise Overload("The gateway is ending.", retry_after=1)
        if done:
            return flight.task.result(), started and (flight.claim is not None or flight.alone)
        flight.refused = True
        raise DeadlineExceeded(
            "The answer could not be fetched in time; it is on its way.",
            retry_after=await self._expected_wait(flight),
        )

    def refresh(self, id: str, exact: str, tenant: str, work: Work, recheck: Recheck) -> None:
        """Starts a background flight unless one of this id is under way; nobody waits for it."""
        if id not in self._flights:
            self._join(id, exact, tenant, Band.REFRESH, work, recheck)

    # A flight's life

    def _join(self, id: str, exact: str, tenant: str, band: Band, work: Work, recheck: Recheck) -> Flight:
        flight = self._flights.get(id)
        if flight is None:
            flight = Flight(id, exact, tenant, band, work, recheck)
            self._flights[id] = flight
            flight.task = asyncio.create_task(self._fly(flight))
            flight.task.add_done_callback(lambda _: self._forget(flight))
        elif band < flight.band:
            flight.tenant = tenant
            self._promote(flight, band)
        return flight

    def _promote(self, flight: Flight, band: Band) -> None:
        flight.band, flight.promoted = band, True
        flight.signal.set()

    def _forget(self, flight: Flight) -> None:
        if self._flights.get(flight.id) is flight:
            del self._flights[flight.id]

    async def _fly(self, flight: Flight) -> Landing:
        """From submission to landing; never raises but when cancelled."""
        try:
            while True:
                try:
                    return await self._queue_up(flight)
                except LeadLost:
                    flight.claim = None
                except CacheUnavailable:
                    if await self._local_turn(flight):
                        return await self._alone(flight)
        except GatewayError as error:
            return Landing(flight.exact, error=error)

    async def _queue_up(self, flight: Flight) -> Landing:
        looked = False
        for _ in range(MAX_TURNS):
            reply = await self._board.submit(
                flight.id, flight.tenant, flight.band, token=flight.token, looked=looked
            )
            looked = False
            match reply:
                case Claimed(claim, wait):
                    self._schedule(wait)
                    return await self._lead(flight, claim)
                case LookAgain():
                    # A flight of this id landed between our look-up and our submission:
                    #   we look up (miss) · their flight stores and lands · we submit
                    # so the answer may be in the cache; if it is not (an error, say), we fly.
                    landing = await flight.recheck()
                    if landing is not None:
                        return landing
                    looked = True
                    continue
                case Full(ahead):
                    raise self._full(ahead)
                case Queued(gen, wait):
                    flight.gen = gen
                    self._schedule(wait)
                case Running(gen):
                    flight.gen = gen
                case _:
                    assert_never(reply)
            outcome = await self._await_turn(flight)
            if isinstance(outcome, Claim):
                return await self._lead(flight, outcome)
            if outcome is not None:
                return outcome
        raise UpstreamDisconnected("The service could not be asked: its callers kept disappearing.")

    async def _await_turn(self, flight: Flight) -> Claim | Landing | None:
        """Waits until the dispatcher claims the flight for us or it lands elsewhere; None: submit anew.

        The signal is only a hint; what Redis says counts, and is asked for now and then without a hint.
        """
        unflown = 0
        while True:
            await _signalled(flight.signal, _jittered(self.rules.poll))
            flight.signal.clear()
            if flight.claim is not None:
                return flight.claim
            if flight.promoted:
                flight.promoted = False
                return None
            standing = await self._board.poll(flight.id, flight.gen)
            if flight.claim is not None:
                return flight.claim
            match standing:
                case Landed(result):
                    return self._landed(result)
                case Leading():
                    # The claim's reply may be on its way to the dispatcher; seen twice, it was lost.
                    unflown += 1
                    if unflown % LOST == 0:
                        self._schedule(await self._board.recover(flight.id))
                case Gone():
                    return None

    def _landed(self, result: bytes) -> Landing | None:
        if result == b"lost":
            raise UpstreamDisconnected("Those who asked the service for this disappeared repeatedly.")
        if result == b"dropped":
            raise self._full(self.depth)
        return landings.decode(result)

    async def _lead(self, flight: Flight, claim: Claim) -> Landing:
        flight.claim = claim
        landing, stores = await flight.work(Slot(self._board, self.budget, claim).confirm)
        # The entry before the news of it: whoever is woken finds it stored.
        news = [*stores, self._board.landing(claim.id, claim.token, landings.encode(landing))]
        try:
            self._schedule(await self._board.land(news))
        except CacheUnavailable:
            self._spawn(self._land_later(news))
        return landing

    async def _land_later(self, news: list[Invocation]) -> None:
        """Others may wait for this landing: it is told as soon as Redis answers again, while it counts."""
        for pause in RETELL:
            await asyncio.sleep(pause)
            try:
                await self._board.land(news)
            except CacheUnavailable:
                continue
            return

    async def _local_turn(self, flight: Flight) -> bool:
        """Redis is gone: waits for this process's share of the budget; False when Redis is back by then.

        Slots are taken one at a time, so that none is left to be spent beside Redis's once it is back.
        """
        flight.alone = True
        if sum(each.alone for each in self._flights.values()) > self.rules.max_queued:
            raise self._full(self.rules.max_queued)
        async with self._lone:
            wait = self._local.reserve(time.monotonic(), self.fleet)
            await asyncio.sleep(wait)
            if wait < WORTH_ASKING or not await self._beat():
                return True
        if flight.claim is not None:
            flight.claim = None
            self._spawn(self._recover(flight))
        flight.alone = False
        return False

    async def _alone(self, flight: Flight) -> Landing:
        """A local flight. Redis is told of its landing all the same: others may wait for it there."""
        landing, stores = await flight.work(_at_once)
        token = flight.token if flight.claim is None else flight.claim.token
        news = self._board.landing(flight.id, token, landings.encode(landing))
        self._spawn(self._land_later([*stores, news]))
        return landing

    async def _recover(self, flight: Flight) -> None:
        try:
            self._schedule(await self._board.recover(flight.id))
        except CacheUnavailable:
            return

    async def _leave(self, flight: Flight) -> None:
        if flight.claim is not None or not flight.gen or flight.task.done():
            return
        try:
            left = await self._board.leave(flight.id, flight.gen)
        except CacheUnavailable:
            return
        if left is Left.BEHIND:
            flight.band = Band.LEFT
        if left is not Left.KEPT and flight.waiters > 0:
            # Somebody came while the last one was leaving.
            self._promote(flight, Band.PEOPLE)
        elif left is Left.THEIRS and flight.claim is None:
            self._forget(flight)
            flight.task.cancel()

    def _full(self, ahead: int) -> QueueFull:
        return QueueFull("Too many requests wait for the service.", retry_after=self._wait_for(ahead))

    async def _expected_wait(self, flight: Flight) -> float:
        """Seconds until the flight should have landed: its rank divided by the rate."""
        try:
            standing = await self._board.poll(flight.id, flight.gen)
        except CacheUnavailable:
            return self._wait_for(self.depth)
        return self._wait_for(standing.rank if isinstance(standing, Queued) else 0)

    def _wait_for(self, rank: int) -> float:
        return (rank + 1) * self.budget.spacing + 1.0

    # Dispatch

    def _schedule(self, wait: Wait) -> None:
        """It may be our turn in ``wait`` seconds."""
        if wait is None:
            return
        at = time.monotonic() + wait
        if self._turn is None or at < self._turn:
            self._turn = at
            self._kick.set()

    async def _dispatch(self) -> None:
        """Claims what comes to this process's turn; asks now and then without being told."""
        while True:
            self._kick.clear()
            pause = _jittered(self.rules.poll) if self._turn is None else self._turn - time.monotonic()
            if await _signalled(self._kick, max(0.0, pause)):
                continue
            self._turn = None
            if any(flight.claim is None for flight in self._flights.values()):
                try:
                    await self._claim_next()
                except CacheUnavailable:
                    continue

    async def _claim_next(self) -> None:
        reply = await self._board.claim()
        if not isinstance(reply, Claimed):
            self._schedule(reply)
            return
        self._schedule(reply.wait)
        claim = reply.claim
        flight = self._flights.get(claim.id)
        if flight is None or flight.claim is not None or flight.alone:
            # Nobody here is left to run it: a landing without an answer, so that others submit anew.
            self._schedule(await self._board.land([self._board.landing(claim.id, claim.token, b"again")]))
            return
        flight.claim = claim
        flight.signal.set()

    # Life

    async def _beat(self) -> bool:
        """A sign of life; whether Redis took it."""
        try:
            pulse = await self._board.beat()
        except CacheUnavailable:
            self.degraded = True
            return False
        self.degraded = False
        self.fleet, self.depth = pulse.processes, pulse.queued
        self._on_clock(pulse.now)
        self._schedule(pulse.wait)
        return True

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(self.rules.beat)
            await self._beat()

    async def _listen(self) -> None:
        """Hears whose turn it is and what landed. A lost connection only costs the hints."""
        while True:
            try:
                async for kind, rest in self._board.hints():
                    if kind == "turn":
                        self._schedule(int(rest) * MICRO)
                    elif flight := self._flights.get(rest.partition(":")[0]):
                        flight.signal.set()
            except CacheUnavailable:
                await asyncio.sleep(_jittered(0.4))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _kept_alive(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Begins a loop again that a fault of ours ended: without it, requests would wait for nothing."""
    while True:
        try:
            await loop()
        except Exception:
            log.exception("queue_loop_failed")
            await asyncio.sleep(_jittered(1.0))


async def _signalled(signal: asyncio.Event, timeout: float) -> bool:
    """Whether the signal came within ``timeout`` seconds."""
    try:
        async with asyncio.timeout(timeout):
            return await signal.wait()
    except TimeoutError:
        return False


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.7, 1.3)  # noqa: S311 (jitter)


async def _at_once() -> None:
    """A local flight has its slot already."""
