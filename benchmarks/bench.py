"""The gateway beside nginx, Varnish and bare ASGI apps, all on this machine, one core each.

Hits are measured in cases, which differ in what clients send; a short look at two of them is
``--only hits --cases b,c --contenders nginx,gateway --rounds 3 --seconds 2``.

Everything is started on loopback and ended again. Contenders take turns, in several rounds, on one core; the load
and all that is not measured run on another, whose idle share is told. Figures are medians, with the least and the
most; ratios are taken round by round. Progress goes to standard error, tables to standard output.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain, starmap
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.cases import CASES, LETTERS
from benchmarks.command import end, names, numbers, positive, show
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.gateway import Gateway
from benchmarks.contenders.process import DidNotStart
from benchmarks.goals import GOALS, against
from benchmarks.machine import cores, facts, kept_to
from benchmarks.measures import connections, hits, memory, misses, stampede, startup, tenants
from benchmarks.results import Results, Table, made_by
from benchmarks.rig import ALL, Rig

MEASURES: dict[str, Callable[[Rig], list[Table]]] = {
    "hits": hits.measure,
    "tenants": tenants.measure,
    "connections": connections.measure,
    "misses": misses.measure,
    "stampede": stampede.measure,
    "memory": memory.measure,
    "startup": startup.measure,
}
ABOUT = """\
Each contender is one process (with its children) on a core of its own; the load, Redis and the origin run on
another, whose idle share is given. They take turns, A B C A B C, and each starts from nothing every time. All
clients have an API key. The gateway is set up as in production: metrics, a log of JSON lines with its usual
sample of hits, and tenants' limits that are counted and never reached. Only its budget is unlimited. In their
favour, nginx and Varnish count no limits, keep no log, trace nothing and do not check who forwarded a request.
"""
SMOKE = {
    "rounds": 1, "seconds": 0.3, "entries": 200, "crowds": [100], "misses": 20, "tenants": [60],
    "connections": 300,
}  # fmt: skip
"""Just enough to see that everything runs."""
SMOKE_RIG: dict[str, Any] = {"targets": 50, "warming": 0.0, "stall": 0.3}


def arguments() -> argparse.ArgumentParser:
    """What can be chosen."""
    parser = argparse.ArgumentParser(
        usage='make bench [ARGS="options"]',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                "contenders:",
                *(f"  {each.name:16} {each.about}" for each in ALL),
                "",
                "cases:",
                *(f"  {case.letter} {case.name:20} {case.about}" for case in CASES),
            ]
        ),
    )
    add = parser.add_argument
    every = [each.name for each in ALL]
    add(
        "--only",
        type=names(list(MEASURES)),
        default=list(MEASURES),
        metavar="NAMES",
        help=f"measurements, comma-separated, out of {', '.join(MEASURES)} (all)",
    )
    add("--contenders", type=names(every), default=every, metavar="NAMES", help="out of those below (all)")
    add("--against", type=Path, metavar="FOLDER", help="the gateways of another checkout take part too")
    add("--cases", type=names(list(LETTERS)), default=list(LETTERS), metavar="LETTERS", help="of hits (all)")
    add("--rounds", type=positive(int), default=5, metavar="N", help="how often each has its turn (5)")
    add("--seconds", type=positive(float), default=4.0, metavar="S", help="how long each load lasts (4)")
    add("--entries", type=positive(int), default=10_000, metavar="N", help="entries for measuring memory (10000)")
    add("--crowds", type=numbers, default=[1_000, 10_000], metavar="N,N", help="stampedes' sizes (1000,10000)")
    add("--misses", type=positive(int), default=400, metavar="N", help="misses of a round (400)")
    add("--tenants", type=numbers, default=[10, 100, 1_000, 10_000], metavar="N,N", help="for measuring tenants")
    add("--connections", type=positive(int), default=5_000, metavar="N", help="for measuring connections (5000)")
    add("--smoke", action="store_true", help="one short round of everything, to see that it runs")
    add("--json", type=Path, metavar="FILE", help="write the results there too")  # fmt: skip
    return parser


def available(wanted: Sequence[str], say: Callable[[str], None]) -> tuple[list[Contender], dict[str, str]]:
    """Those of them that can run here, and why others cannot."""
    chosen = [each for each in ALL if each.name in wanted]
    skipped = {each.name: missing for each in chosen if (missing := each.missing())}
    for name, reason in skipped.items():
        say(f"{name} is skipped: {reason}")
    return [each for each in chosen if each.name not in skipped], skipped


def older_of(contenders: Sequence[Contender], checkout: Path) -> list[tuple[Contender, Contender]]:
    """The gateways among them, each after what it was in that checkout."""
    return [(each.older(checkout), each) for each in contenders if isinstance(each, Gateway)]


def bench(given: argparse.Namespace) -> Results:
    """Runs it. Raises LoadFailed or DidNotStart."""
    with ExitStack() as stack:
        core, load_core = cores()
        stack.enter_context(kept_to(load_core))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        rig = Rig(
            folder, [], core, load_core, [LETTERS[letter] for letter in given.cases],
            given.rounds, given.seconds, given.entries, given.crowds, given.misses, given.tenants,
            given.connections,
            **(SMOKE_RIG if given.smoke else {}),
        )  # fmt: skip
        rig.contenders, skipped = available(given.contenders, rig.say)
        pairs = [] if given.against is None else older_of(rig.contenders, given.against.resolve())
        rig.contenders = [*rig.contenders, *(older for older, _ in pairs)]
        if core is None:
            rig.say("there is one core only: contenders share it with their load, and ratios mean little")
        tables = [table for name in MEASURES if name in given.only for table in MEASURES[name](rig)]
    return Results(
        "bench",
        "Hits, misses, stampedes",
        ABOUT,
        made_by("bench", sys.argv[1:]),
        datetime.now(UTC).isoformat(timespec="minutes"),
        facts(),
        {each.name: f"{each.about} ({each.version()})" for each in rig.contenders},
        tables,
        [ratio for goal in chain(GOALS, *starmap(against, pairs)) if (ratio := goal.ratio(tables))],
        skipped,
    )


def main() -> int:
    parser = arguments()
    given = parser.parse_args()
    if given.smoke:
        vars(given).update(SMOKE)
    if {"hits", "tenants", "connections"} & set(given.only) and (missing := load.lacks()):
        parser.error(missing)
    signal.signal(signal.SIGTERM, end)
    try:
        results = bench(given)
    except KeyboardInterrupt:
        return 130
    except (load.LoadFailed, DidNotStart) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    show(results)
    if given.json:
        results.write(given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
