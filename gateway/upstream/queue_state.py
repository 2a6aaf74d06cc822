"""The queue's state in Redis, which every process of the fleet reads and changes: one method for each script."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gateway.redis import Client, Invocation, Script, invoke, invoke_all, redis_errors
from gateway.upstream.credential_breaker import NOTHING, CredentialSignal, PauseRules, Signal
from gateway.upstream.flight import Claim, FlightRequest, Flow
from gateway.upstream.pacing import MICRO, Budget, HeartbeatReply, Priority, Shares, Terms, micros
from gateway.upstream.snapshot import MOST_LISTED, QueuePosition, QueueSnapshot
from gateway.upstream.upstream_breaker import PauseKind, UpstreamBreaker

Wait = float | None
"""Seconds until this process's turn; None when its turn is not next."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """This process leads the flight."""

    claim: Claim
    wait: Wait


@dataclass(frozen=True, slots=True)
class Queued:
    """The call waits; ``rank`` others go before it, if that was asked."""

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
    """No room: ``ahead`` queued calls wait already."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The gate is closed for ``seconds`` more: nothing new is queued."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Paused:
    """The query may not be asked for ``seconds`` more: its target, its bearer or its caller is paused."""

    kind: PauseKind
    seconds: float


@dataclass(frozen=True, slots=True)
class Settled:
    """A landing was accepted: our next turn, and for how many seconds its credential is refused, if it is."""

    wait: Wait
    refused_for: float | None = None


@dataclass(frozen=True, slots=True)
class Landed:
    """The result of another process's flight, encoded."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """Redis knows nothing of the queued call, or not as ours."""


class Left(Enum):
    """What becomes of a queued call after its last caller here left: others elsewhere wait for it, it falls
    behind, it ends, or it runs on."""

    THEIRS = "left"
    BEHIND = "behind"
    DROPPED = "dropped"
    KEPT = "kept"


def prelude(priorities: Sequence[Priority]) -> str:
    """The table of priorities as Lua, which begins each script: their bands by name and in order, the share of the
    queue that each may fill, and which take only what is spare of the budget."""
    names = [f"local {each.name} = {each.band}" for each in priorities]
    bands = ", ".join(each.band for each in priorities)
    capacities = ", ".join(f"[{each.band}] = {each.capacity}" for each in priorities)
    spare = ", ".join(f"[{each.band}] = true" for each in priorities if each.spare)
    tables = f"local BANDS, CAPACITY, SPARE = {{{bands}}}, {{{capacities}}}, {{{spare}}}"
    return "\n".join([*names, tables, ""])


PACKAGE = "gateway.upstream.lua"
SHARED = ("prelude.lua", "room.lua", "evidence.lua", "gate.lua", "pace.lua")
SUBMIT, CLAIM, SLOT, POLL, LEAVE, RECOVER, CANCEL = (
    Script.load(PACKAGE, *SHARED, f"{name}.lua", prelude=prelude(list(Priority)))
    for name in ("submit", "claim", "slot", "poll", "leave", "recover", "cancel")
)
FINISH, BEAT, PROBE, HOLD, CENSUS, STANDING = (
    Script.load(PACKAGE, *SHARED, "breaker.lua", f"{name}.lua", prelude=prelude(list(Priority)))
    for name in ("finish", "beat", "probe", "hold", "census", "standing")
)
GATE, BREAKER, SHARES = PauseRules(5.0, shortest=1.0), PauseRules(10.0), Shares()
LONGEST_WAIT = 10 * 365 * 86_400 * 10**6
"""Microseconds that a gate may be closed for, at most: the longest that a setting may be."""


@dataclass(frozen=True, slots=True)
class QueueRules:
    """Bounds of the queue, the ``shares`` of jobs and warming, and the pauses of two breakers; times in seconds.

    A process without a heartbeat for ``dead_after`` counts as dead. A flight runs at most ``longest_run``, and
    loses at most ``attempts`` leaders. A process beats every ``beat``, and looks without a hint every ``poll``.
    """

    max_queued: int = 1_000
    max_per_tenant: int = 200
    shares: Shares = SHARES
    dead_after: float = 3.0
    longest_run: float = 60.0
    attempts: int = 3
    beat: float = 1.0
    poll: float = 2.0
    gate: PauseRules = GATE
    breaker: PauseRules = BREAKER


