"""Rig: what all measurements share: who takes part, for how long, on which cores, and what has been found."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cases import CASES, Case
from benchmarks.contenders.asgi import Served
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.gateway import OLDER, Gateway
from benchmarks.contenders.nginx import Nginx
from benchmarks.contenders.process import Running
from benchmarks.contenders.setup import Holder, Setup, with_many_tenants
from benchmarks.contenders.varnish import Varnish
from benchmarks.load import Client, LoadFailed
from benchmarks.origin import OriginProcess
from benchmarks.results import Column, Row, Table

NGINX, SORTED, VARNISH = Nginx(), Nginx(sorts=True), Varnish()
NOTHING_PREPARED = {"prepared_max_bytes": 0}
GATEWAY = Gateway(about="stats-gateway serve: hits through the fast lane")
FULL = Gateway("gateway-full-way", "stats-gateway serve: each near hit by its whole way", NOTHING_PREPARED)
SHARED = Gateway(
    "gateway-shared", "stats-gateway serve without near cache: each hit asks Redis", {"near_max_bytes": 0}
)
ASGI = Served("asgi-uvicorn", "the gateway's ASGI app alone under uvicorn", "gateway", settings=NOTHING_PREPARED)
GRANIAN = Served(
    "asgi-granian", "the gateway's ASGI app alone under granian", "gateway", "granian", NOTHING_PREPARED
)
BARE = Served("bare-uvicorn", "an ASGI app that answers constant bytes, under uvicorn", "bare")
DRESSED = Served("bare-dressed", "the same, with as many headers as the gateway's answers have", "dressed")
BARE_REDIS = Served("bare-redis", "the bare app, with one Redis GET for each answer", "with_redis")

ALL: tuple[Contender, ...] = (
    NGINX, SORTED, VARNISH, BARE, DRESSED, BARE_REDIS, GATEWAY, FULL, ASGI, GRANIAN, SHARED,
)  # fmt: skip


@dataclass
class Rig:
    """``core`` is the contender's, ``load_core`` everybody else's; ``rounds`` of ``seconds`` each.

    Hits are for so many ``targets``, after ``warming`` seconds of load, in each of the ``cases``; then for so many
    ``tenants``, and over so many ``connections``. Memory is for so many ``entries``. Stampedes are ``crowds`` of
    so many, whom the origin lets wait for ``stall`` seconds.
    """

    folder: Path
    contenders: Sequence[Contender]
    core: int | None
    load_core: int | None
    cases: Sequence[Case] = CASES
    rounds: int = 5
    seconds: float = 4.0
    entries: int = 10_000
    crowds: Sequence[int] = (1_000, 10_000)
    misses: int = 400
    tenants: Sequence[int] = (10, 100, 1_000, 10_000)
    connections: int = 5_000
    targets: int = 400
    warming: float = 1.0
    stall: float = 1.0
    begun: float = field(default_factory=time.monotonic)
    _holders: dict[int, list[Holder]] = field(default_factory=dict)

    def among(self, *wanted: Contender) -> list[Contender]:
        """Those of them that take part, and their older versions."""
        names = {each.name for each in wanted}
        return [each for each in self.contenders if each.name.removeprefix(OLDER) in names]

    def turns(self, contenders: Iterable[Contender]) -> Iterator[tuple[int, Contender]]:
        """A B C A B C: what else the machine does falls upon all alike."""
        taking_part = list(contenders)
        for turn in range(self.rounds):
            for contender in taking_part:
                yield turn, contender

    @property
    def holder(self) -> Holder:
        """A tenant, where one is enough."""
        return self.holders(1)[0]

    def holders(self, count: int) -> list[Holder]:
        """So many tenants, each with a key and one and the same pair."""
        if count not in self._holders:
            self._place(count).mkdir()
            self._holders[count] = with_many_tenants(self._place(count), count)
        return self._holders[count]

    @contextmanager
    def started(
        self, contender: Contender, origin: OriginProcess, tenants: int = 1, /, **settings: object
    ) -> Iterator[Running]:
        """The contender in front of that origin, on its core; the origin starts counting anew. A LoadFailed within
        says which contender it was."""
        holders = self.holders(tenants)
        setup = Setup(self._place(tenants), origin.port, holders, self.core, settings=settings)
        with contender.started(setup) as running:
            origin.reset()
            try:
                yield running
            except LoadFailed as error:
                raise LoadFailed(f"{contender.name}: {error}") from error

    def client(self, running: Running, targets: Sequence[str], tenants: int = 1) -> Client:
        """The first of so many tenants, asking that contender for those targets."""
        return Client(running.port, self.holders(tenants)[0].key, targets)

    def _place(self, tenants: int) -> Path:
        return self.folder / f"tenants-{tenants}"

    def say(self, text: str) -> None:
        """A line of progress, beside the results and not among them."""
        print(f"{time.monotonic() - self.begun:6.0f} s  {text}", file=sys.stderr, flush=True)


class Samples:
    """Figures as they come, by contender and case; in the end the rows of a table."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, list[float]]] = {}
        self._notes: dict[tuple[str, str], str] = {}

    def add(self, contender: Contender, figures: Mapping[str, float], case: str = "", note: str = "") -> None:
        """One round's figures, by column."""
        columns = self._found.setdefault((contender.name, case), {})
        for column, figure in figures.items():
            columns.setdefault(column, []).append(figure)
        if note:
            self._notes[contender.name, case] = note

    def table(self, name: str, title: str, about: str, columns: list[Column]) -> Table:
        """All of them."""
        rows = [
            Row(contender, samples, case, self._notes.get((contender, case), ""))
            for (contender, case), samples in self._found.items()
        ]
        return Table(name, title, about, columns, rows)

    def by_case(self, name: str, title: str, about: str, figure: str, columns: list[Column]) -> Table:
        """One figure of all of them: a row for each contender, and each case a column."""
        rows: dict[str, dict[str, list[float]]] = {}
        for (contender, case), samples in self._found.items():
            rows.setdefault(contender, {})[case] = samples[figure]
        return Table(name, title, about, columns, [Row(*row) for row in rows.items()])


def dashboard_targets(count: int, first: int = 0) -> list[str]:
    """Closed windows that need a pair, and totals that need none, in turns: what a dashboard asks for."""
    return [
        f"/lboro/timeline/day/views/article/{number}?start_date=2014-01-01&end_date=2014-01-31"
        if number % 2
        else f"/total/views/article/{number}"
        for number in range(first, first + count)
    ]
