"""Flight: one upstream request, and everyone in this process who waits for it.

Landing: what a flight ends with, and everyone who joined it gets.

Payer: whose turn of the budget a job takes. Pure.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import msgspec

from gateway import errors
from gateway.cache.entry import Entry
from gateway.cache.rules import failed
from gateway.errors import GatewayError
from gateway.redis import Invocation
from gateway.tenants.tenant import Credential, Tenant
from gateway.upstream.credential_breaker import NOTHING, Sign, Verdict
from gateway.upstream.tasks import EndOfInput


@dataclass(frozen=True, slots=True)
class Landing:
    """An answer of the service (``entry``, stored or not), or the error that took its place.

    ``exact`` is the leader's exact request: an error answer echoes it, so only those who asked the very same
    may have it. ``stored`` says that the entry is in the cache, ``revalidated`` that the service confirmed it
    (RFC 9111 §4.3.3), ``failed`` that it is no answer, so that a stale entry stands in for it. ``flown`` is how
    many seconds the service took, ``trace`` the call's place in its trace.
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
        """Whether the service was asked for it: else it was in the cache by the time the flight could set out."""
        return self.flown > 0 or not self.stored

    def answers(self, exact: str) -> bool:
        """Whether this landing is an answer to that exact request (decision 8: 4xx echo, 5xx do not)."""
        if self.entry is None or self.exact == exact:
            return True
        status = self.entry.status
        return not 400 <= status < 500 or status == 429


class _Wire(msgspec.Struct, array_like=True):
    """How a landing travels between processes."""

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


def encode(landing: Landing) -> bytes:
    """A landing as bytes, for the flight result in Redis."""
    error = landing.error
    return _encoder.encode(
        _Wire(
            exact=landing.exact,
            entry=landing.entry,
            error=None if error is None else type(error).__name__,
            message="" if error is None else error.message,
            retry_after=None if error is None else error.retry_after,
            stored=landing.stored,
            revalidated=landing.revalidated,
            flown=landing.flown,
            trace=landing.trace,
            failed=landing.failed,
        )
    )


def decode(data: bytes) -> Landing | None:
    """The landing, or None where there is none to be read: the job was dropped, or its leaders kept dying."""
    try:
        wire = _decoder.decode(data)
    except msgspec.DecodeError:
        return None
    if wire.error is None:
        error = None
    else:
        kind = _CLASSES.get(wire.error, errors.UpstreamFailure)
        error = kind(wire.message, retry_after=wire.retry_after)
    told = wire.failed
    if told is None:  # an older version does not tell
        told = wire.entry is not None and failed(wire.entry)
    return Landing(wire.exact, wire.entry, error, wire.stored, wire.revalidated, wire.flown, wire.trace, told)


COST = 1_000
"""What a job costs at share 1."""


@dataclass(frozen=True, slots=True)
class Payer:
    """A tenant in the queue: its ``share`` (weight) beside others' 1, and how many jobs it may have ``queued``.

    None leaves that to the queue's own bound. ``caller`` is who asks where that is not the tenant as a whole: one
    of its keys, or one of the addresses without a key. ``credential`` is the fingerprint of the pair
    that is sent along, if any.
    """

    tenant: str
    share: float = 1.0
    queued: int | None = None
    caller: str = ""
    credential: str = ""

    @property
    def asker(self) -> str:
        """Whose refusals count together."""
        return self.caller or self.tenant

    @property
    def bearer(self) -> str:
        """Whom a 429 tells to slow down."""
        return self.credential or f"caller:{self.asker}"

    def target(self, question: str) -> str:
        """What a refusal is about first: the question as it goes with this credential, or without one."""
        return f"{self.credential}.{question}"

    @property
    def cost(self) -> int:
        """Thousandths of virtual time that a job takes (start-time fair queuing)."""
        return max(1, round(COST / self.share))

    def most(self, bound: int) -> int:
        """How many jobs may wait, where the queue itself bounds them too."""
        return bound if self.queued is None else min(bound, self.queued)


NOBODY = Payer("")
"""For whom nothing counts."""


def payer_of(tenant: Tenant, caller: str = "", credential: Credential | None = None) -> Payer:
    """The tenant as the queue knows it, for a query of this caller's that goes with a credential, or without."""
    limits = tenant.limits
    fingerprint = "" if credential is None else credential.fingerprint
    return Payer(tenant.id, limits.share, limits.queued, caller, fingerprint)


