"""Hits: how many a contender answers in each case, at what cost, and how soon at half of that."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from benchmarks.cases import CASES, Case
from benchmarks.contenders.contender import Contender
from benchmarks.hitting import Hitting
from benchmarks.load import CONNECTIONS, WARMING_SECONDS, Load
from benchmarks.results import Column, Row, Table
from benchmarks.rig import BARE, BARE_REDIS, DRESSED, GRANIAN, NGINX, SORTED, Rig, Samples

WHOLE_ALWAYS = (BARE, DRESSED, BARE_REDIS)
"""Contenders without conditional requests."""
BESIDE = (SORTED, BARE, GRANIAN)
"""Contenders that are measured in the first case only: they differ little from others, in all cases alike."""
TIMED = ("a", "c")
"""The cases whose latency is measured."""
HITS = (
    "As many hits as one core answers, on {connections} connections that ask again as soon as they are answered "
    "(`benchmarks/load.c`). They ask for {targets} targets at random, half of them closed windows behind a pair "
    "and half public totals, all with an API key. Columns are the cases of "
    "[What clients send](#what-clients-send); only in (a) do requests repeat each other to the byte. The bare "
    "apps do not look at what they are asked, and answer nothing with 304."
)
SHARES = (
    "The same as shares of nginx's in the same case and round: 1 is as many as nginx, 2 is twice as many. What "
    "holds for (a), identical bytes, holds for no other column."
)
COSTS = "What the contender's processes spend on a hit, the kernel's work for them included, Redis's not."
CHEAPNESS = "By case and round: 1 is as cheap as nginx, 0.5 twice as dear. On a busy machine this says most."
IDLE = "The idle share of the load generator's core. Where it is near 0, the hits a second are a lower bound."
CALLS = "Calls that reached the origin since the start: one for each target, and none from a bare app."
LATENCY = (
    "How soon a hit is answered at half of the rate that the row's contender has just reached, in the same case "
    "and round: an open loop on 64 connections, with arrivals as independent as people's. A time counts from the "
    f"moment at which its request was due; the first {WARMING_SECONDS:g} s are not counted."
)


def measure(rig: Rig) -> list[Table]:
    """All tables. Raises LoadFailed where an answer was neither a 200 nor a 304, or not as many were as should."""
    found, latency = Samples(), Samples()
    with Hitting.of(rig) as hitting:
        for case, contender in taking_turns(rig):
            with hitting.filled(contender, case) as hit:
                full, figures = hitting.saturated(hit, case)
                half = None
                if case.letter in TIMED:
                    half = hitting.generator.steady(hit.running.port, hit.heads, full.per_second / 2, rig.seconds)
                    timed = {"rate": half.per_second, "p50": half.p50, "p99": half.p99, "idle": half.idle * 100}
                    latency.add(contender, timed, case.heading, half.note)
                figures["calls"] = float(hitting.service.calls())
            found.add(contender, figures, case.letter, full.note)
            rig.say(f"hits {case.heading}, {contender.name}: {told(full, figures, half)}")
    return tables(rig, found, latency)


def told(full: Load, figures: Mapping[str, float], half: Load | None) -> str:
    """A line of progress."""
    at_half = f"; at half of it p50 {half.p50:.0f} µs, p99 {half.p99:.0f} µs" if half else ""
    return f"{full.per_second:,.0f}/s, {figures['cpu']:.1f} µs of CPU each{at_half} {full.note}".rstrip()


def taking_turns(rig: Rig) -> list[tuple[Case, Contender]]:
    """Contenders take turns in each case, and cases in each round."""
    return [
        (case, contender)
        for _ in range(rig.rounds)
        for case in rig.cases
        for contender in rig.contenders
        if contender not in (WHOLE_ALWAYS if case.share else ())
        if contender not in BESIDE or case is CASES[0]
    ]


def tables(rig: Rig, found: Samples, latency: Samples) -> list[Table]:
    """What was found: a table for each figure, with a column for each case."""

    def columns(digits: int) -> list[Column]:
        return [Column(case.letter, case.heading, digits) for case in rig.cases]

    about = HITS.format(connections=CONNECTIONS, targets=rig.targets)
    hits = found.by_case("hits", "Hits a second", about, "per_second", columns(0))
    costs = found.by_case("cost", "CPU of a hit, µs", COSTS, "cpu", columns(1))
    shares = Table("shares", "Hits a second ÷ nginx's", SHARES, columns(2), [])
    cheapness = Table("cheapness", "CPU of a hit: nginx's ÷ others'", CHEAPNESS, columns(2), [])
    return [
        hits,
        beside_nginx(hits, shares),
        costs,
        beside_nginx(costs, cheapness, inverse=True),
        found.by_case("idle", "Idle share of the load generator's core, %", IDLE, "idle", columns(0)),
        found.by_case("calls", "Calls", CALLS, "calls", columns(0)),
        latency.table("latency", "Latency of a hit at half load", LATENCY, TIMES),
    ]


TIMES = [
    Column("rate", "requests/s"),
    Column("p50", "p50, µs"),
    Column("p99", "p99, µs"),
    Column("idle", "generator idle, %"),
]


def beside_nginx(found: Table, empty: Table, *, inverse: bool = False) -> Table:
    """Each contender's figures over nginx's, or nginx's over theirs, case by case and round by round."""

    def relative(case: str, ours: list[float]) -> list[float]:
        pairs = zip(ours, found.samples(NGINX.name, case), strict=False)
        return [base / each if inverse else each / base for each, base in pairs]

    rows = [
        Row(row.contender, {case: relative(case, ours) for case, ours in row.samples.items()})
        for row in found.rows
        if row.contender != NGINX.name
    ]
    return msgspec.structs.replace(empty, rows=rows)
