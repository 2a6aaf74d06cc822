"""Stampede: many ask at one moment for something that nobody has asked for."""

from __future__ import annotations

from benchmarks.contenders.contender import Contender
from benchmarks.crowd import crowd
from benchmarks.load import fill, quantile
from benchmarks.machine import raise_open_files
from benchmarks.origin import OriginProcess, origin
from benchmarks.results import Column, Table
from benchmarks.rig import ASGI, GATEWAY, NGINX, VARNISH, Rig, Samples, dashboard_targets

SPARE_FILES = 500
ABOUT = (
    "Everybody has a connection before the first asks; then all ask at once for one target that is in no cache. "
    "The origin takes {latency:g} s to answer, which is part of the times. A client without a 200 is *unserved*. "
    "Note that nginx counts the uses of an entry in ten bits, and lets one in 1,024 of its waiters through."
)


def measure(rig: Rig) -> list[Table]:
    """The table."""
    samples = Samples()
    most = raise_open_files() - SPARE_FILES
    with origin(rig.folder, rig.stall) as service:
        for size in rig.crowds:
            if size > most:
                rig.say(
                    f"stampede of {size:,}: skipped, since no more than {most:,} files may be open (ulimit -n)"
                )
                continue
            for turn, contender in rig.turns(rig.among(NGINX, VARNISH, GATEWAY, ASGI)):
                figures = _once(rig, contender, service, size)
                samples.add(contender, figures, f"{size:,} at once")
                rig.say(
                    f"stampede of {size:,}, round {turn + 1}, {contender.name}: "
                    f"{figures['calls']:.0f} calls, p99 {figures['p99']:.2f} s"
                )
    columns = [
        Column("calls", "calls"),
        Column("p50", "p50, s", 2),
        Column("p99", "p99, s", 2),
        Column("unserved", "unserved"),
    ]
    return [samples.table("stampede", "A stampede", ABOUT.format(latency=rig.stall), columns)]


def _once(rig: Rig, contender: Contender, service: OriginProcess, size: int) -> dict[str, float]:
    with rig.started(contender, service, max_connections=size + SPARE_FILES) as running:
        fill(rig.client(running, dashboard_targets(4, first=100)))
        service.reset()
        answers = crowd(rig.client(running, dashboard_targets(1, first=1)), size)
        return {
            "calls": service.calls(),
            "p50": quantile(answers.seconds or [0.0], 0.5),
            "p99": quantile(answers.seconds or [0.0], 0.99),
            "unserved": size - answers.statuses[200],
        }
