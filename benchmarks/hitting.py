"""Hitting: a contender that holds all that a case asks for, and what the case's load makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.process import Running
from benchmarks.load import CONNECTIONS, Generator, Load, LoadFailed, fill
from benchmarks.origin import OriginProcess, origin
from benchmarks.rig import Rig, dashboard_targets

MOST_OFF = 0.1
"""By how much the share of answers without content may be off."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A contender that runs, and the file of heads whose answers it holds."""

    running: Running
    heads: Path


@dataclass(frozen=True, slots=True)
class Hitting:
    """What all hits are measured with."""

    rig: Rig
    generator: Generator
    service: OriginProcess

    @classmethod
    @contextmanager
    def of(cls, rig: Rig) -> Iterator[Hitting]:
        """With an origin that runs as long as the block lasts. Raises LoadFailed where nothing makes load."""
        with origin(rig.folder) as service:
            yield cls(rig, Generator.compiled(rig.folder, rig.load_core), service)

    @contextmanager
    def filled(self, contender: Contender, case: Case, **settings: object) -> Iterator[Hit]:
        """The contender, set up for the case, once it has answered each target."""
        rig, url = self.rig, f"http://127.0.0.1:{self.service.port}"
        ours = {name: str(value).format(origin=url) for name, value in case.settings.items()}
        with rig.started(contender, self.service, case.tenants, **ours, **settings) as running:
            tags = fill(rig.client(running, dashboard_targets(rig.targets), case.tenants))
            yield Hit(running, self._heads(case, tags))

    def saturated(self, hit: Hit, case: Case, connections: int = CONNECTIONS) -> tuple[Load, dict[str, float]]:
        """The load of the case, as much as is answered; its figures, by column. Raises LoadFailed unless about as
        many answers were 304s as should be."""
        spent = hit.running.cpu
        load = self.generator.saturating(
            hit.running.port, hit.heads, self.rig.seconds, connections, self.rig.warming
        )
        spent = hit.running.cpu - spent
        share = load.unchanged / max(1, load.answers)
        if abs(share - case.share) > MOST_OFF:
            raise LoadFailed(f"{share:.0%} of the answers were 304, not {case.share:.0%}")
        cost = spent / max(1, load.answers) * 1e6
        return load, {"per_second": load.per_second, "cpu": cost, "idle": load.idle * 100}

    def _heads(self, case: Case, tags: Mapping[str, str]) -> Path:
        """The file, made once where it is the same for all contenders."""
        path = self.rig.folder / f"heads-{case.letter}-{case.tenants}"
        if case.share or not path.exists():
            path.write_bytes(case.drawn([holder.key for holder in self.rig.holders(case.tenants)], tags))
        return path
