"""Queue: the deduplicating, paced, fair queue in Redis that all upstream work goes through."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.errors import (
    CacheUnavailable,
    DeadlineExceeded,
    GatewayError,
    QueueFull,
    UpstreamDisconnected,
)
from gateway.redis_client import Client
from gateway.scripts import Invocation, Script, invoke, invoke_all
from gateway.upstream import landing as landings
from gateway.upstream.flight import Band, Claim, Flight, Recheck, Work
from gateway.upstream.landing import Landing
from gateway.upstream.pacing import Budget, LocalBudget

PACKAGE = "gateway.upstream.lua"
SUBMIT, CLAIM, SLOT, FINISH, POLL, LEAVE, BEAT = (
    Script.load(PACKAGE, "prelude.lua", f"{name}.lua")
    for name in ("submit", "claim", "slot", "finish", "poll", "leave", "beat")
)
MICRO = 1e-6
STUBBORN = 5
MAX_TURNS = 20
"""Times that a flight comes back to the queue before it gives up; each ends in a landing or a lost leader."""


@dataclass(frozen=True, slots=True)
class QueueRules:
    """The queue's bounds; times in seconds."""

    max_queued: int = 1_000
    max_per_tenant: int = 200
    dead_after: float = 3.0
    longest_run: float = 60.0
    attempts: int = 3
    beat: float = 1.0
    poll: float = 2.0


