"""Goals: the ratios that ``make bench`` is about, and what is aimed at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from benchmarks.cases import CASES
from benchmarks.contenders.contender import Contender
from benchmarks.results import Ratio, Table
from benchmarks.rig import ASGI, BARE_REDIS, DRESSED, FULL, GATEWAY, NGINX, SHARED, VARNISH


@dataclass(frozen=True, slots=True)
class Goal:
    """One contender's figure over another's (by itself where that is None), round by round."""

    name: str
    table: str
    column: str
    over: Contender
    under: Contender | None
    goal: float | None = None
    at_least: bool = True
    unit: str = ""
    case: str = ""

    def ratio(self, tables: Sequence[Table]) -> Ratio | None:
        """The figures of a run; None where they were not measured."""
        for table in tables:
            if table.name == self.table:
                over, under = self._samples(table, self.over), self._samples(table, self.under)
                samples = [a / b for a, b in zip(over, under, strict=False) if b]
                if samples:
                    return Ratio(self.name, samples, self.goal, self.at_least, self.unit)
        return None

    def _samples(self, table: Table, contender: Contender | None) -> Iterable[float]:
        return repeat(1.0) if contender is None else table.samples(contender.name, self.column, self.case)


GOALS = (
    Goal("hits/s (a): fast lane ÷ nginx", "hits", "a", GATEWAY, NGINX, 1.2),
    *(Goal(f"hits/s ({case}): gateway ÷ nginx", "hits", case, GATEWAY, NGINX, 0.8) for case in "bcdgh"),
    *(Goal(f"hits/s ({case}): gateway ÷ nginx", "hits", case, GATEWAY, NGINX, 0.6) for case in "ef"),
    *(Goal(f"hits/s ({case}): gateway ÷ Varnish", "hits", case, GATEWAY, VARNISH, 1.2) for case in "abcdg"),
    *(Goal(f"hits/s ({case}): gateway ÷ Varnish", "hits", case, GATEWAY, VARNISH, 1.0) for case in "ef"),
    *(
        Goal(f"hits/s ({case}): ASGI app, nothing prepared ÷ bare app with as many headers, both under uvicorn",
             "hits", case, ASGI, DRESSED, 0.55)
        for case in "abc"
    ),
    *(
        Goal(f"shared hits/s ({case}) ÷ bare app with one Redis GET", "hits", case, SHARED, BARE_REDIS, 0.9)
        for case in "ac"
    ),
    Goal("CPU of a near hit by its whole way (b)", "cost", "b", FULL, None, 40.0, at_least=False, unit=" µs"),
    *(
        Goal(f"p99 of a hit at half load ({case.letter}): gateway ÷ nginx", "latency", "p99", GATEWAY, NGINX, 1.5,
             at_least=False, case=case.heading)
        for case in CASES if case.letter in "ac"
    ),
    Goal("a miss over a direct call", "misses", "overhead", GATEWAY, None, 2.0, at_least=False, unit=" ms"),
    Goal("CPU of a miss", "misses", "cpu", GATEWAY, None, 0.8, at_least=False, unit=" ms"),
)  # fmt: skip
