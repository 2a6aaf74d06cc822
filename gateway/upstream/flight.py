"""Flight: one upstream request, and everyone in this process who waits for it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from gateway.scripts import Invocation
from gateway.upstream.landing import Landing
from gateway.upstream.payer import Payer
from gateway.upstream.signs import NOTHING, Sign, Verdict


class Band(IntEnum):
    """Who goes first: people, then jobs whose callers left, then background refreshes."""

    PEOPLE = 0
    LEFT = 1
    REFRESH = 2


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


@dataclass(slots=True, eq=False)
class Flight:
    """A flight of this process. Belongs to the process, never to a caller.

    ``waiters`` are the callers who wait now; ``refused`` that one was sent away and promised to find the
    answer when it returns, so that the job keeps its place without callers; ``alone`` that it flies
    without Redis or waits to, ``slot`` the monotonic time at which its slot for that came, ``probe`` that it does
    so through a half-open gate; ``promoted`` that somebody joined whose band goes first. ``token`` names its
    submissions.
    """

    id: str
    exact: str
    payer: Payer
    band: Band
    work: Work
    recheck: Recheck
    waiters: int = 0
    refused: bool = False
    alone: bool = False
    slot: float | None = None
    probe: bool = False
    promoted: bool = False
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