class Queue:
    """This process's end of the queue: its flights, its dispatcher, its signs of life.

    Redis holds ids, ranks and tokens; what is to be asked stays here, so only a process that holds a flight
    can lead it.
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
        self.process = secrets.token_hex(6)
        self.budget = budget
        self.rules = rules
        self.fleet = 1
        self.depth = 0
        self.running = 0
        self.degraded = False
        self._client = client
        self._key = f"{prefix}:{{queue}}"
        self._flights: dict[str, Flight] = {}
        self._local = LocalBudget(budget)
        self._turn: float | None = None
        self._kick = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._on_clock = on_clock

    def __repr__(self) -> str:
        return f"<Queue {self.process} {len(self._flights)} flights, {self.waiters} waiters, depth {self.depth}>"

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
        self._loops = [asyncio.create_task(loop()) for loop in (self._beats, self._listen, self._dispatch)]

    async def stop(self, grace: float) -> None:
        """Lets flights that run finish for up to ``grace`` seconds; those that only wait are given up."""
        running = [f.task for f in self._flights.values() if f.claim is not None]
        if running:
            await asyncio.wait(running, timeout=grace)
        await self._end([*self._loops, *self._background, *(f.task for f in self._flights.values())])

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Cancels tasks until they end; what swallows one cancellation gets another."""
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
            flight.task.add_done_callback(lambda _: self._flights.pop(id, None))
        elif band < flight.band:
            flight.band, flight.tenant = band, tenant
            flight.signal.set()
        return flight

    async def _fly(self, flight: Flight) -> Landing:
        """From submission to landing; never raises but when cancelled."""
        try:
            return await self._queue_up(flight)
        except CacheUnavailable:
            return await self._alone(flight)
        except GatewayError as error:
            return Landing(flight.exact, error=error)

    async def _queue_up(self, flight: Flight) -> Landing:
        rechecked = False
        for _ in range(MAX_TURNS):
            sent = time.monotonic()
            reply = await self._submit(flight, rechecked)
            rechecked = False
            match reply[0]:
                case b"claimed":
                    return await self._lead(flight, self._claimed(reply, sent))
                case b"recheck":
                    # A flight of this id landed between our look-up and our submission:
                    #   we look up (miss) · their flight stores and lands · we submit
                    # so the answer may be in the cache; if it is not (an error, say), we fly.
                    landing = await flight.recheck()
                    if landing is not None:
                        return landing
                    rechecked = True
                    continue
                case b"full":
                    raise QueueFull(
                        "Too many requests wait for the service.", retry_after=self._wait_for(int(reply[1]))
                    )
            flight.gen = reply[1].decode()
            if reply[0] == b"queued":
                self._schedule(int(reply[2]))
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
        band = flight.band
        while True:
            try:
                async with asyncio.timeout(self.rules.poll * random.uniform(0.7, 1.3)):  # noqa: S311 (jitter)
                    await flight.signal.wait()
            except TimeoutError:
                pass
            flight.signal.clear()
            if flight.claim is not None:
                return flight.claim
            if flight.band != band:
                return None
            reply = await self._run(POLL, flight.id, flight.gen)
            if flight.claim is not None:
                return flight.claim
            match reply[0]:
                case b"landed":
                    return self._result(flight, reply[1])
                case b"gone":
                    return None

    def _result(self, flight: Flight, data: bytes) -> Landing | None:
        if data == b"lost":
            raise UpstreamDisconnected("Those who asked the service for this disappeared repeatedly.")
        if data == b"dropped":
            raise QueueFull("Too many requests wait for the service.", retry_after=self._wait_for(self.depth))
        return landings.decode(data)

    async def _lead(self, flight: Flight, claim: Claim) -> Landing:
        flight.claim = claim
        confirm = _Slot(self, claim)
        landing, stores = await flight.work(confirm)
        args = (claim.id, claim.gen, claim.token, landings.encode(landing), *self.budget.arguments)
        finish = self._invocation(FINISH, *args)
        try:
            # The entry before the news of it: whoever is woken finds it stored.
            replies = await invoke_all(self._client, [*stores, finish])
        except CacheUnavailable:
            self._spawn(self._finish_later(finish))
        else:
            if replies[-1][0] == b"landed":
                self._schedule(int(replies[-1][2]))
        return landing

    async def _finish_later(self, finish: Invocation) -> None:
        """Others may wait for this landing: it is told as soon as Redis answers again, while it counts."""
        for attempt in range(6):
            await asyncio.sleep(0.2 * 2**attempt)
            try:
                await invoke(self._client, finish)
            except CacheUnavailable:
                continue
            return

    async def _alone(self, flight: Flight) -> Landing:
        """Redis is gone: a local flight on this process's share of the budget."""
        flight.alone = True
        await asyncio.sleep(self._local.reserve(time.monotonic(), self.fleet))
        landing, _ = await flight.work(_at_once)
        return landing

    async def _leave(self, flight: Flight) -> None:
        if flight.claim is None and flight.gen and not flight.task.done():
            try:
                reply = await self._run(LEAVE, flight.id, flight.gen)
            except CacheUnavailable:
                return
            if reply[0] == b"left" and flight.waiters == 0 and flight.claim is None:
                flight.task.cancel()

    # Dispatch

    def _schedule(self, wait: int) -> None:
        """It may be our turn in ``wait`` microseconds; negative: it is not ours."""
        if wait < 0:
            return
        at = time.monotonic() + wait * MICRO
        if self._turn is None or at < self._turn:
            self._turn = at
            self._kick.set()

    async def _dispatch(self) -> None:
        """Claims what comes to this process's turn; asks now and then without being told."""
        while True:
            self._kick.clear()
            pause = self.rules.poll if self._turn is None else max(0.0, self._turn - time.monotonic())
            try:
                async with asyncio.timeout(pause * (random.uniform(0.7, 1.3) if self._turn is None else 1)):  # noqa: S311
                    await self._kick.wait()
                continue
            except TimeoutError:
                pass
            self._turn = None
            if any(flight.claim is None for flight in self._flights.values()):
                try:
                    await self._claim_next()
                except CacheUnavailable:
                    self._turn = None

    async def _claim_next(self) -> None:
        sent = time.monotonic()
        token = secrets.token_hex(8)
        reply = await self._run(CLAIM, token, *self.budget.arguments)
        if reply[0] == b"wait":
            self._schedule(int(reply[1]))
        elif reply[0] == b"claimed":
            claim = self._claimed(reply, sent)
            flight = self._flights.get(claim.id)
            if flight is None or flight.claim is not None or flight.alone:
                # Nobody here is left to run it: a landing without an answer, so that others submit anew.
                lost = self._invocation(FINISH, claim.id, claim.gen, claim.token, b"again", *self.budget.arguments)
                self._schedule(int((await invoke(self._client, lost))[2]))
                return
            flight.claim = claim
            flight.signal.set()

    def _claimed(self, reply: list[Any], sent: float) -> Claim:
        _, id, gen, token, record, own = reply
        self._schedule(int(own))
        return Claim(id.decode(), gen.decode(), token.decode(), record.decode(), sent)

    # Redis

    def _invocation(self, script: Script, *args: bytes | str | int | float) -> Invocation:
        return Invocation(script, self._key, (self.process, *args))

    async def _run(self, script: Script, *args: bytes | str | int | float) -> Any:
        return await invoke(self._client, self._invocation(script, *args))

    async def _submit(self, flight: Flight, rechecked: bool) -> Any:
        token = secrets.token_hex(8)
        bounds = (self.rules.max_queued, self.rules.max_per_tenant)
        head = (flight.id, flight.tenant, int(flight.band), token, int(rechecked))
        return await self._run(SUBMIT, *head, *self.budget.arguments, *bounds)

    async def reslot(self, record: str, late: float) -> tuple[float, str]:
        """Moves a slot that was missed by ``late`` seconds; answers the wait in seconds, and the new record."""
        wait, tat = await self._run(SLOT, record, round(late / MICRO), *self.budget.arguments)
        return int(wait) * MICRO, tat.decode()

    async def _expected_wait(self, flight: Flight) -> float:
        """Seconds until the flight should have landed: its rank divided by the rate."""
        rank = self.depth
        try:
            reply = await self._run(POLL, flight.id, flight.gen)
            if reply[0] == b"queued":
                rank = int(reply[1])
            elif reply[0] == b"running":
                rank = 0
        except CacheUnavailable:
            pass
        return self._wait_for(rank)

    def _wait_for(self, rank: int) -> float:
        return max(1.0, (rank + 1) * self.budget.spacing + 1.0)

    async def _beat(self) -> None:
        rules = self.rules
        times = (round(rules.dead_after / MICRO), round(rules.longest_run / MICRO), rules.attempts)
        try:
            now, self.fleet, self.depth, self.running, own = await self._run(BEAT, *times, *self.budget.arguments)
        except CacheUnavailable:
            self.degraded = True
            return
        if self.degraded:
            self.degraded = False
            self._local.forget()
        self._on_clock(int(now) * MICRO)
        self._schedule(int(own))

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(self.rules.beat)
            await self._beat()

    async def _listen(self) -> None:
        """Hears whose turn it is and what landed. A lost connection only costs the hints."""
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(f"{self._key}:wake:{self.process}")
                    while True:
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                        if message is not None:
                            self._heard(message["data"].decode())
            except Exception:
                await asyncio.sleep(random.uniform(0.2, 0.6))  # noqa: S311

    def _heard(self, message: str) -> None:
        kind, _, rest = message.partition(":")
        if kind == "turn":
            self._schedule(int(rest))
        elif kind == "done":
            flight = self._flights.get(rest.partition(":")[0])
            if flight is not None:
                flight.signal.set()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class _Slot:
    """Confirms, just before a request is written, that its slot still is now; else moves it."""

    def __init__(self, queue: Queue, claim: Claim) -> None:
        self._queue = queue
        self._record = claim.record
        self._slot = claim.sent

    async def __call__(self) -> None:
        """Waits until the request may be written. Raises CacheUnavailable."""
        if self._queue.budget.interval is None:
            return
        while (late := time.monotonic() - self._slot) > self._queue.budget.guard:
            self._slot = time.monotonic()
            wait, self._record = await self._queue.reslot(self._record, late)
            if wait > 0:
                self._slot += wait
                await asyncio.sleep(max(0.0, self._slot - time.monotonic()))


async def _at_once() -> None:
    """A local flight has its slot already."""
