"""Goals: the ratios that ``make bench`` is about, and what is aimed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contenders.contender import Contender
from benchmarks.results import Ratio, Table
from benchmarks.rig import (
    ASGI,
    BARE,
    BARE_REDIS,
    DRESSED,
    GATEWAY,
    GRANIAN,
    NGINX,
    NO_LANE,
    SHARED,
    SORTED,
    VARNISH,
)


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

    def ratio(self, tables: Sequence[Table]) -> Ratio | None:
        """The figures of a run; None where they were not measured."""
        for table in tables:
            if table.name == self.table:
                over = table.samples(self.over.name, self.column)
                under = [1.0] * len(over) if self.under is None else table.samples(self.under.name, self.column)
                samples = [a / b for a, b in zip(over, under, strict=False) if b]
                if samples:
                    return Ratio(self.name, samples, self.goal, self.at_least, self.unit)
        return None


GOALS = (
    Goal("near hits/s: fast lane ÷ nginx", "throughput", "per_second", GATEWAY, NGINX, 1.0),
    Goal("near hit's CPU: nginx ÷ fast lane", "throughput", "cpu", NGINX, GATEWAY),
    Goal("near hits/s: fast lane ÷ nginx that sorts", "throughput", "per_second", GATEWAY, SORTED),
    Goal("near hits/s: fast lane ÷ Varnish", "throughput", "per_second", GATEWAY, VARNISH, 1.0),
    Goal("near hit's CPU: Varnish ÷ fast lane", "throughput", "cpu", VARNISH, GATEWAY),
    Goal("near hits/s: ASGI app ÷ bare app, both under uvicorn", "throughput", "per_second", ASGI, BARE, 0.75),
    Goal("near hit's CPU: bare app ÷ ASGI app, both under uvicorn", "throughput", "cpu", BARE, ASGI),
    Goal("near hits/s: ASGI app ÷ bare app with as many headers", "throughput", "per_second", ASGI, DRESSED),
    Goal("near hit's CPU: bare app with as many headers ÷ ASGI app", "throughput", "cpu", DRESSED, ASGI),
    Goal(
        "near hits/s: ASGI app served without the lane ÷ bare uvicorn",
        "throughput",
        "per_second",
        NO_LANE,
        BARE,
        0.75,
    ),
    Goal("near hits/s: ASGI app under granian ÷ bare uvicorn", "throughput", "per_second", GRANIAN, BARE),
    Goal("shared hits/s ÷ bare app with one Redis GET", "throughput", "per_second", SHARED, BARE_REDIS, 0.8),
    Goal("shared hit's CPU: bare app with one Redis GET ÷ gateway", "throughput", "cpu", BARE_REDIS, SHARED),
    Goal("p99 of a hit at half load: gateway ÷ nginx", "latency", "p99", GATEWAY, NGINX, 2.0, at_least=False),
    Goal("a miss over a direct call", "misses", "overhead", GATEWAY, None, 2.0, at_least=False, unit=" ms"),
    Goal("CPU of a miss", "misses", "cpu", GATEWAY, None, unit=" ms"),
)