OTHERS = 4
"""Tenants besides its payer that a job remembers; as in room.lua."""


class Band(IntEnum):
    """Who goes first: people, then jobs whose callers left, then background refreshes."""

    PEOPLE = 0
    LEFT = 1
    REFRESH = 2


class Reuse(Enum):
    """Who may have the answer of a flight besides those who wait for it."""

    LATER = "later"
    """Whoever comes back: it is stored."""
    JOINERS = "joiners"
    """Whoever joins before it is there: it is not."""
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


@dataclass(frozen=True, slots=True)
class Result:
    """What the work of a flight comes back with: the landing, the script calls that store it, and what it says
    about the gate and about the credential it was asked with."""

    landing: Landing
    stores: Sequence[Invocation] = ()
    sign: Sign = NOTHING
    verdict: Verdict | None = None


Confirm = Callable[[], Awaitable[None]]
Work = Callable[[Confirm], Awaitable[Result]]
"""Asks the service. Awaits ``confirm`` just before the request is written. Raises only what that raises."""

Recheck = Callable[[], Awaitable[Landing | None]]
"""Looks into the cache once more; None where it still has no answer."""


class Deserted(Exception):
    """Nobody waits for a flight any more, and it ends."""


@dataclass(slots=True, eq=False)
class Flight:
    """A flight of this process. Belongs to the process, never to a caller.

    ``waiters`` are the callers who wait now; ``patient`` those who wait too but send no more, so that they may
    have gone; ``refused`` how many were sent away and are expected back, for whom the job keeps its place;
    ``others`` are the first few tenants besides the payer whose callers joined it, by id.
    ``question`` names what is asked, for what a refusal of it is about.
    ``reuse`` says who may have the answer, as far as can be told now. ``alone`` is that it flies
    without Redis or waits to, ``slot`` the monotonic time at which its slot for that came, ``probe`` its number
    where it does so through a half-open gate; ``restated`` that it has to be submitted anew, since somebody joined
    whose band goes first or who is another tenant. ``token`` names its submissions.
    """

    id: str
    exact: str
    payer: Payer
    band: Band
    work: Work
    recheck: Recheck
    reuse: Callable[[], Reuse] = lambda: Reuse.LATER
    question: str = ""
    waiters: int = 0
    patient: int = 0
    refused: int = 0
    others: dict[str, Payer] = field(default_factory=dict)
    alone: bool = False
    slot: float | None = None
    probe: int = 0
    restated: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    claim: Claim | None = None
    gen: str = ""
    started: float = field(default_factory=time.monotonic)
    signal: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Landing] = field(init=False)

    @property
    def flies(self) -> bool:
        """Whether this process asks the service for it now."""
        return self.claim is not None or self.alone

    def note(self, payer: Payer) -> bool:
        """A caller of this tenant joined; whether that is news. Only so many tenants are remembered."""
        news = payer.tenant != self.payer.tenant and payer.tenant not in self.others and len(self.others) < OTHERS
        if news:
            self.others[payer.tenant] = payer
        return news

    def restate(self) -> None:
        """Has it submitted anew."""
        self.restated = True
        self.signal.set()

    @contextmanager
    def awaiting(self, ending: EndOfInput) -> Iterator[None]:
        """A caller waits for it meanwhile: patiently, once the end of what it sends has come."""

        def give_way() -> None:
            self.waiters -= 1
            self.patient += 1
            self.tell_deserted()

        self.waiters += 1
        try:
            with ending.notifying(give_way):
                yield
        finally:
            if ending.reached:
                self.patient -= 1
            else:
                self.waiters -= 1
            self.tell_deserted()

    def tell_deserted(self) -> None:
        """Lets it see that it has to give way, if so."""
        if self.deserted:
            self.signal.set()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for it who has surely not gone, or was told to come back for it."""
        return self.waiters > 0 or self.refused > 0

    @property
    def wanted(self) -> bool:
        """Whether somebody would take its answer, as far as can be told."""
        return self.awaited or self.patient > 0

    @property
    def deserted(self) -> bool:
        """Whether it has to give way: all have gone or may have, and it still goes with people or would serve
        nobody. One who may have gone loses no place with an answer that could not be had again."""
        if self.awaited:
            return False
        again = not self.patient or self.reuse() is Reuse.LATER
        return self.pointless or (self.band is Band.PEOPLE and again)

    @property
    def pointless(self) -> bool:
        """Whether its answer would be for nobody."""
        return not self.wanted and self.reuse() is not Reuse.LATER
