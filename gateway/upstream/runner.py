"""The way of one flight from its submission to its landing, with Redis or without, and the claims of turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

import structlog

from gateway.errors import CacheUnavailable, GatewayError, Overload, QueueFull, UpstreamDisconnected
from gateway.redis import Invocation
from gateway.upstream.credential_breaker import NOTHING, REFUSALS, CredentialBreaker
from gateway.upstream.flight import (
    Claim,
    Deserted,
    Fetched,
    Flight,
    FlightRequest,
    FlightResult,
    LeadLost,
    Reuse,
    decode,
    encode,
)
from gateway.upstream.local import LocalRunner, full
from gateway.upstream.pacing import MICRO, Budget, Heartbeat, Priority
from gateway.upstream.queue_state import (
    Claimed,
    Closed,
    Full,
    Gone,
    Landed,
    Leading,
    Left,
    LookAgain,
    Paused,
    Queued,
    QueueState,
    Running,
    Wait,
)
from gateway.upstream.tasks import Background, jittered, signalled
from gateway.upstream.upstream_breaker import PauseKind, closed_error, paused_error

MAX_TURNS = 20
"""Times that a flight returns to the queue before it gives up; each ends in a landing or a lost leader."""
LOST = 2
"""Polls that show this process as the leader before the claim's reply counts as lost."""
LANDING_RETRIES = (0.0, *tuple(0.2 * 2**n for n in range(6)))
"""Seconds between attempts to report a landing while Redis does not answer."""
MAX_ALLOWANCE = 5.0
"""Seconds; as in pace.lua."""
NO_RECORD = ""
"""No budget's record, so that a slot is not moved but a new one taken."""

OnDispatch = Callable[[Priority, float], None]
"""Called with the priority of a flight that sets out, and the seconds it waited for its turn."""

log = structlog.get_logger("gateway")


class Dispatcher:
    """Claims the flights of this process whose turn has come.

    When that is, is known by hints only: about every ``poll`` seconds it asks without one.
    """

    def __init__(self, state: QueueState, flights: Mapping[str, Flight], poll: float) -> None:
        self._state = state
        self._flights = flights
        self._poll = poll
        self._turn: float | None = None
        self._kick = asyncio.Event()

    def schedule(self, wait: Wait) -> None:
        """Note that this process's turn may come in ``wait`` seconds."""
        if wait is None:
            return
        at = time.monotonic() + wait
        if self._turn is None or at < self._turn:
            self._turn = at
            self._kick.set()

    async def run(self) -> None:
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
        reply = await self._state.claim()
        if not isinstance(reply, Claimed):
            self.schedule(reply)
            return
        self.schedule(reply.wait)
        claim = reply.claim
        flight = self._flights.get(claim.id)
        if flight is None or flight.flies:
            # Nobody here is left to run it: a landing without an answer, so that others submit anew.
            landing = self._state.landing(FlightRequest(claim.id), claim.token, b"again")
            self.schedule((await self._state.land([landing])).wait)
            return
        flight.claim = claim
        flight.signal.set()


