"""Board: the queue's state in Redis, which every process of the fleet reads and moves; one method a script.

Replies: what the queue's state says to those who ask or move it. Plain values.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gateway.redis import Client, Invocation, Script, invoke, invoke_all, redis_errors
from gateway.upstream.credential_breaker import NOTHING, BreakerRules, Sign, Verdict
from gateway.upstream.evidence import Why
from gateway.upstream.flight import NOBODY, Band, Claim, Payer
from gateway.upstream.pacing import Budget, Terms
from gateway.upstream.snapshot import MOST_LISTED, Census, Standing, census_of, standing_of
from gateway.upstream.upstream_breaker import Gate, GateRules

Wait = float | None
"""Seconds until this process's turn; None when its turn is not next."""


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
class Closed:
    """The gate is closed for ``seconds`` more: nothing new is queued."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Paused:
    """The query may not be asked for ``seconds`` more: its target, its bearer or its caller is paused."""

    why: Why
    seconds: float


@dataclass(frozen=True, slots=True)
class Settled:
    """A landing was taken: our next turn, and for how long its credential is refused now, None where it is not."""

    wait: Wait
    refused_for: float | None = None


@dataclass(frozen=True, slots=True)
class Landed:
    """What another process's flight landed with."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """Redis knows nothing of the job, or not as ours."""


class Left(Enum):
    """What becomes of a job whose last caller left: it is others' affair, falls behind, ends, or runs on."""

    THEIRS = "left"
    BEHIND = "behind"
    DROPPED = "dropped"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Pulse:
    """The fleet as a sign of life found it: Redis's time (``now``) and how far the fleet's own is ahead of it
    (``skew``, which changes where Redis's clock steps), in seconds; its processes, jobs queued (by band) and
    running, and the refused credentials with the seconds left of their pauses, negative while held by hand; how
    many targets are refused, and why the gate closed, where it is. ``place`` is the caller's among the processes,
    from 0; ``others`` are terms that differ from its own."""

    now: float
    skew: float
    processes: int
    queued: tuple[int, int, int]
    running: int
    wait: Wait
    refused: Mapping[str, float] = field(default_factory=dict)
    targets: int = 0
    why: str = ""
    place: int = 0
    others: tuple[Terms, ...] = ()


PACKAGE = "gateway.upstream.lua"
SHARED = ("prelude.lua", "room.lua", "evidence.lua", "gate.lua", "pace.lua")
SUBMIT, CLAIM, SLOT, POLL, LEAVE, RECOVER = (
    Script.load(PACKAGE, *SHARED, f"{name}.lua")
    for name in ("submit", "claim", "slot", "poll", "leave", "recover")
)
FINISH, BEAT, PROBE, HOLD, CENSUS, STANDING = (
    Script.load(PACKAGE, *SHARED, "breaker.lua", f"{name}.lua")
    for name in ("finish", "beat", "probe", "hold", "census", "standing")
)
MICRO = 1e-6
LONGEST_WAIT = 10 * 365 * 86_400 * 10**6
"""Microseconds that a gate may be closed for, at most: the longest that a setting may be."""


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


