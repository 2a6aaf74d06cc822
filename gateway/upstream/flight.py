"""Flight: one upstream request, and everyone in this process who waits for it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from gateway.ending import Ending
from gateway.scripts import Invocation
from gateway.upstream.landing import Landing
from gateway.upstream.payer import Payer
from gateway.upstream.signs import NOTHING, Sign, Verdict

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
    def awaiting(self, ending: Ending) -> Iterator[None]:
        """A caller waits for it meanwhile: patiently, once the end of what it sends has come."""

        def give_way() -> None:
            self.waiters -= 1
            self.patient += 1
            self.tell_deserted()

        self.waiters += 1
        try:
            with ending.told(give_way):
                yield
        finally:
            if ending.come:
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