class FlightRunner:
    """Takes a flight of this process from its submission to its landing."""

    def __init__(
        self,
        state: QueueState,
        breaker: CredentialBreaker,
        heartbeat: Heartbeat,
        dispatcher: Dispatcher,
        local: LocalRunner,
        background: Background,
        on_dispatch: OnDispatch,
    ) -> None:
        self._state = state
        self._gate = state.gate
        self._breaker = breaker
        self._heartbeat = heartbeat
        self._dispatcher = dispatcher
        self._local = local
        self._background = background
        self._on_dispatch = on_dispatch

    async def run(self, flight: Flight) -> FlightResult:
        """Run the flight from submission to landing; never raises unless cancelled."""
        try:
            while True:
                try:
                    return await self._attempt(flight)
                except LeadLost:
                    flight.claim = None
                except Deserted:
                    if not flight.wanted:
                        raise Overload("All who asked for this have gone.") from None
                    flight.alone, flight.slot = False, None  # somebody came since
        except GatewayError as error:
            return FlightResult(flight.request.exact, error=error)

    async def _attempt(self, flight: Flight) -> FlightResult:
        while True:
            try:
                return await self._queue_up(flight)
            except CacheUnavailable:
                flight.alone = True
                if await self._local.turn(flight):
                    return await self._fly_alone(flight)
                self._rejoin(flight)

    async def _queue_up(self, flight: Flight) -> FlightResult:
        looked = False
        if self._gate.unreported(time.monotonic()):
            await self._heartbeat.beat()
        turns = 0
        while turns < MAX_TURNS:
            if flight.pointless:
                raise Deserted
            flight.restated = False
            reply = await self._state.submit(
                flight.request,
                token=flight.token,
                looked=looked,
                kept=flight.reuse() is Reuse.LATER,
                others=flight.others.values(),
            )
            looked = False
            match reply:
                case Claimed(claim, wait):
                    self._dispatcher.schedule(wait)
                    return await self._lead(flight, claim)
                case LookAgain():
                    # A flight of this id landed between our look-up and our submission:
                    #   we look up (miss) · their flight stores and lands · we submit
                    # so the answer may be in the cache; if it is not (an error, say), we fly.
                    result = await flight.recheck()
                    if result is not None:
                        return result
                    looked = True
                    turns += 1
                    continue
                case Full(ahead):
                    raise self._full(ahead)
                case Paused(kind, seconds):
                    # Others who wait for it too have not provoked a pause of its caller or credential.
                    if kind is PauseKind.TARGET or not flight.charge_another():
                        raise paused_error(kind, seconds)
                    continue
                case Closed(seconds):
                    raise closed_error(seconds, held=self._gate.held)
                case Queued(gen, wait):
                    flight.gen = gen
                    self._dispatcher.schedule(wait)
                case Running(gen):
                    flight.gen = gen
                case _:
                    assert_never(reply)
            outcome = await self._await_turn(flight)
            if isinstance(outcome, Claim):
                return await self._lead(flight, outcome)
            if outcome is not None:
                return outcome
            turns += not flight.restated
        raise UpstreamDisconnected("The service could not be asked: its callers kept disappearing.")

    async def _await_turn(self, flight: Flight) -> Claim | FlightResult | None:
        """Wait until the dispatcher claims the flight for us or it lands elsewhere; None: submit anew.

        The signal is only a hint; Redis's word counts, and is asked for now and then without a hint.
        """
        leading = 0
        while True:
            await signalled(flight.signal, jittered(self._state.rules.poll))
            flight.signal.clear()
            if flight.claim is not None:
                return flight.claim
            if flight.restated:
                return None
            job = await self._state.poll(flight.request.id, flight.gen)
            if flight.claim is not None:
                return flight.claim
            match job:
                case Landed(result):
                    return self._landed(result)
                case Leading():
                    # The claim's reply may be on its way to the dispatcher; seen twice, it was lost.
                    leading += 1
                    if leading % LOST == 0:
                        self._dispatcher.schedule(await self._state.recover(flight.request.id))
                case Gone():
                    return None
                case Queued() if flight.deserted:
                    await self._leave(flight)
                case _ if self._heartbeat.degraded:
                    # Redis can be read but not be written: nobody's turn comes there, and no landing either.
                    raise CacheUnavailable("Redis takes no writes")

    async def _leave(self, flight: Flight) -> None:
        """The last caller of a queued flight has gone, or may have. Raises Deserted if the flight ends with that.

        If others elsewhere wait for it, it is held on to only for those who are patient here.
        """
        left = await self._state.leave(flight.request.id, flight.gen, kept=flight.reuse() is Reuse.LATER)
        if left is Left.KEPT or flight.claim is not None:
            return
        if left is Left.DROPPED or (left is Left.THEIRS and not flight.wanted):
            raise Deserted
        if not flight.awaited:
            flight.request = replace(flight.request, priority=max(Priority.LEFT, flight.request.priority))
        if flight.awaited or left is Left.THEIRS:  # somebody came while the last one was leaving, or is patient
            flight.restate()

    def _landed(self, result: bytes) -> FlightResult | None:
        if result == b"lost":
            raise UpstreamDisconnected("Those who asked the service for this disappeared repeatedly.")
        word, _, rest = result.partition(b":")
        if word == b"dropped":  # an older version does not say how many went before it
            raise self._full(int(rest or sum(self._heartbeat.depths)))
        if word == b"paused":
            raise paused_error(PauseKind.BEARER, int(rest) * MICRO)
        return decode(result)

    async def _lead(self, flight: Flight, claim: Claim) -> FlightResult:
        flight.claim = claim
        self._on_dispatch(flight.request.priority, time.monotonic() - flight.started)
        fetched = await flight.work(Slot(self._state, self._heartbeat.fleet.budget, claim).confirm)
        # The entry before the news of it: whoever is woken finds it stored.
        try:
            settled = await self._state.land(self._landing(flight, fetched))
        except CacheUnavailable:
            if self._gate.judge(time.monotonic(), fetched.signal, flight.request):
                log.warning("gate_closed", why=self._gate.why)
            self._report_later(flight, fetched)
        else:
            self._dispatcher.schedule(settled.wait)
            self._breaker.settled(fetched.credential, settled.refused_for)
        return fetched.result

    async def _fly_alone(self, flight: Flight) -> FlightResult:
        """A local flight. Its landing is reported to Redis all the same: others may wait for it there."""
        self._on_dispatch(flight.request.priority, time.monotonic() - flight.started)
        try:
            fetched = await self._local.fly(flight)
        except LeadLost:
            self._rejoin(flight)
            raise
        self._report_later(flight, fetched)
        return fetched.result

    def _landing(self, flight: Flight, fetched: Fetched) -> list[Invocation]:
        """The calls that store what was fetched and land the flight."""
        token = flight.token if flight.claim is None else flight.claim.token
        said = (encode(fetched.result), fetched.signal, fetched.credential)
        return [*fetched.stores, self._state.landing(flight.request, token, *said)]

    def _report_later(self, flight: Flight, fetched: Fetched) -> None:
        """Judge the credential here, and report the landing once Redis answers.

        Without a refusal, which heartbeats report: a late one would prolong the closing.
        """
        flow = flight.request.flow
        alone = self._gate.evidence.sole_user(time.monotonic(), flow)
        self._breaker.judge(fetched.credential, flow.tenant, alone=alone)
        if fetched.signal.kind in REFUSALS:
            fetched = replace(fetched, signal=NOTHING)
        self._background.spawn(self._land_later(self._landing(flight, fetched)))

    async def _land_later(self, calls: list[Invocation]) -> None:
        """Others may wait for this landing: report it as soon as Redis answers again, while it counts."""
        for pause in LANDING_RETRIES:
            await asyncio.sleep(pause)
            try:
                await self._state.land(calls)
            except CacheUnavailable:
                continue
            return

    def _rejoin(self, flight: Flight) -> None:
        """Redis is back before a local flight asked: it goes through the queue after all."""
        if flight.claim is not None:
            flight.claim = None
            self._background.spawn(self._recover(flight))
        flight.alone, flight.slot = False, None

    async def _recover(self, flight: Flight) -> None:
        try:
            self._dispatcher.schedule(await self._state.recover(flight.request.id))
        except CacheUnavailable:
            return

    def _full(self, ahead: int) -> QueueFull:
        return full(max(self._heartbeat.fleet.budget.wait_for(ahead), self._gate.closed_for(time.monotonic())))


