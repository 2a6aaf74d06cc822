"""Upstream calls saved: days of traffic through gateway, nginx and Varnish, one and four replicas of each.

Run with ``make shielding``. A day is seeded and replayed in compressed time; what is counted are calls, answers
and errors, so that little hangs on the machine, as long as it is not busy. Three days of dashboards, then the
first of them once more with each question spelt in one way, and once more without closed windows, then an hour
with the gateway's budget; a day of the service's public clients, whose answers are compared with the origin's
world; and two reports: an hour and a half. ``--short`` is one day, the hour, and the public clients of two
institutions out of six.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.command import end, names, numbers, positive, show
from benchmarks.contenders.process import DidNotStart
from benchmarks.machine import Watch, facts
from benchmarks.results import Results, Table, made_by
from benchmarks.shield import clients
from benchmarks.shield.lanes import CONTENDERS, Stand
from benchmarks.shield.model import calls, calls_by_rankings
from benchmarks.shield.origin import origin
from benchmarks.shield.replay import Replay, Tally, by_origin, by_world
from benchmarks.shield.reports import BY as REPORTS_BY
from benchmarks.shield.reports import reports
from benchmarks.shield.tables import CONTENDERS as TITLES
from benchmarks.shield.tables import PACED as PACED_ONE
from benchmarks.shield.tables import (
    PEERS,
    VARIANTS,
    Outcome,
    Replayed,
    Spec,
    explained,
    ratios,
    reload_table,
    tables,
)
from benchmarks.shield.traffic import BOUNDS, INSTITUTIONS, Day, Request, Tenant, requests, tenants
from benchmarks.shield.world import Oracle, World

FACTOR = 171.0
"""Then lifetimes of 10 and 15 minutes are 3.5 and 5.3 s, close to what whole seconds can say: what nginx is to
keep for 3 s it keeps for 3.5 s on average."""
LATENCY = 0.3
"""Of the origin, in seconds of the day."""
STARTUP_SECONDS = 25.0
SHORTEST = 3.0
"""Seconds that the shortest lifetime should have on the wall's clock."""
RELOADS = (60.0, 120.0, 300.0)
PACED, PACED_FACTOR = (36_000.0, 39_600.0), 20.0
"""The busiest hour in three minutes. A budget cannot be compressed as far as the rest: its slots would lie 6 ms
apart, less than by how much a busy machine misses them, and what is missed makes the next ones wait."""
SMOKE, SMOKE_FACTOR = (36_000.0, 36_240.0), 40.0
"""Four minutes of the day in six seconds; nothing expires in that time."""
FASTEST_MISSES, FEW = 120.0, 2
"""How many questions a second, none of which a cache has, the nightly loops may ask of each lane; and how many
institutions a short day has."""
FEW_ARTICLES = 40
"""Of a smoke's reports."""
TRAFFIC = ("dashboards", "clients", "reports")


@dataclass(frozen=True)
class Leg:
    """One day, or a part of it, that goes through these lanes at once, so many times as fast."""

    variant: str
    day: Day | clients.ClientsDay
    factor: float
    lanes: list[Spec]

    @property
    def seconds(self) -> float:
        """How long it takes, about."""
        return (self.day.end - self.day.begin) / self.factor + STARTUP_SECONDS

    def traffic(self) -> tuple[list[Request], list[Tenant]]:
        """The requests, and who asks."""
        if isinstance(self.day, clients.ClientsDay):
            return clients.requests(self.day), clients.tenants(self.day)
        return requests(self.day), tenants()

    @property
    def world(self) -> World | None:
        """What the origin answers from."""
        if isinstance(self.day, clients.ClientsDay):
            return World(self.day.seed, self.day.today, self.day.institutions)
        return None


def replayed(leg: Leg) -> Replayed:
    """What came of it."""
    day, factor, world = leg.day, leg.factor, leg.world
    asked, askers = leg.traffic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = stack.enter_context(origin(len(leg.lanes), LATENCY / factor, world))
        stand = Stand(folder, factor, askers, day.today, stack)
        lanes = [stand.lane(spec, port) for spec, port in zip(leg.lanes, source.ports, strict=True)]
        judge = by_world if world else by_origin
        replay = Replay(asked, askers, lanes, factor, day.end - day.begin, _progress, judge)
        with Watch(None) as watch:
            _run(replay)
        called = [[(at - replay.begun) * factor for at in moments] for moments in source.calls()]
    if world:
        oracle = Oracle(world)
        for tally in replay.tallies:
            tally.wrong = oracle.wrong(tally.answered)
    outcomes = [
        _outcome(spec, tally, [moment for moment in moments if moment >= 0], factor)
        for spec, tally, moments in zip(leg.lanes, replay.tallies, called, strict=True)
    ]
    return Replayed(leg.variant, day.seed, factor, outcomes, _ideal(leg, asked, askers), watch.idle, replay.late)


