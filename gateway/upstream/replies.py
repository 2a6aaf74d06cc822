"""Replies: what the queue's state says to those who ask or move it. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateway.upstream.flight import Claim

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
    """The fleet as a sign of life found it: its time in seconds, its processes, jobs queued (by band) and running,
    and the refused credentials with the seconds left of their pauses, negative while held by hand."""

    now: float
    processes: int
    queued: tuple[int, int, int]
    running: int
    wait: Wait
    refused: Mapping[str, float] = field(default_factory=dict)
