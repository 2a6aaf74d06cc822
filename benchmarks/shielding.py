"""Upstream calls saved: a day of dashboards through gateway, nginx and Varnish, one and four replicas of each.

Run with ``make shielding``. The day is seeded and replayed in compressed time; what is counted are calls, answers
and errors, so that little hangs on the machine, as long as it is not busy. Three days, then the first of them once
more with each question spelt in one way, and once more without closed windows, then an hour with the gateway's
budget: some three quarters of an hour. ``--short`` is one day and the hour.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.command import end, names, numbers, positive, show
from benchmarks.contenders.process import DidNotStart
from benchmarks.machine import Watch, facts
from benchmarks.results import Results, made_by
from benchmarks.shield.lanes import CONTENDERS, Stand
from benchmarks.shield.model import calls
from benchmarks.shield.origin import origin
from benchmarks.shield.replay import Lane, Replay, Tally
from benchmarks.shield.tables import CONTENDERS as TITLES
from benchmarks.shield.tables import PACED as PACED_ONE
from benchmarks.shield.tables import VARIANTS, Outcome, Replayed, explained, ratios, reload_table, tables
from benchmarks.shield.traffic import BOUNDS, Day, requests, tenants

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


@dataclass(frozen=True)
class Leg:
    """One day, or a part of it, that goes through these lanes at once, so many times as fast."""

    variant: str
    day: Day
    factor: float
    lanes: list[tuple[str, int]]

    @property
    def seconds(self) -> float:
        """How long it takes, about."""
        return (self.day.end - self.day.begin) / self.factor + STARTUP_SECONDS


def replayed(leg: Leg) -> Replayed:
    """What came of it."""
    day, factor = leg.day, leg.factor
    asked, askers = requests(day), tenants()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = stack.enter_context(origin(len(leg.lanes), LATENCY / factor))
        stand = Stand(folder, factor, askers, day.today, stack)
        lanes = [stand.lane(*lane, port) for lane, port in zip(leg.lanes, source.ports, strict=True)]
        replay = Replay(asked, askers, lanes, factor, day.end - day.begin, _progress)
        with Watch(None) as watch:
            _run(replay)
        called = [[(at - replay.begun) * factor for at in moments] for moments in source.calls()]
    outcomes = [
        _outcome(lane, tally, [moment for moment in moments if moment >= 0], factor)
        for lane, tally, moments in zip(lanes, replay.tallies, called, strict=True)
    ]
    ideal = {caches: calls(asked, askers, caches) for caches in sorted({replicas for _, replicas in leg.lanes})}
    return Replayed(leg.variant, day.seed, factor, outcomes, ideal, watch.idle, replay.late)


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


def _outcome(lane: Lane, tally: Tally, moments: Sequence[float], factor: float) -> Outcome:
    """``moments`` are those of the calls, in seconds of the day."""
    by_second = Counter(int(moment) for moment in moments)
    return Outcome(
        lane.contender,
        lane.replicas,
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


def results(days: Sequence[Replayed], legs: Sequence[Leg], skipped: dict[str, str]) -> Results:
    """What the days came to so far."""
    lanes = [lane for leg in legs for lane in leg.lanes]
    replicas = max(count for _, count in lanes)
    by_reload = {}
    for seconds in RELOADS:
        asked = requests(replace(legs[0].day, reload=seconds))
        by_reload[round(seconds)] = (calls(asked, tenants(), 1), calls(asked, tenants(), replicas))
    return Results(
        "shielding",
        "Upstream calls saved",
        explained(),
        made_by("shielding", sys.argv[1:]),
        datetime.now(UTC).isoformat(timespec="minutes"),
        facts(),
        {TITLES[name]: CONTENDERS[name].version() for name in dict.fromkeys(name for name, _ in lanes)},
        [*tables(days), reload_table(by_reload, replicas)],
        ratios(days),
        skipped,
    )


def planned(given: argparse.Namespace, contenders: list[str]) -> list[Leg]:
    """What the command line asks for: the days with budgets unlimited, then an hour with one."""
    first = Day(1, datetime.now(UTC).date(), given.requests)
    if given.smoke:
        first = replace(first, begin=SMOKE[0], end=SMOKE[1])
    paced = [(name, replicas) for name in contenders for replicas in given.replicas]
    lanes = [(name, replicas) for name, replicas in paced if name != PACED_ONE]
    legs = []
    if lanes:
        legs = [Leg("day", replace(first, seed=1 + number), given.factor, lanes) for number in range(given.seeds)]
        if not given.short:
            legs.append(Leg("one-spelling", replace(first, respelt=False), given.factor, lanes))
            legs.append(Leg("no-closed", replace(first, closed=False), given.factor, lanes))
    if PACED_ONE in contenders:
        hour = first if given.smoke else replace(first, begin=PACED[0], end=PACED[1])
        legs.append(Leg("paced", hour, min(given.factor, PACED_FACTOR), paced))
    return legs


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
    add("--short", action="store_true", help="one day, no variants: twelve minutes")
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
    if not legs:
        raise DidNotStart("no contender is left")
    if (shortest := min(BOUNDS.values()) / legs[0].factor) < SHORTEST:
        _say(f"Lifetimes of {shortest:.1f} s are too short for nginx, which counts whole ones.")
    seconds = sum(leg.seconds for leg in legs)
    ends = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    _say(f"{len(legs)} replays of {given.requests:,} requests a day: about {seconds / 60:.0f} min, until {ends}")
    days: list[Replayed] = []
    for number, leg in enumerate(legs, 1):
        _say(f"{number}/{len(legs)} {VARIANTS[leg.variant]}, seed {leg.day.seed}")
        days.append(replayed(leg))
        if given.json:  # after each, so that one who interrupts it has what there was
            results(days, legs, skipped).write(given.json)
    return results(days, legs, skipped)


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
