"""Goals: the ratios that ``make bench`` is about, and what is aimed at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from benchmarks.cases import LETTERS
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


def _per_second(cases: str, over: Contender, under: Contender, about: str, goal: float | None) -> list[Goal]:
    """Hits a second of one over the other's, in each of those cases."""
    return [Goal(f"hits/s {LETTERS[each].heading}: {about}", "hits", each, over, under, goal) for each in cases]


def _late(table: str, about: str, goal: float) -> list[Goal]:
    """The p99 over nginx's, in the cases in which it is measured."""
    return [
        Goal(f"{about} {case.heading}: gateway ÷ nginx", table, "p99", GATEWAY, NGINX, goal,
             at_least=False, case=case.heading)
        for case in (LETTERS["a"], LETTERS["c"])
    ]  # fmt: skip


def against(older: Contender, newer: Contender) -> list[Goal]:
    """What a version costs over an older one, in everything that both were measured in."""
    name = newer.name
    return [
        *_per_second("abcdefgh", newer, older, f"{name} ÷ its older version", None),
        *(Goal(f"CPU of a hit {case.heading}: {name} ÷ its older version", "cost", case.letter, newer, older,
               at_least=False) for case in LETTERS.values()),
        Goal(f"CPU of a miss: {name} ÷ its older version", "misses", "cpu", newer, older, at_least=False),
        Goal(f"a miss through it: {name} ÷ its older version", "misses", "through", newer, older, at_least=False),
    ]  # fmt: skip


GOALS = (
    *_per_second("a", GATEWAY, NGINX, "gateway ÷ nginx", 1.2),
    *_per_second("bcdgh", GATEWAY, NGINX, "gateway ÷ nginx", 0.8),
    *_per_second("ef", GATEWAY, NGINX, "gateway ÷ nginx", 0.6),
    *_per_second("bcdg", GATEWAY, VARNISH, "gateway ÷ Varnish", 1.2),
    *_per_second("ef", GATEWAY, VARNISH, "gateway ÷ Varnish", 1.0),
    *_per_second("ah", GATEWAY, VARNISH, "gateway ÷ Varnish", None),
    *_per_second("abc", ASGI, DRESSED, "ASGI app, nothing prepared ÷ bare app with as many headers", 0.55),
    *_per_second("ac", SHARED, BARE_REDIS, "shared ÷ bare app with one Redis GET", 0.9),
    Goal(f"CPU of a near hit by its whole way {LETTERS['b'].heading}", "cost", "b", FULL, None, 40.0,
         at_least=False, unit=" µs"),
    *_late("latency", "p99 of a hit at half load", 1.5),
    *_late("connections", "p99 over thousands of active connections", 2.0),
    Goal("a miss over a direct call", "misses", "overhead", GATEWAY, None, 2.0, at_least=False, unit=" ms"),
    Goal("CPU of a miss", "misses", "cpu", GATEWAY, None, 0.8, at_least=False, unit=" ms"),
)  # fmt: skip