class Slot:
    """Confirms, just before a request is written, that its slot still is now; else moves it.

    A new connection's handshake or a stalled process can come between a claim and its request; written that
    late, it would be too close to the next one. Each request that is written takes a slot of its own.
    """

    def __init__(self, state: QueueState, budget: Budget, claim: Claim) -> None:
        self._state = state
        self._budget = budget
        self._claim = claim
        self._used = False

    async def confirm(self) -> None:
        """Wait until the request may be written. Raises CacheUnavailable, LeadLost.

        Lateness counts from the moment at which a slot was asked for, which is before Redis gave it: it is
        never underestimated. Each attempt allows for twice what the one before it took, and the next slot keeps
        its distance from that, so that a slow Redis delays but never blocks.
        """
        if self._budget.interval is None:
            return
        record, allowance = self._claim.record, 0.0
        late = time.monotonic() - self._claim.sent
        if self._used:
            record, late = NO_RECORD, max(late, 2 * self._budget.guard)
        self._used = True
        while late > self._budget.guard + allowance:
            allowance = min(2 * late, MAX_ALLOWANCE) if allowance else self._budget.guard
            asked = time.monotonic()
            wait, record = await self._state.reslot(self._claim, record, late, allowance)
            if wait < 0:
                raise LeadLost
            await asyncio.sleep(wait)
            late = time.monotonic() - asked - wait
