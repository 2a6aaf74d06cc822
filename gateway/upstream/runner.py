"""Pilot: takes a flight of this process from its submission to its landing, with Redis or without.

Dispatcher: claims the flights of this process whose turn has come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from gateway.errors import CacheUnavailable, GatewayError, Overload, QueueFull, UpstreamDisconnected
from gateway.redis import Invocation
from gateway.upstream import flight as landings
from gateway.upstream.credential_breaker import NOTHING, REFUSALS, Breaker
from gateway.upstream.evidence import Why
from gateway.upstream.flight import Band, Claim, Deserted, Flight, Landing, Result, Reuse
from gateway.upstream.heartbeat import Heart, LeadLost, Slot
from gateway.upstream.local import Local, full
from gateway.upstream.queue_state import (
    MICRO,
    Board,
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
    QueueRules,
    Running,
    Wait,
)
from gateway.upstream.tasks import Background, jittered, log_closing, signalled
from gateway.upstream.upstream_breaker import Gate, held_back, refusal


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


MAX_TURNS = 20
"""Times that a flight comes back to the queue before it gives up; each ends in a landing or a lost leader."""
LOST = 2
RETELL = (0.0, *tuple(0.2 * 2**n for n in range(6)))
"""Seconds between attempts to tell of a landing while Redis does not answer."""


OnDispatch = Callable[[Band, float], None]
"""Is told the band of a flight that sets out, and the seconds it waited for its turn."""


class Pilot:
    """Submits, waits for a turn, leads or learns of another's landing, and tells of its own."""

    def __init__(
        self,
        board: Board,
        rules: QueueRules,
        gate: Gate,
        breaker: Breaker,
        heart: Heart,
        dispatcher: Dispatcher,
        local: Local,
        background: Background,
        on_dispatch: OnDispatch,
    ) -> None:
        self._board = board
        self._rules = rules
        self._gate = gate
        self._breaker = breaker
        self._heart = heart
        self._dispatcher = dispatcher
        self._local = local
        self._background = background
        self._on_dispatch = on_dispatch

    async def fly(self, flight: Flight) -> Landing:
        """From submission to landing; never raises but when cancelled."""
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
            return Landing(flight.exact, error=error)

    async def _attempt(self, flight: Flight) -> Landing:
        while True:
            try:
                return await self._queue_up(flight)
            except CacheUnavailable:
                if await self._local_turn(flight):
                    return await self._alone(flight)

    async def _queue_up(self, flight: Flight) -> Landing:
        looked = False
        if self._gate.untold(time.monotonic()):
            await self._heart.beat()
        turns = 0
        while turns < MAX_TURNS:
            if flight.pointless:
                raise Deserted
            flight.restated = False
            reply = await self._board.submit(
                flight.id,
                flight.payer,
                flight.band,
                token=flight.token,
                looked=looked,
                question=flight.question,
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
                    landing = await flight.recheck()
                    if landing is not None:
                        return landing
                    looked = True
                    turns += 1
                    continue
                case Full(ahead):
                    raise self._full(ahead)
                case Paused(why, seconds):
                    if why is Why.TARGET or not flight.others:
                        raise held_back(why, seconds)
                    # Others wait for it too, and have not provoked anything.
                    flight.payer = flight.others.pop(next(iter(flight.others)))
                    continue
                case Closed(seconds):
                    raise refusal(seconds, held=self._gate.held)
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

    async def _await_turn(self, flight: Flight) -> Claim | Landing | None:
        """Waits until the dispatcher claims the flight for us or it lands elsewhere; None: submit anew.

        The signal is only a hint; what Redis says counts, and is asked for now and then without a hint.
        """
        unflown = 0
        while True:
            await signalled(flight.signal, jittered(self._rules.poll))
            flight.signal.clear()
            if flight.claim is not None:
                return flight.claim
            if flight.restated:
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
                        self._dispatcher.schedule(await self._board.recover(flight.id))
                case Gone():
                    return None
                case Queued() if flight.deserted:
                    await self._leave(flight)
                case _ if self._heart.degraded:
                    # Redis can be read but not be written: nobody's turn comes there, and no landing either.
                    raise CacheUnavailable("the shared cache takes nothing")

    async def _leave(self, flight: Flight) -> None:
        """The last caller of a queued flight has gone, or may have. Raises Deserted where it ends here with that.

        Where somebody waits for it elsewhere it is held on to for those who are patient here, and nothing more.
        """
        left = await self._board.leave(flight.id, flight.gen, kept=flight.reuse() is Reuse.LATER)
        if left is Left.KEPT or flight.claim is not None:
            return
        if left is Left.DROPPED or (left is Left.THEIRS and not flight.wanted):
            raise Deserted
        if not flight.awaited:
            flight.band = Band.LEFT
        if flight.awaited or left is Left.THEIRS:  # somebody came while the last one was leaving, or is patient
            flight.restate()

    def _landed(self, result: bytes) -> Landing | None:
        if result == b"lost":
            raise UpstreamDisconnected("Those who asked the service for this disappeared repeatedly.")
        word, _, rest = result.partition(b":")
        if word == b"dropped":  # an older version does not say how many went before it
            raise self._full(int(rest or self._heart.depth))
        if word == b"paused":
            raise held_back(Why.BEARER, int(rest) * MICRO)
        return landings.decode(result)

    async def _lead(self, flight: Flight, claim: Claim) -> Landing:
        flight.claim = claim
        self._tell_dispatch(flight)
        result = await flight.work(Slot(self._board, self._heart.fleet.budget, claim).confirm)
        # The entry before the news of it: whoever is woken finds it stored.
        try:
            settled = await self._board.land(self._news(flight, claim.token, result))
        except CacheUnavailable:
            self._judge(flight, result)
            self._background.spawn(self._land_later(self._news(flight, claim.token, _unrefused(result))))
        else:
            self._dispatcher.schedule(settled.wait)
            self._breaker.settled(result.verdict, settled.refused_for)
        return result.landing

    def _tell_dispatch(self, flight: Flight) -> None:
        self._on_dispatch(flight.band, time.monotonic() - flight.started)

    def _judge(self, flight: Flight, result: Result) -> None:
        """What a landing says, where Redis did not hear it."""
        if self._gate.judge(time.monotonic(), result.sign, flight.payer, flight.question):
            log_closing(self._gate.why)
        self._judge_credential(flight, result)

    def _judge_credential(self, flight: Flight, result: Result) -> None:
        payer = flight.payer
        alone = self._gate.evidence.sole_user(time.monotonic(), payer)
        self._breaker.judge(result.verdict, payer.tenant, alone=alone)

    def _news(self, flight: Flight, token: str, result: Result) -> list[Invocation]:
        encoded = landings.encode(result.landing)
        landing = self._board.landing(
            flight.id, token, encoded, result.sign, result.verdict, payer=flight.payer, question=flight.question
        )
        return [*result.stores, landing]

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
        """Redis is gone: waits for this process's share of the budget; False when Redis is back by then."""
        flight.alone = True
        if await self._local.turn(flight):
            return True
        self._rejoin(flight)
        return False

    async def _alone(self, flight: Flight) -> Landing:
        """A local flight. Redis is told of its landing all the same: others may wait for it there."""
        self._tell_dispatch(flight)
        try:
            result = await self._local.fly(flight)
        except LeadLost:
            self._rejoin(flight)
            raise
        self._judge_credential(flight, result)
        token = flight.token if flight.claim is None else flight.claim.token
        self._background.spawn(self._land_later(self._news(flight, token, _unrefused(result))))
        return result.landing

    def _rejoin(self, flight: Flight) -> None:
        """Redis is back before a local flight asked: it goes through the queue after all."""
        if flight.claim is not None:
            flight.claim = None
            self._background.spawn(self._recover(flight))
        flight.alone, flight.slot = False, None

    async def _recover(self, flight: Flight) -> None:
        try:
            self._dispatcher.schedule(await self._board.recover(flight.id))
        except CacheUnavailable:
            return

    def _full(self, ahead: int) -> QueueFull:
        return full(max(self._heart.fleet.budget.wait_for(ahead), self._gate.closed_for(time.monotonic())))


def _unrefused(result: Result) -> Result:
    """The result for a Redis that did not take it at once: a late refusal would prolong what beats tell of."""
    return replace(result, sign=NOTHING) if result.sign.kind in REFUSALS else result
