"""docs/performance.md, made of docs/performance.json, which the benchmarks' own results are written into.

``make performance`` runs the benchmarks anew (two hours) and writes both. With ``--from`` it takes results
that a benchmark wrote with ``--json``, with ``--page`` it only writes the page: nothing there is typed by hand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.cases import CASES
from benchmarks.results import Ratio, Results, Table, as_markdown, cells, ratio_cells, read

DOCS = Path(__file__).parents[1] / "docs"
PAGE, DATA = DOCS / "performance.md", DOCS / "performance.json"
BENCHMARKS = ("bench", "shielding")
"""What is run, and the order on the page."""

HEAD = """\
# Performance

What the gateway costs and saves, compared with other proxies. `make performance` measures all of it.

It runs {targets}, keeps their figures in [`performance.json`](performance.json), and makes this page from them
(`benchmarks/report.py`); nothing here is typed by hand. [`benchmarks/contenders`](../benchmarks/contenders) has
the configuration of each contender. Figures are medians of several rounds, with the least and the most in
parentheses. Machines differ and are noisy. So compare ratios, which are taken round by round, rather than
figures, and compare figures only within one run.

## What clients send

The cost of a hit depends on what the client sends. So hits are measured in cases, and each figure of hits names
its case. Find the cases that are yours. One gateway has several, and always (c) behind an ingress. Figures of
(a), where requests are identical, hold for no other case.

{cases}

[`benchmarks/cases.py`](../benchmarks/cases.py) makes the requests, and
[`benchmarks/load.c`](../benchmarks/load.c) sends them. It writes the parts that differ into each request, so no
request of (b), (c), (d) and (g) comes twice.
"""
GOALS = """\
## Goals

What the gateway is meant to reach on any machine, and what it did in the runs below.
"""

INTRODUCTIONS = {
    "shielding": """\
**On one replica the gateway saves the calls that nginx saves.** An exact cache asks for each question once in a
lifetime, and so does every other. The gateway's replicas share what was fetched; nginx and Varnish come close
to that behind consistent hashing, where a question always goes to the same replica, as long as all write it
alike. More can only be saved by answering one question out of another: where nearly every request is about
another item, as on the day of public clients, no cache by question saves much.
"""
}
"""What holds whatever was measured, by benchmark."""


def page(runs: Iterable[Results]) -> str:
    """The whole page."""
    ordered = sorted(runs, key=lambda run: BENCHMARKS.index(run.benchmark))
    targets = " and ".join(f"`make {name}`" for name in BENCHMARKS)
    lines = [["case", "who sends it", "what is sent"], *([each.heading, each.by, each.about] for each in CASES)]
    parts = [HEAD.format(targets=targets, cases=_prose_table(lines))]
    if goals := [ratio for run in ordered for ratio in run.ratios if ratio.goal is not None]:
        parts.append(f"{GOALS}\n{_ratios(goals)}\n")
    parts += [section(run) for run in ordered]
    return "\n".join(parts)


def section(run: Results) -> str:
    """One benchmark's part of the page."""
    introduction = [INTRODUCTIONS[run.benchmark]] if run.benchmark in INTRODUCTIONS else []
    parts = [f"## {run.title}\n", *introduction, f"{run.about.strip()}\n", _circumstances(run)]
    parts += [_table(table) for table in run.tables]
    if run.ratios:
        parts.append(f"### Ratios\n\n{_ratios(run.ratios)}\n")
    return "\n".join(parts)


def _circumstances(run: Results) -> str:
    """When, how and on what."""
    machine = [["", ""], *([name, value] for name, value in run.facts.items())]
    contenders = [["contender", ""], *([name, value] for name, value in run.versions.items())]
    contenders += [[name, f"skipped: {reason}"] for name, reason in run.skipped.items()]
    made = f"`{run.command}` on {run.date}:"
    return f"{made}\n\n{_prose_table(machine)}\n\n{_prose_table(contenders)}\n"


def _table(table: Table) -> str:
    notes = [f"{row.contender} {row.case}".strip() + f": {row.note}" for row in table.rows if row.note]
    told = "".join(f"\n- {note}" for note in notes)
    return f"### {table.title}\n\n{table.about}\n\n{as_markdown(cells(table))}\n{told and told + chr(10)}"


def _ratios(ratios: list[Ratio]) -> str:
    return as_markdown(ratio_cells(ratios))


def _prose_table(lines: list[list[str]]) -> str:
    """Words stand to the left."""
    return as_markdown(lines).replace("---:", "---")


def kept(path: Path) -> dict[str, Results]:
    """The results that the page is made of, by benchmark; none where there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Results]) if path.exists() else {}


def keep(path: Path, runs: dict[str, Results]) -> None:
    """Writes them, so that a diff of two runs reads."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(runs.items()))), indent=1) + b"\n")


def measured(name: str) -> Results:
    """Runs a benchmark and reads what it found. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", str(path)], check=True)
        return read(path)


def main() -> int:
    parser = argparse.ArgumentParser(
        usage='make performance [ARGS="options"]',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", choices=BENCHMARKS, help="run this benchmark alone, and keep the other's figures"
    )
    parser.add_argument(
        "--from", type=Path, nargs="+", metavar="FILE", dest="files", help="run none: take these results"
    )
    parser.add_argument("--page", action="store_true", help="run none: only write the page")
    given = parser.parse_args()
    wanted = [given.only] if given.only else BENCHMARKS
    try:
        if given.files:
            write(read(path) for path in given.files)
        elif given.page:
            write([])
        else:
            for name in wanted:
                write([measured(name)])
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    except (OSError, msgspec.MsgspecError) as error:
        parser.error(str(error))
    print(f"wrote {PAGE.name} from {DATA.name}")
    return 0


def write(found: Iterable[Results]) -> None:
    """Puts them in place of what was kept of the same benchmarks, and makes the page anew."""
    runs = kept(DATA) | {run.benchmark: run for run in found}
    keep(DATA, runs)
    PAGE.write_text(page(runs.values()))


if __name__ == "__main__":
    sys.exit(main())