def _ideal(leg: Leg, asked: Sequence[Request], askers: Sequence[Tenant]) -> dict[str, int]:
    """By the model, what ideal caches call: one that all share, and as many apart as there are replicas."""
    counts = sorted({1, *(spec.replicas for spec in leg.lanes)})
    apart = {str(caches): calls(asked, askers, caches) for caches in counts}
    if leg.world is None:
        return apart
    return apart | {
        "1, with rankings": calls_by_rankings(asked, askers, public=False),
        "1, with rankings, for the public too": calls_by_rankings(asked, askers, public=True),
    }


def _run(replay: Replay) -> None:
    """To its end. Raises KeyboardInterrupt where it is told to end, which callbacks of a loop would swallow."""

    async def run() -> bool:
        task, loop = asyncio.create_task(replay.run()), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
        return task.cancelled()

    interrupted = uvloop.run(run())
    signal.signal(signal.SIGTERM, end)  # the loop took it away
    if interrupted:
        raise KeyboardInterrupt


def _outcome(spec: Spec, tally: Tally, moments: Sequence[float], factor: float) -> Outcome:
    """``moments`` are those of the calls, in seconds of the day."""
    by_second = Counter(int(moment) for moment in moments)
    return Outcome(
        spec,
        tally.requests,
        len(moments),
        worst_second=max(by_second.values(), default=0),
        hits=tally.hits,
        slow=tally.slow,
        stale=tally.stale,
        oldest=tally.oldest * factor / 60,
        wrong=tally.wrong,
        errors=tally.errors,
    )


def results(
    days: Sequence[Replayed], legs: Sequence[Leg], of_reports: Sequence[Table], skipped: dict[str, str]
) -> Results:
    """What the days came to so far; ``of_reports`` are the tables of reports."""
    names = dict.fromkeys(spec.contender for leg in legs for spec in leg.lanes)
    return Results(
        "shielding",
        "Upstream calls saved",
        explained(),
        made_by("shielding", sys.argv[1:]),
        datetime.now(UTC).isoformat(timespec="minutes"),
        facts(),
        {TITLES[name]: CONTENDERS[name].version() for name in names},
        [*tables(days), *_reloads(legs), *of_reports],
        ratios(days),
        skipped,
    )


def _reloads(legs: Sequence[Leg]) -> list[Table]:
    """What the saving hangs on, on the first day of dashboards."""
    day = next((leg.day for leg in legs if isinstance(leg.day, Day)), None)
    if day is None:
        return []
    replicas = max(spec.replicas for leg in legs for spec in leg.lanes)
    by_reload = {}
    for seconds in RELOADS:
        asked = requests(replace(day, reload=seconds))
        by_reload[round(seconds)] = (calls(asked, tenants(), 1), calls(asked, tenants(), replicas))
    return [reload_table(by_reload, replicas)]


def planned(given: argparse.Namespace, contenders: list[str]) -> list[Leg]:
    """What the command line asks for: days with budgets unlimited, then an hour with one, then public clients."""
    paced = [Spec(name, replicas) for name in contenders for replicas in given.replicas]
    lanes = [spec for spec in paced if spec.contender != PACED_ONE]
    most = max(given.replicas)
    hashed = [Spec(name, most, hashed=True) for name in contenders if name in PEERS and most > 1]
    legs: list[Leg] = []
    if "dashboards" in given.traffic:
        legs += _dashboards(given, lanes, hashed, paced)
    if "clients" in given.traffic and lanes:
        legs.append(_clients(given, [*lanes, *hashed]))
    return legs


