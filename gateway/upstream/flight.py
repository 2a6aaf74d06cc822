"""Flights: what is asked of the service, everyone in this process who waits for it, and what comes of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

import msgspec

from gateway import errors
from gateway.cache.entry import Entry
from gateway.cache.rules import failed
from gateway.errors import GatewayError
from gateway.redis import Invocation
from gateway.tenants.tenant import Credential, Tenant
from gateway.upstream.credential_breaker import NOTHING, CredentialSignal, Signal
from gateway.upstream.pacing import Priority
from gateway.upstream.tasks import EndOfInput

COST = 1_000
"""What a queued call costs at weight 1."""
OTHERS = 4
"""Tenants besides its own that a queued call remembers; as in room.lua."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A tenant's flow of queued calls in the fair queue: its ``weight`` beside others' 1, and how many of them may
    wait (None: as many as the queue's own bound allows).

    ``caller`` is who asks if not the tenant as a whole: one of its keys, or an address without a key.
    ``credential`` is the fingerprint of the pair that is sent along, if any.
    """

    tenant: str
    weight: float = 1.0
    max_queued: int | None = None
    caller: str = ""
    credential: str = ""

    @property
    def asker(self) -> str:
        """The caller or tenant whose refusals count together."""
        return self.caller or self.tenant

    @property
    def bearer(self) -> str:
        """The credential or caller that a 429 asks to slow down."""
        return self.credential or f"caller:{self.asker}"

    @property
    def cost(self) -> int:
        """Thousandths of virtual time that a queued call takes (start-time fair queuing)."""
        return max(1, round(COST / self.weight))

    def bound(self, most: int) -> int:
        """How many queued calls may wait, in a queue that allows a tenant ``most``."""
        return most if self.max_queued is None else min(most, self.max_queued)


def flow_of(tenant: Tenant, caller: str = "", credential: Credential | None = None) -> Flow:
    """The tenant's flow, for a query of this caller that is sent with a credential, or without."""
    limits = tenant.limits
    fingerprint = "" if credential is None else credential.fingerprint
    return Flow(tenant.id, limits.share, limits.queued, caller, fingerprint)


@dataclass(frozen=True, slots=True)
class FlightRequest:
    """What a flight asks, and on whose account. Requests with the same ``id`` share one flight.

    ``exact`` is the request to the byte: an error answer echoes it. ``question`` names what is asked, for what a
    refusal of it is about; ``exact``, or else the id, if empty.
    """

    id: str
    flow: Flow = Flow("")
    priority: Priority = Priority.PEOPLE
    exact: str = ""
    question: str = ""

    @property
    def target(self) -> str:
        """What a refusal is about first: the question, as sent with this credential or without one."""
        return f"{self.flow.credential}.{self.question or self.exact or self.id}"


@dataclass(frozen=True, slots=True)
class FlightResult:
    """An answer of the service (``entry``, stored or not), or the error in its place.

    ``exact`` is the leader's exact request. ``stored``: the entry is in the cache; ``revalidated``: the service
    confirmed it (RFC 9111 §4.3.3); ``failed``: it is no answer, so that a stale entry stands in for it. ``flown``
    is how many seconds the service took, ``trace`` the call's place in its trace.
    """

    exact: str
    entry: Entry | None = None
    error: GatewayError | None = None
    stored: bool = False
    revalidated: bool = False
    flown: float = 0.0
    trace: str = ""
    failed: bool = False

    @property
    def asked(self) -> bool:
        """Whether the service was asked: else the entry was in the cache by the time the flight could set out."""
        return self.flown > 0 or not self.stored

    def answers(self, exact: str) -> bool:
        """Whether this answers that exact request: a 4xx echoes its request (docs/decisions.md, 8)."""
        if self.entry is None or self.exact == exact:
            return True
        status = self.entry.status
        return not 400 <= status < 500 or status == 429


class _Wire(msgspec.Struct, array_like=True):
    """The form in which a flight's result travels between processes: an array."""

    exact: str
    entry: Entry | None
    error: str | None
    message: str
    retry_after: float | None
    stored: bool
    revalidated: bool = False
    flown: float = 0.0
    trace: str = ""
    failed: bool | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_CLASSES = errors.CLASSES


def encode(result: FlightResult) -> bytes:
    """A flight's result as bytes, for Redis."""
    error = result.error
    kind, message, retry_after = None, "", None
    if error is not None:
        kind, message, retry_after = type(error).__name__, error.message, error.retry_after
    facts = (result.stored, result.revalidated, result.flown, result.trace, result.failed)
    return _encoder.encode((result.exact, result.entry, kind, message, retry_after, *facts))


def decode(data: bytes) -> FlightResult | None:
    """The result, or None if there is none to read: the queued call was dropped, or its leaders kept dying."""
    try:
        wire = _decoder.decode(data)
    except msgspec.DecodeError:
        return None
    error = None
    if wire.error is not None:
        kind = _CLASSES.get(wire.error, errors.UpstreamFailure)
        error = kind(wire.message, retry_after=wire.retry_after)
    no_answer = wire.failed
    if no_answer is None:  # written by an older version
        no_answer = wire.entry is not None and failed(wire.entry)
    facts = (wire.stored, wire.revalidated, wire.flown, wire.trace, no_answer)
    return FlightResult(wire.exact, wire.entry, error, *facts)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What the work of a flight returns: its result, the script calls that store it, and its signals about the
    service and about the credential that was sent along."""

    result: FlightResult
    stores: Sequence[Invocation] = ()
    signal: Signal = NOTHING
    credential: CredentialSignal | None = None


Confirm = Callable[[], Awaitable[None]]
Work = Callable[[Confirm], Awaitable[Fetched]]
"""Asks the service. Awaits ``confirm`` just before the request is written. Raises only what that raises."""
Recheck = Callable[[], Awaitable[FlightResult | None]]
"""Looks into the cache once more; None if it still has no answer."""


class Reuse(Enum):
    """Who may have the answer of a flight besides those who wait for it."""

    LATER = "later"
    """Later requests too: the answer is stored."""
    JOINERS = "joiners"
    """Only requests that join before it lands: the answer is not stored."""
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Claim:
    """Proof that this process leads a flight. ``sent`` is the monotonic time at which the slot was asked for,
    ``record`` the budget's record as the claim left it."""

    id: str
    gen: str
    token: str
    record: str
    sent: float


class LeadLost(Exception):
    """The leader took so long to write that the fleet gave its flight to another, or that Redis is back."""


class Deserted(Exception):
    """Nobody waits for a flight any more, and it ends."""


@dataclass(slots=True, eq=False)
class Flight:
    """A flight of this process. It belongs to the process, never to a caller.

    ``reuse`` says who may have the answer, as far as is known now.

    ``waiters`` are the callers who wait now; ``patient`` those who wait too but send no more, and may have gone;
    ``refused`` those who were sent away and are expected back, so that the queued call keeps its place. ``others``
    are the first few tenants besides the flow's whose callers joined, by id.

    ``alone``: it flies without Redis or waits to; ``slot`` is the monotonic time at which its slot for that came,
    ``probe`` its number if it goes through a half-open gate. ``restated``: it has to be submitted anew, since
    somebody joined with an earlier priority or of another tenant. ``token`` names its submissions.
    """

    request: FlightRequest
    work: Work
    recheck: Recheck
    reuse: Callable[[], Reuse] = lambda: Reuse.LATER
    waiters: int = 0
    patient: int = 0
    refused: int = 0
    others: dict[str, Flow] = field(default_factory=dict)
    alone: bool = False
    slot: float | None = None
    probe: int = 0
    restated: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    claim: Claim | None = None
    gen: str = ""
    started: float = field(default_factory=time.monotonic)
    signal: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[FlightResult] = field(init=False)

    @property
    def flies(self) -> bool:
        return self.claim is not None or self.alone

    def join(self, request: FlightRequest) -> None:
        """Another caller's request joins: the earlier priority counts, and only so many tenants are remembered."""
        flow, own = request.flow, self.request.flow
        if request.priority < self.request.priority:
            self.request = replace(self.request, flow=flow, priority=request.priority)
            self.restate()
        elif flow.tenant != own.tenant and flow.tenant not in self.others and len(self.others) < OTHERS:
            self.others[flow.tenant] = flow
            if not self.flies:
                self.restate()

    def charge_another(self) -> bool:
        """Charge the flight to the next tenant who waits for it; whether there is one."""
        if not self.others:
            return False
        self.request = replace(self.request, flow=self.others.pop(next(iter(self.others))))
        return True

    def restate(self) -> None:
        self.restated = True
        self.signal.set()

    @contextmanager
    def awaiting(self, ending: EndOfInput) -> Iterator[None]:
        """Count a caller who waits for it meanwhile: as patient, once the end of what it sends has come."""

        def give_way() -> None:
            self.waiters -= 1
            self.patient += 1
            self.check_deserted()

        self.waiters += 1
        try:
            with ending.notifying(give_way):
                yield
        finally:
            if ending.reached:
                self.patient -= 1
            else:
                self.waiters -= 1
            self.check_deserted()

    def check_deserted(self) -> None:
        if self.deserted:
            self.signal.set()

    @property
    def awaited(self) -> bool:
        """Whether a caller waits for it who has surely not gone, or was asked to come back for it."""
        return self.waiters > 0 or self.refused > 0

    @property
    def wanted(self) -> bool:
        """Whether a caller would take its answer, as far as is known."""
        return self.awaited or self.patient > 0

    @property
    def deserted(self) -> bool:
        """Whether it has to give way: all callers have gone or may have, and it still has people's priority or
        would serve nobody. A caller who may have gone does not lose its place if the answer would be lost too."""
        if self.awaited:
            return False
        again = not self.patient or self.reuse() is Reuse.LATER
        return self.pointless or (self.request.priority is Priority.PEOPLE and again)

    @property
    def pointless(self) -> bool:
        return not self.wanted and self.reuse() is not Reuse.LATER
