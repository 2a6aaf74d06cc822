"""How a terminal shows findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.admin.doctor.finding import Finding, State, worst

STYLES = {
    State.OK: "green",
    State.NOTE: "cyan",
    State.UNKNOWN: "magenta",
    State.WARNING: "yellow",
    State.PROBLEM: "bold red",
}


def show(findings: Sequence[Finding], console: Console) -> None:
    """Prints findings by subject, and last what they come to."""
    for subject in dict.fromkeys(finding.subject for finding in findings):
        console.print(Text(subject.capitalize(), style="bold"))
        console.print(_table([finding for finding in findings if finding.subject == subject]))
    console.print(Text(f"\n{summary(findings)}", style=STYLES[worst(findings)]))


def summary(findings: Sequence[Finding]) -> str:
    """How many of each state, the worst first."""
    counts = Counter(finding.state for finding in findings)
    told = [f"{counts[state]} {_noun(state, counts[state])}" for state in reversed(State) if counts[state]]
    return ", ".join(told)


def told(findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings for programs."""
    counts = Counter(finding.state for finding in findings)
    return {
        "worst": worst(findings).value,
        "counts": {state.value: counts[state] for state in State},
        "findings": [
            {"check": each.check, "state": each.state.value, "what": each.what, "advice": each.advice}
            for each in findings
        ],
    }


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 2))
    table.add_column(no_wrap=True, min_width=max(len(state) for state in State))
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.what)
        if finding.advice:
            text.append(f"\n> {finding.advice}", style="dim" if finding.state is State.NOTE else "bold")
        table.add_row(Text(finding.state.value, style=STYLES[finding.state]), text)
    return table


def _noun(state: State, count: int) -> str:
    countable = state in (State.NOTE, State.WARNING, State.PROBLEM)
    return f"{state.value}s" if countable and count != 1 else state.value