def _dashboards(
    given: argparse.Namespace, lanes: list[Spec], hashed: list[Spec], paced: list[Spec]
) -> Iterator[Leg]:
    first = Day(1, datetime.now(UTC).date(), given.requests)
    if given.smoke:
        first = replace(first, begin=SMOKE[0], end=SMOKE[1])
    if lanes:
        for number in range(given.seeds):
            yield Leg("day", replace(first, seed=1 + number), given.factor, [*lanes, *hashed])
        if not given.short:
            yield Leg("one-spelling", replace(first, respelt=False), given.factor, lanes)
            yield Leg("no-closed", replace(first, closed=False), given.factor, lanes)
    if any(spec.contender == PACED_ONE for spec in paced):
        hour = first if given.smoke else replace(first, begin=PACED[0], end=PACED[1])
        yield Leg("paced", hour, min(given.factor, PACED_FACTOR), paced)


def _clients(given: argparse.Namespace, lanes: list[Spec]) -> Leg:
    few = 1 if given.smoke else FEW if given.short else len(INSTITUTIONS)
    day = clients.ClientsDay(1, datetime.now(UTC).date(), given.institutions or few)
    if given.smoke:
        day = replace(day, begin=SMOKE[0], end=SMOKE[1])
    fastest = FASTEST_MISSES / min(day.institutions, clients.NIGHTLY)
    return Leg("clients", day, min(given.factor, fastest), lanes)


def arguments() -> argparse.ArgumentParser:
    """What can be chosen."""
    parser = argparse.ArgumentParser(
        usage='make shielding [ARGS="options"]',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, every = parser.add_argument, list(CONTENDERS)
    known = ", ".join(every)
    add("--seeds", type=positive(int), default=3, metavar="N", help="how many days, from seed 1 on (3)")
    add("--factor", type=positive(float), default=FACTOR, metavar="N", help=f"divides the clock ({FACTOR:g})")
    add("--requests", type=positive(int), default=Day.requests, metavar="N", help=f"in a day ({Day.requests})")
    add("--contenders", type=names(every), default=every, metavar="NAMES", help=f"out of {known} (all)")
    add("--replicas", type=numbers, default=[1, 4], metavar="N,N", help="how many of each (1,4)")
    add(
        "--traffic",
        type=names(TRAFFIC),
        default=list(TRAFFIC),
        metavar="NAMES",
        help=f"out of {', '.join(TRAFFIC)}",
    )
    add("--institutions", type=int, choices=range(1, len(INSTITUTIONS) + 1), help="of the clients' day (all)")
    add("--short", action="store_true", help="one day of each, no variants: forty minutes")
    add("--smoke", action="store_true", help="four minutes of a day in six seconds, to see that it runs")
    add("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _progress(share: float) -> None:
    print(f"{share:.0%}", end="\n" if share == 1 else " … ", file=sys.stderr, flush=True)


def shielded(given: argparse.Namespace) -> Results:
    """Runs it. Raises DidNotStart."""
    skipped = {name: lack for name in given.contenders if (lack := CONTENDERS[name].missing())}
    for name, lack in skipped.items():
        _say(f"{name} is skipped: {lack}")
    legs = planned(given, [name for name in given.contenders if name not in skipped])
    reporting = "reports" in given.traffic and REPORTS_BY in given.contenders and REPORTS_BY not in skipped
    if not legs and not reporting:
        raise DidNotStart("no contender is left")
    if legs and (shortest := min(BOUNDS.values()) / legs[0].factor) < SHORTEST:
        _say(f"Lifetimes of {shortest:.1f} s are too short for nginx, which counts whole ones.")
    seconds = sum(leg.seconds for leg in legs) + reporting * STARTUP_SECONDS
    ends = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    _say(f"{len(legs)} replays: about {seconds / 60:.0f} min, until {ends}")
    of_reports = [reports(FEW_ARTICLES if given.smoke else clients.ARTICLES)] if reporting else []
    days: list[Replayed] = []
    for number, leg in enumerate(legs, 1):
        _say(f"{number}/{len(legs)} {VARIANTS[leg.variant]}, seed {leg.day.seed}")
        days.append(replayed(leg))
        if given.json:  # after each, so that one who interrupts it has what there was
            results(days, legs, of_reports, skipped).write(given.json)
    found = results(days, legs, of_reports, skipped)
    if given.json:
        found.write(given.json)
    return found


def main() -> int:
    given = arguments().parse_args()
    if given.smoke:
        given.factor = SMOKE_FACTOR
    if given.smoke or given.short:
        given.seeds, given.short = 1, True
    signal.signal(signal.SIGTERM, end)
    try:
        found = shielded(given)
    except KeyboardInterrupt:
        return 130
    except (DidNotStart, TimeoutError) as error:
        print(f"shielding: {error}", file=sys.stderr)
        return 1
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