class QueueState:
    """One process's access to the queue's state. Every method is one round trip and raises CacheUnavailable, also
    for a reply that is none of ours.

    ``gate`` is this process's view of the fleet's gate; most replies update it.
    """

    def __init__(self, client: Client, prefix: str, budget: Budget, rules: QueueRules) -> None:
        self.process = secrets.token_hex(6)
        self.rules = rules
        self.gate = UpstreamBreaker(rules.gate)
        self._client = client
        self._key = f"{prefix}:{{queue}}"
        self._budget = budget.arguments
        self._breaker = rules.breaker.arguments[:2]
        self._fleet_time: tuple[float, float] | None = None
        """The fleet's time in the last heartbeat's reply, and the monotonic time at which that was sent."""

    def __repr__(self) -> str:
        return f"<QueueState {self._key} of {self.process}>"

    async def submit(
        self,
        request: FlightRequest,
        *,
        token: str,
        looked: bool,
        kept: bool = True,
        others: Iterable[Flow] = (),
    ) -> Claimed | Queued | Running | LookAgain | Full | Paused | Closed:
        """Join the queued call with the request's id or create it. ``token`` is the flight's, the same each time.

        ``looked``: the cache has been looked into again; ``kept``: the answer will be stored; ``others`` are
        further tenants whose callers wait for it here.
        """
        flow, rules = request.flow, self.rules
        with redis_errors(self._client):
            sent = time.monotonic()
            job = (request.id, flow.tenant, request.priority.band, token, int(looked), *self._budget)
            bounds = (rules.max_queued, flow.bound(rules.max_per_tenant), flow.cost, int(not kept))
            asked = (request.target, flow.asker, flow.credential, *rules.gate.arguments)
            also = [part for other in others for part in (other.tenant, other.cost)]
            reply = self._heard(await self._run(SUBMIT, *job, *bounds, *asked, *also))
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
                    return Paused(PauseKind(reply[1].decode()), int(reply[2]) * MICRO)
                case b"closed":
                    return Closed(int(reply[1]) * MICRO)
            return Full(int(reply[1]))

    async def claim(self) -> Claimed | Wait:
        """Claim the next queued call, if it is ours; else the seconds after which to ask again."""
        with redis_errors(self._client):
            sent = time.monotonic()
            reply = self._heard(await self._run(CLAIM, secrets.token_hex(8), *self._budget))
            if reply[0] == b"claimed":
                return _claimed(reply, sent)
            return _wait(reply[1]) if reply[0] == b"wait" else None

    async def reslot(self, claim: Claim, record: str, late: float, allowance: float) -> tuple[float, str]:
        """Move a slot that was missed by ``late`` seconds, for a write within ``allowance`` seconds of it.

        Returns the seconds to wait, negative if the lead is lost, and the budget's record.
        """
        with redis_errors(self._client):
            times = (micros(late), micros(allowance))
            wait, tat = await self._run(SLOT, claim.id, claim.token, record, *times, *self._budget)
            return int(wait) * MICRO, tat.decode()

    def landing(
        self,
        request: FlightRequest,
        token: str,
        result: bytes,
        signal: Signal = NOTHING,
        credential: CredentialSignal | None = None,
    ) -> Invocation:
        """The call that lands a flight: not made yet, so that it can go out with the stores it announces."""
        flow, gate = request.flow, self.rules.gate
        after = -1 if signal.retry_after is None else micros(min(signal.retry_after, gate.longest))
        said = (signal.kind.value, after, *gate.arguments)
        whose = (flow.tenant, flow.asker, flow.credential, request.target)
        verdict = ("", 0, "")
        if credential is not None:
            verdict = (credential.fingerprint, int(credential.refused), credential.question)
        return self._invocation(
            FINISH, request.id, token, result, *self._budget, *said, *whose, *verdict, *self._breaker
        )

    async def recover(self, id: str) -> Wait:
        """Let a queued call wait again that this process leads but does not fly."""
        with redis_errors(self._client):
            return _wait((await self._run(RECOVER, id, *self._budget))[0])

    async def land(self, calls: Sequence[Invocation]) -> Settled:
        """Make the calls that store an answer, and last the landing, in one round trip."""
        with redis_errors(self._client):
            state, *rest, refused = self._heard((await invoke_all(self._client, calls))[-1])
            return Settled(_wait(rest[1]) if state == b"landed" else None, _wait(refused))

    async def poll(self, id: str, gen: str) -> Landed | Queued | Running | Leading | Gone:
        """The state of a queued call of ours."""
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
        """Our last caller disconnected; ``kept``: the answer will be stored."""
        with redis_errors(self._client):
            return Left((await self._run(LEAVE, id, gen, int(not kept), *self._budget))[0].decode())

    async def beat(self, mark: str = "") -> HeartbeatReply:
        """Send a heartbeat, with the mark of this process's encryption key.

        It also clears up after dead processes, and reports a closing of the gate that the fleet does not know of.
        """
        with redis_errors(self._client):
            rules = self.rules
            times = (micros(rules.dead_after), micros(rules.longest_run), rules.attempts)
            sent = time.monotonic()
            gate = (micros(self.gate.unreported(sent)), *rules.gate.arguments, self.gate.why)
            shares = (rules.shares.jobs, rules.shares.warm)
            reply = self._heard(await self._run(BEAT, *times, *self._budget, *gate, mark, *shares))
            now, skew, processes, queued, running, wait, refused, targets, why, place, terms = reply
            self._fleet_time = (int(now) * MICRO + int(skew) * MICRO, sent)
            depths = tuple(int(count) for _, count in zip(Priority, queued, strict=True))
            seen = (int(now) * MICRO, int(skew) * MICRO, processes, depths, running, _wait(wait))
            others = tuple(Terms.parse(each.decode()) for each in terms)
            return HeartbeatReply(*seen, _pauses(refused), int(targets), why.decode(), place, others)

    async def probe(self, fingerprint: str, question: str = "", tenant: str = "") -> tuple[bool, float | None]:
        """Whether this tenant may try a refused credential with this question; the seconds left of its pause, None
        if it is not refused."""
        with redis_errors(self._client):
            longest = round(self.rules.longest_run * 1_000)
            granted, left = await self._run(PROBE, fingerprint, question, longest, *self._breaker, tenant)
            return bool(granted), _wait(left)

    async def hold(self, fingerprint: str | None = None) -> bool:
        """Hold a credential, or else the gate, by hand; False if no more credentials can be held."""
        with redis_errors(self._client):
            done, _ = self._heard(await self._run(HOLD, "hold", *_target(fingerprint), *self._budget))
            return bool(done == b"done")

    async def resume(self, fingerprint: str | None = None) -> Wait:
        """Resume a credential, or else the gate, however it was closed; the seconds until our next turn."""
        with redis_errors(self._client):
            _, wait = self._heard(await self._run(HOLD, "resume", *_target(fingerprint), *self._budget))
            return _wait(wait)

    async def cancel(self, kind: str, name: str, result: bytes) -> tuple[int, Wait]:
        """Take a queued call out of the queue, or all of a tenant (``kind`` is call or tenant); who waits for it
        gets the encoded result. How many were taken out, and the seconds until our next turn."""
        with redis_errors(self._client):
            taken, wait = self._heard(await self._run(CANCEL, kind, name, result, *self._budget))
            return int(taken), _wait(wait)

    async def snapshot(self) -> QueueSnapshot:
        """What is queued, runs and is kept back in the whole fleet."""
        with redis_errors(self._client):
            reply = await self._run(CENSUS, micros(self.rules.dead_after), *self._budget, MOST_LISTED)
            return QueueSnapshot.parse(reply)

    async def position(self, id: str) -> QueuePosition | None:
        """The position of the queued call with this id, whichever process holds it; None if there is none."""
        with redis_errors(self._client):
            return QueuePosition.parse(await self._run(STANDING, id))

    async def hints(self) -> AsyncIterator[tuple[str, str]]:
        """Messages to this process: ``("turn", microseconds)``, ``("done", "<id>:<gen>")``,
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
        """A reply without its last part, which updates the gate; nonsense must not close that.

        Raises TypeError, ValueError for a reply that is none of ours.
        """
        if not isinstance(reply, list):
            raise TypeError("a reply must be a list")
        *rest, closed = reply
        wait = int(closed)
        if not -1 <= wait <= LONGEST_WAIT:
            raise ValueError("a gate's wait must be -1, or 0 and more")
        self.gate.update(time.monotonic(), wait * MICRO)
        return rest

    def _invocation(self, script: Script, *args: bytes | str | int | float) -> Invocation:
        return Invocation(script, self._key, (self.process, *args, self._expected()))

    def _expected(self) -> int:
        """The fleet's time by now, in microseconds; before the first heartbeat, minus our own wall clock."""
        if self._fleet_time is None:
            return -micros(time.time())
        then, sent = self._fleet_time
        return micros(then + time.monotonic() - sent)

    async def _run(self, script: Script, *args: bytes | str | int | float) -> list[Any]:
        return await invoke(self._client, self._invocation(script, *args), _parts)


def _parts(reply: object) -> list[Any]:
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
