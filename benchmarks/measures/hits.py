"""Hits: how many a contender answers in each case, at what cost, and how soon at half of that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.cases import CASES, Case
from benchmarks.contenders.contender import Contender
from benchmarks.load import CONNECTIONS, WARMING_SECONDS, Generator, Load, LoadFailed, fill
from benchmarks.origin import OriginProcess, origin
from benchmarks.results import Column, Row, Table
from benchmarks.rig import BARE, BARE_REDIS, DRESSED, NGINX, Rig, Samples, dashboard_targets

WHOLE_ALWAYS = (BARE, DRESSED, BARE_REDIS)
"""Contenders without conditional requests."""
TIMED = ("a", "c")
"""The cases whose latency is measured."""
HITS = (
    "As many hits as one core answers, on {connections} connections that ask again as soon as they are answered "
    "(`benchmarks/load.c`). They ask for {targets} targets at random, half of them closed windows behind a pair "
    "and half public totals, all with an API key. What else is sent (`benchmarks/cases.py`):\n\n{cases}\n\n"
    "Only in (a) do requests repeat each other to the byte. The bare apps do not look at what they are asked, and "
    "answer nothing with 304."
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


class Heads:
    """The files of heads, each made once where it is the same for all contenders."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def of(self, case: Case, tags: Mapping[str, str], tenants: int) -> Path:
        """The case's file, with the keys of so many tenants, for the targets that have those entity tags."""
        path = self._rig.folder / f"heads-{case.letter}-{tenants}"
        if case.share or not path.exists():
            path.write_bytes(case.drawn([holder.key for holder in self._rig.holders(tenants)], tags))
        return path


def measure(rig: Rig) -> list[Table]:
    """All tables. Raises LoadFailed where an answer was neither a 200 nor a 304, or not as many were as should."""
    found, latency, heads = Samples(), Samples(), Heads(rig)
    generator = Generator.compiled(rig.folder, rig.load_core)
    with origin(rig.folder) as service:
        for case, contender in taking_turns(rig):
            figures, half, note = once(rig, generator, heads, service, case, contender)
            found.add(contender, figures, case.letter, note)
            if half is not None:
                timed = {"rate": half.per_second, "p50": half.p50, "p99": half.p99, "idle": half.idle * 100}
                latency.add(contender, timed, case.heading, half.note)
    return tables(rig, found, latency)


def taking_turns(rig: Rig) -> list[tuple[Case, Contender]]:
    """Contenders take turns in each case, and cases in each round."""
    return [
        (case, contender)
        for _ in range(rig.rounds)
        for case in rig.cases
        for contender in rig.contenders
        if not (case.share and contender in WHOLE_ALWAYS)
    ]


def once(
    rig: Rig, generator: Generator, heads: Heads, service: OriginProcess, case: Case, contender: Contender
) -> tuple[dict[str, float], Load | None, str]:
    """One contender's figures in one case; the load at half of its rate, where that is measured; what to mind."""
    settings = {name: _with_origin(value, service) for name, value in case.settings.items()}
    with rig.started(contender, service, case.tenants, **settings) as running:
        tags = fill(rig.client(running, dashboard_targets(rig.targets), case.tenants))
        file = heads.of(case, tags, case.tenants)
        spent = running.cpu
        full = generator.saturating(running.port, file, rig.seconds, warming=rig.warming)
        spent = running.cpu - spent
        check(case, full)
        half = None
        if case.letter in TIMED:
            half = generator.steady(running.port, file, full.per_second / 2, rig.seconds)
        figures = {
            "per_second": full.per_second,
            "cpu": spent / full.answers * 1e6,
            "idle": full.idle * 100,
            "calls": float(service.calls()),
        }
    at_half = f"; at half of it p50 {half.p50:.0f} µs, p99 {half.p99:.0f} µs" if half else ""
    rig.say(
        f"hits {case.heading}, {contender.name}: {full.per_second:,.0f}/s, {figures['cpu']:.1f} µs of CPU each"
        f"{at_half} {full.note}".rstrip()
    )
    return figures, half, full.note


def check(case: Case, load: Load) -> None:
    """Raises LoadFailed unless about as many answers were 304s as should be."""
    share = load.unchanged / max(1, load.answers)
    if abs(share - case.share) > 0.1:
        raise LoadFailed(f"{share:.0%} of the answers were 304, not {case.share:.0%}")


def tables(rig: Rig, found: Samples, latency: Samples) -> list[Table]:
    """What was found: a table for each figure, with a column for each case."""

    def columns(digits: int) -> list[Column]:
        return [Column(case.letter, case.heading, digits) for case in rig.cases]

    told = "\n".join(f"- {case.heading}: {case.about}." for case in CASES)
    about = HITS.format(connections=CONNECTIONS, targets=rig.targets, cases=told)
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


def _with_origin(value: object, service: OriginProcess) -> object:
    return value.format(origin=f"http://127.0.0.1:{service.port}") if isinstance(value, str) else value
