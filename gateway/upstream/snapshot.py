"""Census: what an operator sees of the queue, the gate and the credentials of the whole fleet. Pure.

Times are in seconds. Lists hold at most ``MOST_LISTED``; the counts beside them are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.upstream.flight import Band

MICRO = 1e-6
MOST_LISTED = 100
"""Entries of each list of a census."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Jobs that wait, by band: for people, for people who left since, and to refresh what is stored."""

    people: int
    left: int
    refresh: int

    @property
    def total(self) -> int:
        """In all bands."""
        return self.people + self.left + self.refresh


@dataclass(frozen=True, slots=True)
class Run:
    """A flight under way: who pays for it, for how long (``age``) which ``process`` leads it, and how many
    leaders it lost before."""

    id: str
    tenant: str
    band: Band
    age: float
    attempts: int
    process: str


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
"""The signs that close the gate, in words."""


@dataclass(frozen=True, slots=True)
class GateCensus:
    """The fleet's gate. ``closed_for`` is what is left of a closing by a block, 0 where there is none;
    ``held_for`` how long somebody has held it by hand, None where nobody does. ``why`` is the sign that closed it,
    empty where none did; ``targets_refused`` are those that are not asked for on their own account."""

    state: GateState
    closed_for: float
    held_for: float | None
    why: str = ""
    targets_refused: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A credential that is not used: what is ``left`` of its pause, and as of the gate, ``held_for``."""

    fingerprint: str
    left: float
    held_for: float | None


@dataclass(frozen=True, slots=True)
class Census:
    """The fleet at one moment.

    ``tenants`` are those with the most jobs queued, the most first; ``uncounted`` are the jobs of a very long
    queue that are in ``queued`` but in nobody's count. ``running`` has the oldest first. ``processes`` maps
    those that live to the seconds since their last sign of life. ``budget`` is the seconds after which the
    budget allows the next call, whatever the gate says. ``refused`` has the held first.
    """

    queued: Depth
    tenants: dict[str, Depth]
    tenants_total: int
    uncounted: int
    running: tuple[Run, ...]
    running_total: int
    processes: dict[str, float]
    processes_total: int
    gate: GateCensus
    budget: float
    refused: tuple[Refused, ...]
    refused_total: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one job stands: it runs, or ``rank`` others go before it."""

    rank: int
    running: bool
    tenant: str
    band: Band


def census_of(reply: Sequence[Any]) -> Census:
    """The census that ``lua/census.lua`` answers with. Raises ValueError or TypeError for anything else."""
    bands, tenants, tenants_total, uncounted, running, running_total = reply[:6]
    processes, processes_total, gate, budget, refused, refused_total = reply[6:]
    return Census(
        queued=Depth(*bands),
        tenants={tenant.decode(): Depth(*depth) for tenant, *depth in tenants},
        tenants_total=tenants_total,
        uncounted=uncounted,
        running=tuple(_run(*each) for each in running),
        running_total=running_total,
        processes={process.decode(): int(silence) * MICRO for process, silence in processes},
        processes_total=processes_total,
        gate=_gate(*gate),
        budget=int(budget) * MICRO,
        refused=tuple(Refused(name.decode(), int(left) * MICRO, _held(held)) for name, left, held in refused),
        refused_total=refused_total,
    )


def census_alone(waiting: Sequence[Band], running: int, processes: int, gate: GateCensus, refused: int) -> Census:
    """The census of a process that hears of no other: what it counts itself, and nothing by name."""
    queued = Depth(*(waiting.count(band) for band in Band))
    return Census(queued, {}, 0, queued.total, (), running, {}, processes, gate, 0.0, (), refused)


def gate_alone(closed_for: float, why: str, targets_refused: int, *, held: bool) -> GateCensus:
    """The gate as a process sees it that does not know since when it is ``held``."""
    if held:
        return GateCensus(GateState.HELD, 0.0, None, "", targets_refused)
    state = GateState.CLOSED if closed_for else GateState.OPEN
    return GateCensus(state, closed_for, None, why if closed_for else "", targets_refused)


def standing_of(reply: Sequence[Any]) -> Standing | None:
    """The standing that ``lua/standing.lua`` answers with. Raises ValueError or TypeError for anything else."""
    if reply == [b"none"]:
        return None
    state, rank, tenant, band = reply
    return Standing(int(rank), state == b"running", tenant.decode(), Band(int(band)))


def _run(id: bytes, tenant: bytes, band: bytes, age: bytes, attempts: bytes, process: bytes) -> Run:
    whose = (id.decode(), tenant.decode(), Band(int(band)))
    return Run(*whose, int(age) * MICRO, int(attempts), process.decode())


def _gate(state: bytes, wait: bytes, held: bytes, why: bytes, targets_refused: int) -> GateCensus:
    held_for = _held(held)
    shown = GateState(state.decode()) if held_for is None else GateState.HELD
    return GateCensus(shown, int(wait) * MICRO, held_for, why.decode(), targets_refused)


def _held(microseconds: bytes) -> float | None:
    return None if int(microseconds) < 0 else int(microseconds) * MICRO
