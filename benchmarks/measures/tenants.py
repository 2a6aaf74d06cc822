"""Tenants: what a hit costs where ever more of them ask at once, each held to a limit; and what it costs Redis."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.cases import LETTERS
from benchmarks.hitting import Hitting
from benchmarks.results import Column, Table
from benchmarks.rig import FULL, GATEWAY, NGINX, Rig, Samples
from tests.redis_server import RedisServer, redis_server

ABOUT = (
    "As in case (f), with ever more tenants, who all ask all the time; each has a limit that is counted and never "
    "reached. *Scripts* are those that Redis ran meanwhile, for the limits and all else."
)
EACH = 20
"""Heads of each tenant, on average."""
COLUMNS = [
    Column("per_second", "hits/s"),
    Column("cpu", "CPU of a hit, µs", 1),
    Column("scripts", "scripts/s in Redis"),
    Column("idle", "generator idle, %"),
]


def measure(rig: Rig) -> list[Table]:
    """The table. Raises LoadFailed where an answer was no 200."""
    samples = Samples()
    cases = [replace(LETTERS["f"], tenants=count, heads=EACH * max(300, count)) for count in rig.tenants]
    with Hitting.of(rig) as hitting:
        for case in cases:
            for turn, contender in rig.turns(rig.among(NGINX, GATEWAY, FULL)):
                with redis_server() as redis, hitting.filled(contender, case, redis_url=redis.url) as hit:
                    before = scripts(redis)
                    load, figures = hitting.saturated(hit, case)
                    if contender is not NGINX:
                        figures["scripts"] = (scripts(redis) - before) / (rig.warming + rig.seconds)
                samples.add(contender, figures, f"{case.tenants:,} tenants", load.note)
                rig.say(
                    f"{case.tenants:,} tenants, round {turn + 1}, {contender.name}: {load.per_second:,.0f}/s, "
                    f"{figures['cpu']:.1f} µs of CPU each, {figures.get('scripts', 0):.0f} scripts/s"
                )
    return [samples.table("tenants", "Hits with many tenants", ABOUT, COLUMNS)]


def scripts(server: RedisServer) -> int:
    """How many it ran so far."""
    stats = server.call("INFO", "commandstats")
    return sum(int(stats[name]["calls"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)
