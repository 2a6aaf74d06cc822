"""Asker: how a job asks its questions, whatever answers them: the cache, the service, or what it was answered
before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

T = TypeVar("T")

How = Literal["cached", "stale", "call", "joined", "refused", "made"]


class Answered(msgspec.Struct, frozen=True):
    """What came of one target.

    ``at`` is when the service said it, in Unix seconds. ``how``: a fresh answer was stored (cached), or an old one
    stands in (stale); the service was asked for it (call), or was being asked for somebody else already (joined);
    the job made it out of the others (made); or there is no answer, and ``body`` is the error's (refused).
    """

    target: str
    status: int
    at: float
    how: How
    body: bytes


class Ended(Exception):
    """The job was cancelled, or another process carries on with it: its driver ends here."""


class CallsExceeded(Exception):
    """The job may make no more calls; it pauses, and may go on where it is allowed more."""


class Stock(Protocol):
    """What is known without asking, and what asking costs."""

    async def stored(self, targets: Sequence[str]) -> list[Answered | None]:
        """The fresh stored answers to these targets, None where there is none. Spends nothing."""

    @property
    def interval(self) -> float:
        """Seconds between two calls at the budget; 0: unlimited."""


class Asker(Stock, Protocol):
    """Asks for a job, as its tenant, at the jobs' priority.

    A target's error is its answer: a status of 400 or more, and the body that a client would get. A driver is
    deterministic: asked again from its beginning it asks the same in the same order, and what was answered before
    is answered from what the job keeps.
    """

    async def ask(self, target: str, *, since: float | None = None) -> Answered:
        """What comes of a target; an answer that the service gave before ``since``, in Unix seconds, will not do.

        Raises Ended, CallsExceeded.
        """

    async def apart(self, function: Callable[[], T]) -> T:
        """The result of work that takes the processor, done off the event loop."""

    def progress(self, done: int, total: int, calls_left: int) -> None:
        """Note how far the job is: ``done`` of ``total`` steps, and at most so many calls to come."""
