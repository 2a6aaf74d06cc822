"""A snapshot of the queue, the gate and the refused credentials of the whole fleet, for operators. Pure.

Times are in seconds. Lists hold at most ``MOST_LISTED``; the counts beside them are complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.upstream.pacing import MICRO, Priority

MOST_LISTED = 100
"""Entries of each list of a snapshot."""

Depths = dict[str, int]
"""Queued calls that wait, by their priority's label."""


def depths_of(counts: Iterable[int]) -> Depths:
    """The queued calls that wait, counted in the order of ``Priority``."""
    return {priority.label: int(count) for priority, count in zip(Priority, counts, strict=True)}


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A flight under way: on which tenant's account, the seconds (``age``) for which ``process`` has led it, and
    how many leaders it lost before."""

    id: str
    tenant: str
    band: Priority
    age: float
    attempts: int
    process: str


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A queued call: on which tenant's account, and the seconds (``age``) since it was submitted."""

    id: str
    tenant: str
    band: Priority
    age: float


class GateState(StrEnum):
    """HALF_OPEN: the pause is over, and one probe finds out whether the block is."""

    OPEN = "open"
    CLOSED = "closed"
    HALF_OPEN = "half-open"
    HELD = "held"


REASONS = {
    "refused": "several queries in a row were refused",
    "reset": "several connections in a row broke off",
    "limited": "it asked for fewer requests (429)",
}
"""The signals that close the gate, in words."""


@dataclass(frozen=True, slots=True)
class GateSnapshot:
    """The fleet's gate. ``closed_for`` is what is left of a closing by a block, 0 if there is none; ``held_for``
    how long an operator has held it, None if nobody does. ``why`` is the signal that closed it, empty if none did;
    ``targets_refused`` counts targets that are not asked for on their own account."""

    state: GateState
    closed_for: float
    held_for: float | None
    why: str = ""
    targets_refused: int = 0

    @classmethod
    def local(cls, closed_for: float, why: str, targets_refused: int, *, held: bool) -> GateSnapshot:
        """The gate as a process sees it that does not know since when it is ``held``."""
        if held:
            return cls(GateState.HELD, 0.0, None, "", targets_refused)
        if not closed_for:
            return cls(GateState.OPEN, 0.0, None, "", targets_refused)
        return cls(GateState.CLOSED, closed_for, None, why, targets_refused)


@dataclass(frozen=True, slots=True)
class Refused:
    """A credential that is not used: what is ``left`` of its pause, and ``held_for`` as of the gate.

    Its ``institution`` and ``tenants``, of whom there are ``tenants_total``, are filled in by those who know the
    registry; they are empty where no tenant has it any more.
    """

    fingerprint: str
    left: float
    held_for: float | None
    institution: str = ""
    tenants: tuple[str, ...] = ()
    tenants_total: int = 0


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The fleet at one moment.

    ``tenants`` are those with the most calls queued, the most first; ``uncounted`` are those of a very long queue
    that are in ``queued`` but in no tenant's count. ``running`` has the oldest first. ``processes`` maps living
    ones to the seconds since their last heartbeat. ``budget`` is the seconds after which the budget allows the
    next call, whatever the gate says. ``refused`` has the held first, ``waiting`` whoever is next first.
    """

    queued: Depths
    tenants: dict[str, Depths]
    tenants_total: int
    uncounted: int
    running: tuple[RunningCall, ...]
    running_total: int
    processes: dict[str, float]
    processes_total: int
    gate: GateSnapshot
    budget: float
    refused: tuple[Refused, ...]
    refused_total: int
    waiting: tuple[WaitingCall, ...] = ()

    @classmethod
    def parse(cls, reply: Sequence[Any]) -> QueueSnapshot:
        """The reply of ``lua/census.lua``. Raises ValueError or TypeError for anything else."""
        queued, tenants, tenants_total, uncounted, running, running_total = reply[:6]
        processes, processes_total, gate, budget, refused, refused_total, waiting = reply[6:]
        return cls(
            queued=depths_of(queued),
            tenants={tenant.decode(): depths_of(counts) for tenant, *counts in tenants},
            tenants_total=tenants_total,
            uncounted=uncounted,
            running=tuple(_running(*each) for each in running),
            running_total=running_total,
            processes={process.decode(): int(silence) * MICRO for process, silence in processes},
            processes_total=processes_total,
            gate=_gate(*gate),
            budget=int(budget) * MICRO,
            refused=tuple(Refused(name.decode(), int(left) * MICRO, _held(held)) for name, left, held in refused),
            refused_total=refused_total,
            waiting=tuple(_waiting(*each) for each in waiting),
        )

    @classmethod
    def local(
        cls,
        waiting: Sequence[Priority],
        running: int,
        processes: int,
        gate: GateSnapshot,
        refused: Sequence[Refused],
    ) -> QueueSnapshot:
        """The snapshot of a process without Redis: its own counts, and the credentials that it does not use."""
        queued = depths_of(waiting.count(priority) for priority in Priority)
        shown = tuple(refused[:MOST_LISTED])
        return cls(queued, {}, 0, len(waiting), (), running, {}, processes, gate, 0.0, shown, len(refused))


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The position of one job: it runs, or ``rank`` others go before it."""

    rank: int
    running: bool
    tenant: str
    band: Priority

    @classmethod
    def parse(cls, reply: Sequence[Any]) -> QueuePosition | None:
        """The reply of ``lua/standing.lua``. Raises ValueError or TypeError for anything else."""
        if reply == [b"none"]:
            return None
        state, rank, tenant, priority = reply
        return cls(int(rank), state == b"running", tenant.decode(), Priority.of(priority))


def _running(
    id: bytes, tenant: bytes, priority: bytes, age: bytes, attempts: bytes, process: bytes
) -> RunningCall:
    whose = (id.decode(), tenant.decode(), Priority.of(priority))
    return RunningCall(*whose, int(age) * MICRO, int(attempts), process.decode())


def _waiting(id: bytes, tenant: bytes, priority: bytes, age: bytes) -> WaitingCall:
    return WaitingCall(id.decode(), tenant.decode(), Priority.of(priority), int(age) * MICRO)


def _gate(state: bytes, wait: bytes, held: bytes, why: bytes, targets_refused: int) -> GateSnapshot:
    held_for = _held(held)
    shown = GateState(state.decode()) if held_for is None else GateState.HELD
    return GateSnapshot(shown, int(wait) * MICRO, held_for, why.decode(), targets_refused)


def _held(microseconds: bytes) -> float | None:
    return None if int(microseconds) < 0 else int(microseconds) * MICRO