class Board:
    """One process's access to the queue's state. Every method is one round trip and raises CacheUnavailable, also
    for a reply that is none of ours.

    ``gate`` is this process's view of the fleet's gate; it is told with most replies.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        budget: Budget,
        rules: QueueRules,
        gate: Gate | None = None,
        breaker: BreakerRules | None = None,
    ) -> None:
        self.process = secrets.token_hex(6)
        self.gate = gate or Gate(GateRules())
        self._client = client
        self._key = f"{prefix}:{{queue}}"
        self._budget = budget.arguments
        self._rules = rules
        self._breaker = (breaker or BreakerRules()).arguments
        self._fleet_time: tuple[float, float] | None = None
        """The fleet's time as a sign of life last told it, and the monotonic time at which that was asked."""

    def __repr__(self) -> str:
        return f"<Board {self._key} of {self.process}>"

    async def submit(
        self,
        id: str,
        payer: Payer,
        band: Band,
        *,
        token: str,
        looked: bool,
        question: str = "",
        kept: bool = True,
        others: Iterable[Payer] = (),
    ) -> Claimed | Queued | Running | LookAgain | Full | Paused | Closed:
        """Joins the job of this id or creates it. ``token`` is the flight's, the same whenever it is submitted.

        ``looked`` says that the cache has been looked into again, ``kept`` that the answer will be stored;
        ``others`` are tenants besides the payer whose callers wait for it here. ``question`` names what is
        asked, the job itself where there is none.
        """
        with redis_errors(self._client):
            sent = time.monotonic()
            job = (id, payer.tenant, int(band), token, int(looked))
            bounds = (self._rules.max_queued, payer.most(self._rules.max_per_tenant))
            asked = (payer.target(question or id), payer.asker, payer.credential, *self.gate.rules.arguments)
            also = [part for other in others for part in (other.tenant, other.cost)]
            terms = (*bounds, payer.cost, int(not kept), *asked, *also)
            reply = self._heard(await self._run(SUBMIT, *job, *self._budget, *terms))
            match reply[0]:
                case b"claimed":
                    return _claimed(reply, sent)
                case b"queued":
                    return Queued(reply[1].decode(), _wait(reply[2]))
                case b"running":
                    return Running(reply[1].decode())
                case b"recheck":
                    return LookAgain()
                case b"paused":
                    return Paused(Why(reply[1].decode()), int(reply[2]) * MICRO)
                case b"closed":
                    return Closed(int(reply[1]) * MICRO)
            return Full(int(reply[1]))

    async def claim(self) -> Claimed | Wait:
        """Takes what is next, where that is ours; else the seconds after which to ask again."""
        with redis_errors(self._client):
            sent = time.monotonic()
            reply = self._heard(await self._run(CLAIM, secrets.token_hex(8), *self._budget))
            if reply[0] == b"claimed":
                return _claimed(reply, sent)
            return _wait(reply[1]) if reply[0] == b"wait" else None

    async def reslot(self, claim: Claim, record: str, late: float, allowance: float) -> tuple[float, str]:
        """Moves a slot that was missed by ``late`` seconds, for a write within ``allowance`` of it.

        Answers the seconds to wait, negative where the lead is lost, and the budget's record.
        """
        with redis_errors(self._client):
            times = (round(late / MICRO), round(allowance / MICRO))
            wait, tat = await self._run(SLOT, claim.id, claim.token, record, *times, *self._budget)
            return int(wait) * MICRO, tat.decode()

    def landing(
        self,
        id: str,
        token: str,
        result: bytes,
        sign: Sign = NOTHING,
        verdict: Verdict | None = None,
        *,
        payer: Payer = NOBODY,
        question: str = "",
    ) -> Invocation:
        """The call that lands a flight: not made yet, so that it can go out with what it announces."""
        after = -1 if sign.retry_after is None else round(min(sign.retry_after, self.gate.rules.longest) / MICRO)
        signs = (sign.kind.value, after, *self.gate.rules.arguments)
        whose = (payer.tenant, payer.asker, payer.credential, payer.target(question or id))
        verdicts = (
            ("", 0, "") if verdict is None else (verdict.fingerprint, int(verdict.refused), verdict.question)
        )
        return self._invocation(
            FINISH, id, token, result, *self._budget, *signs, *whose, *verdicts, *self._breaker
        )

    async def recover(self, id: str) -> Wait:
        """Lets a job wait again that this process leads but does not fly."""
        with redis_errors(self._client):
            return _wait((await self._run(RECOVER, id, *self._budget))[0])

    async def land(self, news: Sequence[Invocation]) -> Settled:
        """Stores, and last lands, in one round trip."""
        with redis_errors(self._client):
            state, *rest, refused = self._heard((await invoke_all(self._client, news))[-1])
            return Settled(_wait(rest[1]) if state == b"landed" else None, _wait(refused))

    async def poll(self, id: str, gen: str) -> Landed | Queued | Running | Leading | Gone:
        """Where a job stands."""
        with redis_errors(self._client):
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

    async def leave(self, id: str, gen: str, *, kept: bool = True) -> Left:
        """Our last caller disconnected; ``kept`` says that the answer will be stored."""
        with redis_errors(self._client):
            return Left((await self._run(LEAVE, id, gen, int(not kept), *self._budget))[0].decode())

    async def beat(self, mark: str = "") -> Pulse:
        """A sign of life, with the mark of this process's encryption key.

        It also clears up after the dead, and tells of a closing that is news to the fleet.
        """
        with redis_errors(self._client):
            rules = self._rules
            times = (round(rules.dead_after / MICRO), round(rules.longest_run / MICRO), rules.attempts)
            sent = time.monotonic()
            gate = (round(self.gate.untold(sent) / MICRO), *self.gate.rules.arguments, self.gate.why)
            reply = await self._run(BEAT, *times, *self._budget, *gate, mark)
            now, skew, processes, queued, running, wait, *kept_back, place, terms = self._heard(reply)
            refused, targets, why = kept_back
            people, left, refreshes = (int(each) for each in queued)
            depths = (people, left, refreshes)
            self._fleet_time = (int(now) * MICRO + int(skew) * MICRO, sent)
            told = (int(now) * MICRO, int(skew) * MICRO, processes, depths, running, _wait(wait))
            others = tuple(Terms.parse(each.decode()) for each in terms)
            return Pulse(*told, _pauses(refused), int(targets), why.decode(), place, others)

    async def probe(self, fingerprint: str, question: str = "", tenant: str = "") -> tuple[bool, float | None]:
        """Whether this tenant may try a refused credential with this question; the seconds left of its
        pause, None if it is not refused."""
        with redis_errors(self._client):
            longest = round(self._rules.longest_run * 1_000)
            granted, left = await self._run(PROBE, fingerprint, question, longest, *self._breaker, tenant)
            return bool(granted), _wait(left)

    async def hold(self, fingerprint: str | None = None) -> bool:
        """Keeps a credential, or else the gate, closed by hand; False where no more credentials can be held."""
        with redis_errors(self._client):
            done, _ = self._heard(await self._run(HOLD, "hold", *_target(fingerprint), *self._budget))
            return bool(done == b"done")

    async def resume(self, fingerprint: str | None = None) -> Wait:
        """Opens it again, however it was closed; the seconds until our next turn."""
        with redis_errors(self._client):
            _, wait = self._heard(await self._run(HOLD, "resume", *_target(fingerprint), *self._budget))
            return _wait(wait)

    async def census(self) -> Census:
        """What is queued, runs and is kept back in the whole fleet."""
        with redis_errors(self._client):
            reply = await self._run(CENSUS, round(self._rules.dead_after / MICRO), *self._budget, MOST_LISTED)
            return census_of(reply)

    async def standing(self, id: str) -> Standing | None:
        """Where the job of this id stands, whoever holds it; None where there is none."""
        with redis_errors(self._client):
            return standing_of(await self._run(STANDING, id))

    async def hints(self) -> AsyncIterator[tuple[str, str]]:
        """What others tell this process: ``("turn", microseconds)``, ``("done", "<id>:<gen>")``,
        ``("gate", microseconds)``, ``("closed", "<why>:<targets refused>")``,
        ``("refused", "<microseconds>:<fingerprint>")``, ``("accepted", fingerprint)``,
        ``("resumed", fingerprint)``. Negative microseconds: held by hand.
        """
        with redis_errors():
            async with self._client.pubsub() as pubsub:
                await pubsub.subscribe(f"{self._key}:wake:{self.process}", f"{self._key}:news")
                while True:
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                    if message is not None:
                        kind, _, rest = message["data"].decode().partition(":")
                        yield kind, rest

    def _heard(self, reply: object) -> list[Any]:
        """A reply without its last part, which is for the gate; nonsense must not close that.

        Raises TypeError, ValueError where it is none of ours.
        """
        if not isinstance(reply, list):
            raise TypeError("a reply must be a list")
        *rest, closed = reply
        wait = int(closed)
        if not -1 <= wait <= LONGEST_WAIT:
            raise ValueError("a gate's wait must be -1, or 0 and more")
        self.gate.told(time.monotonic(), wait * MICRO)
        return rest

    def _invocation(self, script: Script, *args: bytes | str | int | float) -> Invocation:
        return Invocation(script, self._key, (self.process, *args, self._expected()))

    def _expected(self) -> int:
        """What the fleet's time should be by now, in microseconds; until it was told, minus our own wall clock."""
        if self._fleet_time is None:
            return -round(time.time() / MICRO)
        then, sent = self._fleet_time
        return round((then + time.monotonic() - sent) / MICRO)

    async def _run(self, script: Script, *args: bytes | str | int | float) -> list[Any]:
        reply = await invoke(self._client, self._invocation(script, *args))
        return reply if isinstance(reply, list) else [reply]


def _claimed(reply: list[Any], sent: float) -> Claimed:
    _, id, gen, token, record, wait = reply
    return Claimed(Claim(id.decode(), gen.decode(), token.decode(), record.decode(), sent), _wait(wait))


def _target(fingerprint: str | None) -> tuple[str, str]:
    return ("gate", "") if fingerprint is None else ("credential", fingerprint)


def _wait(microseconds: int | bytes) -> Wait:
    return None if int(microseconds) < 0 else int(microseconds) * MICRO


def _pauses(refused: list[bytes]) -> dict[str, float]:
    return {name.decode(): int(left) * MICRO for name, left in zip(refused[::2], refused[1::2], strict=True)}
