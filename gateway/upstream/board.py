"""Board: the queue's state in Redis, which every process of the fleet reads and moves; one method a script."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.redis_client import Client, redis_errors
from gateway.scripts import Invocation, Script, invoke, invoke_all
from gateway.upstream.flight import Band, Claim
from gateway.upstream.pacing import Budget

PACKAGE = "gateway.upstream.lua"
SUBMIT, CLAIM, SLOT, FINISH, POLL, LEAVE, RECOVER, BEAT = (
    Script.load(PACKAGE, "prelude.lua", f"{name}.lua")
    for name in ("submit", "claim", "slot", "finish", "poll", "leave", "recover", "beat")
)
MICRO = 1e-6

Wait = float | None
"""Seconds until this process's turn; None when its turn is not next."""


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


@dataclass(frozen=True, slots=True)
class Claimed:
    """This process leads the flight."""

    claim: Claim
    wait: Wait


@dataclass(frozen=True, slots=True)
class Queued:
    """The job waits; ``rank`` jobs go before it, as far as that was asked."""

    gen: str
    wait: Wait = None
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """Another process leads the flight."""

    gen: str


@dataclass(frozen=True, slots=True)
class Leading:
    """This process leads the flight, as far as Redis knows."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """A flight of this id landed a moment ago; the cache may have the answer by now."""


@dataclass(frozen=True, slots=True)
class Full:
    """No room: ``ahead`` jobs wait already."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Landed:
    """What another process's flight landed with."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """Redis knows nothing of the job, or not as ours."""


class Left(Enum):
    """What becomes of a job whose last caller left: it is other processes' affair, falls behind, or runs on."""

    THEIRS = "left"
    BEHIND = "behind"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Pulse:
    """The fleet as a sign of life found it: its time in seconds, its processes, jobs queued and running."""

    now: float
    processes: int
    queued: int
    running: int
    wait: Wait


class Board:
    """One process's access to the queue's state. Every method is one round trip and raises CacheUnavailable."""

    def __init__(self, client: Client, prefix: str, budget: Budget, rules: QueueRules) -> None:
        self.process = secrets.token_hex(6)
        self._client = client
        self._key = f"{prefix}:{{queue}}"
        self._budget = budget.arguments
        self._rules = rules

    def __repr__(self) -> str:
        return f"<Board {self._key} of {self.process}>"

    async def submit(
        self, id: str, tenant: str, band: Band, *, token: str, looked: bool
    ) -> Claimed | Queued | Running | LookAgain | Full:
        """Joins the job of this id or creates it. ``token`` is the flight's, the same whenever it is submitted.

        ``looked`` says that the cache has been looked into again.
        """
        sent = time.monotonic()
        job = (id, tenant, int(band), token, int(looked))
        reply = await self._run(SUBMIT, *job, *self._budget, self._rules.max_queued, self._rules.max_per_tenant)
        match reply[0]:
            case b"claimed":
                return _claimed(reply, sent)
            case b"queued":
                return Queued(reply[1].decode(), _wait(reply[2]))
            case b"running":
                return Running(reply[1].decode())
            case b"recheck":
                return LookAgain()
        return Full(int(reply[1]))

    async def claim(self) -> Claimed | Wait:
        """Takes what is next, where that is ours; else the seconds after which to ask again."""
        sent = time.monotonic()
        reply = await self._run(CLAIM, secrets.token_hex(8), *self._budget)
        if reply[0] == b"claimed":
            return _claimed(reply, sent)
        return _wait(reply[1]) if reply[0] == b"wait" else None

    async def reslot(self, claim: Claim, record: str, late: float, allowance: float) -> tuple[float, str]:
        """Moves a slot that was missed by ``late`` seconds, for a write within ``allowance`` of it.

        Answers the seconds to wait, negative where the lead is lost, and the budget's record.
        """
        times = (round(late / MICRO), round(allowance / MICRO))
        wait, tat = await self._run(SLOT, claim.id, claim.token, record, *times, *self._budget)
        return int(wait) * MICRO, tat.decode()

    def landing(self, id: str, token: str, result: bytes) -> Invocation:
        """The call that lands a flight: not made yet, so that it can go out with what it announces."""
        return self._invocation(FINISH, id, token, result, *self._budget)

    async def recover(self, id: str) -> Wait:
        """Lets a job wait again that this process leads but does not fly."""
        return _wait((await self._run(RECOVER, id, *self._budget))[0])

    async def land(self, news: Sequence[Invocation]) -> Wait:
        """Stores, and last lands, in one round trip; the seconds until our next turn."""
        reply = (await invoke_all(self._client, news))[-1]
        return _wait(reply[2]) if reply[0] == b"landed" else None

    async def poll(self, id: str, gen: str) -> Landed | Queued | Running | Leading | Gone:
        """Where a job stands."""
        reply = await self._run(POLL, id, gen)
        match reply[0]:
            case b"landed":
                return Landed(reply[1])
            case b"queued":
                return Queued(gen, rank=int(reply[1]))
            case b"running":
                return Running(gen)
            case b"leading":
                return Leading()
        return Gone()

    async def leave(self, id: str, gen: str) -> Left:
        """Our last caller disconnected."""
        return Left((await self._run(LEAVE, id, gen))[0].decode())

    async def beat(self) -> Pulse:
        """A sign of life; it also clears up after the dead."""
        rules = self._rules
        times = (round(rules.dead_after / MICRO), round(rules.longest_run / MICRO), rules.attempts)
        now, processes, queued, running, wait = await self._run(BEAT, *times, *self._budget)
        return Pulse(int(now) * MICRO, processes, queued, running, _wait(wait))

    async def hints(self) -> AsyncIterator[tuple[str, str]]:
        """What others tell this process: ``("turn", microseconds)`` or ``("done", "<id>:<gen>")``."""
        with redis_errors():
            async with self._client.pubsub() as pubsub:
                await pubsub.subscribe(f"{self._key}:wake:{self.process}")
                while True:
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                    if message is not None:
                        kind, _, rest = message["data"].decode().partition(":")
                        yield kind, rest

    def _invocation(self, script: Script, *args: bytes | str | int | float) -> Invocation:
        return Invocation(script, self._key, (self.process, *args))

    async def _run(self, script: Script, *args: bytes | str | int | float) -> list:  # type: ignore[type-arg]
        reply = await invoke(self._client, self._invocation(script, *args))
        return reply if isinstance(reply, list) else [reply]


def _claimed(reply: list, sent: float) -> Claimed:  # type: ignore[type-arg]
    _, id, gen, token, record, wait = reply
    return Claimed(Claim(id.decode(), gen.decode(), token.decode(), record.decode(), sent), _wait(wait))


def _wait(microseconds: int | bytes) -> Wait:
    return None if int(microseconds) < 0 else int(microseconds) * MICRO
