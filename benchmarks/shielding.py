"""Upstream calls saved: a day of dashboards through gateway, nginx and Varnish, one and four replicas of each.

Run with ``make shielding``. The day is seeded and replayed in compressed time; what is counted are calls, answers
and errors, so that little hangs on the machine, as long as it is not busy. Three days, then the first of them once
more with each question spelt in one way, and once more without closed windows: some three quarters of an hour.
``--short`` is one day.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop

from benchmarks.shield.lanes import CONTENDERS, Stand
from benchmarks.shield.model import calls
from benchmarks.shield.origin import origin
from benchmarks.shield.replay import Replay
from benchmarks.shield.result import Outcome, Reload, Replayed, Shielding, of_variant
from benchmarks.shield.telling import DAYS, text
from benchmarks.shield.traffic import BOUNDS, Day, requests, tenants

FACTOR = 171.0
"""Then lifetimes of 10 and 15 minutes are 3.5 and 5.3 s, close to what whole seconds can say: what nginx is to
keep for 3 s it keeps for 3.5 s on average."""
LATENCY = 0.3
"""Of the origin, in seconds of the day."""
STARTUP_SECONDS = 25.0
RELOADS = (60, 120, 300)
SMOKE, SMOKE_FACTOR = (36_000.0, 36_240.0), 40.0
"""Four minutes of the day in six seconds; nothing expires in that time."""


@dataclass(frozen=True)
class Plan:
    """What is to be replayed."""

    days: list[tuple[str, Day]]
    contenders: list[str]
    replicas: list[int]
    factor: float

    @property
    def seconds(self) -> float:
        """How long it takes, about."""
        return sum((day.end - day.begin) / self.factor + STARTUP_SECONDS for _, day in self.days)


def replayed(variant: str, day: Day, plan: Plan) -> Replayed:
    """One day through all lanes at once."""
    asked, askers = requests(day), tenants()
    wanted = [(contender, replicas) for contender in plan.contenders for replicas in plan.replicas]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = stack.enter_context(origin(len(wanted), LATENCY / plan.factor))
        stand = Stand(folder, plan.factor, askers, day.today, stack)
        lanes = [stand.lane(*lane, port) for lane, port in zip(wanted, source.ports, strict=True)]
        replay = Replay(asked, askers, lanes, plan.factor, day.end - day.begin, _progress)
        before = _processors()
        uvloop.run(replay.run())
        after = _processors()
        called = [[at - replay.begun for at in moments if at > replay.begun] for moments in source.calls()]
    outcomes = [
        Outcome(
            lane.contender,
            lane.replicas,
            tally.requests,
            len(moments),
            max(Counter(int(at * plan.factor) for at in moments).values(), default=0),
            tally.hits,
            tally.slow,
            tally.stale,
            round(tally.oldest * plan.factor / 60, 2),
            tally.wrong,
            dict(tally.errors),
        )
        for lane, tally, moments in zip(lanes, replay.tallies, called, strict=True)
    ]
    ideal = {str(caches): calls(asked, askers, caches) for caches in plan.replicas}
    idle = (after[0] - before[0]) / max(1, after[1] - before[1])
    return Replayed(day.seed, variant, outcomes, ideal, round(idle, 3), round(replay.late, 3))


def _processors() -> tuple[int, int]:
    """Idle and all ticks of the machine's processors; proc(5)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def reloads(day: Day, caches: int) -> list[Reload]:
    """What the day's calls hang on, by the model."""
    found = []
    for seconds in RELOADS:
        asked = requests(replace(day, reload=float(seconds)))
        found.append(Reload(seconds, *(calls(asked, tenants(), count) for count in (1, caches))))
    return found


def machine() -> dict[str, str]:
    """What it ran on."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = cpu[0].partition(":")[2].strip() if cpu else platform.machine()
    return {"processor": name, "cores": str(os.cpu_count()), "python": platform.python_version()}


def planned(given: argparse.Namespace, contenders: list[str]) -> Plan:
    """What the command line asks for."""
    first = Day(1, datetime.now(UTC).date(), given.requests)
    if given.smoke:
        first = replace(first, begin=SMOKE[0], end=SMOKE[1])
    days = [("day", replace(first, seed=1 + number)) for number in range(given.seeds)]
    if not given.short:
        days += [("one-spelling", replace(first, respelt=False)), ("no-closed", replace(first, closed=False))]
    return Plan(days, contenders, given.replicas, given.factor)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shielding", description="Upstream calls saved on a day of dashboards."
    )
    parser.add_argument("--seeds", type=_at_least_one, default=3, help="how many days, from seed 1 on")
    parser.add_argument("--factor", type=float, default=FACTOR, help="by what the day's clock is divided")
    parser.add_argument("--requests", type=_at_least_one, default=Day.requests, help="in a day")
    parser.add_argument("--contenders", type=_names, default=list(CONTENDERS), help=f"of {','.join(CONTENDERS)}")
    parser.add_argument("--replicas", type=_numbers, default=[1, 4], help="how many of each, comma-separated")
    parser.add_argument("--short", action="store_true", help="one seed, and no variants: some ten minutes")
    parser.add_argument("--smoke", action="store_true", help="a few seconds, which only show that it runs")
    parser.add_argument("--json", metavar="FILE", help="where the result goes too")
    given = parser.parse_args(words)
    if given.factor <= 0:
        parser.error("--factor must be more than 0")
    if given.smoke:
        given.short, given.factor = True, SMOKE_FACTOR
    if given.short:
        given.seeds = 1
    return given


def _at_least_one(word: str) -> int:
    if int(word) < 1:
        raise ValueError
    return int(word)


def _numbers(words: str) -> list[int]:
    return [_at_least_one(word) for word in words.split(",")]


def _names(words: str) -> list[str]:
    names = words.split(",")
    if not set(names) <= set(CONTENDERS):
        raise ValueError
    return names


def _progress(share: float) -> None:
    print(f"{share:.0%}{'' if share == 1 else ' … '}", end="\n" if share == 1 else "", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    given = _arguments(words)
    lacks = {name: CONTENDERS[name].missing() for name in given.contenders}
    skipped = [name for name, lack in lacks.items() if lack]
    for name in skipped:
        print(f"{name} is skipped: {lacks[name]}", file=sys.stderr)
    plan = planned(given, [name for name in given.contenders if name not in skipped])
    ends = time.strftime("%H:%M", time.localtime(time.time() + plan.seconds))
    print(
        f"{len(plan.days)} days of {given.requests:,} requests, {plan.factor:g} times as fast: about "
        f"{math.ceil(plan.seconds / 60)} minutes, until {ends}",
        file=sys.stderr,
    )
    result = Shielding(
        command=" ".join(["python -m benchmarks.shielding", *(sys.argv[1:] if words is None else words)]),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine(),
        factor=plan.factor,
        requests=given.requests,
        bounds={kind.value: seconds for kind, seconds in BOUNDS.items()},
        skipped=skipped,
        days=[],
        replicas=max(plan.replicas),
        reloads=reloads(plan.days[0][1], max(plan.replicas)),
    )
    for number, (variant, day) in enumerate(plan.days, 1):
        print(f"{number}/{len(plan.days)} {DAYS[variant]}, seed {day.seed}", file=sys.stderr, flush=True)
        result.days.append(replayed(variant, day, plan))
        if given.json:  # after each day, so that one that is interrupted has left what it had
            Path(given.json).write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    for variant, title in DAYS.items():
        if days := of_variant(result, variant):
            print(f"\n{title}\n{text(days)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
