"""Hits: how many a contender answers, and how soon at half of that."""

from __future__ import annotations

from benchmarks.load import WARMING_SECONDS, compiled, fill, saturating, steady
from benchmarks.origin import origin
from benchmarks.results import Column, Table
from benchmarks.rig import Rig, Samples, dashboard_targets

THROUGHPUT = (
    "As many hits as one core answers: wrk, one thread and 32 connections, takes {targets} targets in turn, half "
    "of them closed windows behind a pair and half public totals, all with an API key. *Calls* are those that "
    "reached the origin since the start: one for each target, and none from a bare app."
)
LATENCY = (
    "How soon a hit is answered at half of the rate that the row's contender has just reached, in the same round: "
    "an open loop on 64 connections, with arrivals as independent as people's (`benchmarks/steady.c`). A time "
    f"counts from the moment at which its request was due; the first {WARMING_SECONDS:g} s are not counted."
)


def measure(rig: Rig) -> list[Table]:
    """Both tables. Raises LoadFailed where an answer was no 200."""
    throughput, latency = Samples(), Samples()
    targets = dashboard_targets(rig.targets)
    program = compiled(rig.folder)
    with origin(rig.folder) as service:
        for turn, contender in rig.turns(rig.contenders):
            with rig.started(contender, service) as running:
                client = rig.client(running, targets)
                fill(client)
                if rig.warming:
                    saturating(client, rig.warming)
                spent = running.cpu
                full = saturating(client, rig.seconds)
                spent = running.cpu - spent
                half = steady(program, client, full.per_second / 2, rig.seconds)
                found = {
                    "per_second": full.per_second,
                    "cpu": spent / (full.per_second * rig.seconds) * 1e6,
                    "busy": spent / rig.seconds * 100,
                    "idle": full.idle * 100,
                    "calls": float(service.calls()),
                }
                throughput.add(contender, found, note=full.note)
                latency.add(
                    contender,
                    {"rate": half.per_second, "p50": half.p50, "p99": half.p99, "idle": half.idle * 100},
                    note=half.note,
                )
            rig.say(
                f"hits, round {turn + 1}, {contender.name}: {full.per_second:,.0f}/s; "
                f"at {half.per_second:,.0f}/s p50 {half.p50:.0f} µs, p99 {half.p99:.0f} µs"
            )
    return [_throughput(throughput, rig.targets), _latency(latency)]


def _throughput(samples: Samples, targets: int) -> Table:
    columns = [
        Column("per_second", "hits/s"),
        Column("cpu", "CPU of a hit, µs", 1),
        Column("busy", "of its core, %"),
        Column("idle", "generator idle, %"),
        Column("calls", "calls"),
    ]
    return samples.table("throughput", "Hits a second", THROUGHPUT.format(targets=targets), columns)


def _latency(samples: Samples) -> Table:
    columns = [
        Column("rate", "requests/s"),
        Column("p50", "p50, µs"),
        Column("p99", "p99, µs"),
        Column("idle", "generator idle, %"),
    ]
    return samples.table("latency", "Latency of a hit at half load", LATENCY, columns)
