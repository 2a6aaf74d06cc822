"""Fleet: what a process knows of the others it shares a budget with, and its own place among them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.upstream.pacing import Budget, Turns

if TYPE_CHECKING:
    from gateway.upstream.replies import Pulse

log = structlog.get_logger("gateway")

COMMON = ("budget", "budget_burst", "encryption_keys")
"""The settings behind the terms, in their order."""


class Terms(NamedTuple):
    """What all processes of a fleet must have in common: the budget as the scripts take it (microseconds between
    two slots, burst), and the ``mark`` of the newest encryption key, which tells nothing of the key."""

    spacing: int
    burst: int
    mark: str

    @classmethod
    def parse(cls, text: str) -> Terms:
        """As ``lua/beat.lua`` writes them. Raises ValueError for anything else."""
        spacing, burst, mark = text.split("|")
        return cls(int(spacing), int(burst), mark)

    def differing(self, others: tuple[Terms, ...]) -> list[str]:
        """The settings in which any of the others differs."""
        return [name for at, name in enumerate(COMMON) if any(each[at] != self[at] for each in others)]


@dataclass(frozen=True, slots=True)
class FleetRules:
    """What the settings say: how many processes there may be (``size``), how many ``workers`` this one is of and
    which ``worker`` (from 0; None: it is alone), and the ``mark`` of its newest encryption key."""

    size: int = 1
    workers: int = 1
    worker: int | None = None
    mark: Callable[[], str] = lambda: ""


class Fleet:
    """The fleet as the last sign of life found it, and what follows for a process that is on its own.

    ``processes`` were seen last; ``budget`` is the lowest among them; ``differing`` names the settings in which
    they are not all alike.
    """

    def __init__(self, budget: Budget, rules: FleetRules | None = None) -> None:
        self.rules = rules or FleetRules()
        self.processes = 1
        self.budget = budget
        self.differing: list[str] = []
        self._own = budget
        self._place: int | None = None
        self._offset = 0.0
        self._random = random.random()  # noqa: S311 (a phase)
        self._small = 0

    def __repr__(self) -> str:
        return f"<Fleet of {self.processes}, {self.share} share the budget>"

    @property
    def share(self) -> int:
        """By how many the rate is divided without Redis: as many processes as there may be."""
        return max(self.rules.size, self.rules.workers, self.processes)

    @property
    def phase(self) -> float:
        """This process's turn among those who share the rate, from 0 up to ``share``.

        By its place among those that were seen last; who never saw any goes by its worker's number where there is
        no other supervisor, and else by chance.
        """
        if self._place is not None:
            return self._place
        if self.share <= self.rules.workers:
            return self.rules.worker or 0
        return self._random * self.share

    @property
    def turns(self) -> Turns | None:
        """When it may ask without Redis; None: at any time."""
        return None if self.budget.interval is None else Turns.of(self.budget, self.share, self.phase)

    @property
    def is_larger_than_told(self) -> bool:
        """Whether more processes were seen than ``size`` allows for."""
        return self.processes > self.rules.size

    def now(self) -> float:
        """The fleet's time in seconds, without Redis by this machine's clock."""
        return time.time() + self._offset

    def heard(self, pulse: Pulse) -> None:
        """What a sign of life found; what is wrong with it is told once."""
        self._offset = pulse.now + pulse.skew - time.time()
        self.processes, self._place = pulse.processes, pulse.place
        self._compare(pulse.others)
        if not self.is_larger_than_told:
            self._small = 0
        elif self.processes > max(1, self._small):
            self._small = self.processes
            log.warning(
                "fleet_size_too_small",
                fleet_size=self.rules.size,
                processes=self.processes,
                consequence="without Redis, processes that never saw it would ask the service too fast",
            )

    def _compare(self, others: tuple[Terms, ...]) -> None:
        own = Terms(*self._own.arguments, self.rules.mark())
        paced = [Budget.of(each.spacing, each.burst) for each in (own, *others) if each.spacing]
        interval = max((each.interval or 0.0 for each in paced), default=0.0)
        burst = min((each.burst for each in paced), default=self._own.burst)
        self.budget = Budget(interval, burst) if others and interval else self._own
        differing = own.differing(others)
        if differing == self.differing:
            return
        self.differing = differing
        if differing:
            log.error(
                "fleet_disagrees",
                settings=differing,
                rate=round(self.budget.rate, 6),
                burst=self.budget.burst,
                consequence="the lowest budget holds for all; with other keys nothing protected is shared",
            )
        else:
            log.warning("fleet_agrees")
