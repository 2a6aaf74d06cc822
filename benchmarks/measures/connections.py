"""Connections: how soon hits are answered where thousands of connections all ask at once, and ask again."""

from __future__ import annotations

from benchmarks.cases import LETTERS
from benchmarks.hitting import Hitting
from benchmarks.machine import raise_open_files
from benchmarks.results import Column, Table
from benchmarks.rig import GATEWAY, NGINX, VARNISH, Rig, Samples

SPARE_FILES = 500
CASES = ("a", "c")
ABOUT = (
    "{connections:,} connections are open, and each asks again as soon as it is answered, so that a time is "
    "mostly the wait for one's turn: as many as are open, divided by the hits a second."
)
COLUMNS = [
    Column("per_second", "hits/s"),
    Column("p50", "p50, ms", 1),
    Column("p99", "p99, ms", 1),
    Column("cpu", "CPU of a hit, µs", 1),
    Column("idle", "generator idle, %"),
]


def measure(rig: Rig) -> list[Table]:
    """The table. Raises LoadFailed where an answer was no 200."""
    samples = Samples()
    count = min(rig.connections, raise_open_files() - SPARE_FILES)
    if count < rig.connections:
        rig.say(f"only {count:,} connections, since no more files may be open (ulimit -n)")
    with Hitting.of(rig) as hitting:
        for letter in CASES:
            case = LETTERS[letter]
            for turn, contender in rig.turns(rig.among(NGINX, VARNISH, GATEWAY)):
                with hitting.filled(contender, case, max_connections=count + SPARE_FILES) as hit:
                    load, figures = hitting.saturated(hit, case, count)
                samples.add(
                    contender, figures | {"p50": load.p50 / 1e3, "p99": load.p99 / 1e3}, case.heading, load.note
                )
                rig.say(
                    f"{count:,} connections {case.heading}, round {turn + 1}, {contender.name}: "
                    f"{load.per_second:,.0f}/s, p50 {load.p50 / 1e3:.0f} ms, p99 {load.p99 / 1e3:.0f} ms"
                )
    about = ABOUT.format(connections=count)
    return [samples.table("connections", f"{count:,} connections, all active", about, COLUMNS)]
