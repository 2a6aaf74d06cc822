"""``stats-gateway doctor``: what it examines, its questions before calls to the service, and its findings shown.

The command is in ``checkup``, which imports this only when it runs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.admin.doctor.finding import Finding, State, counted, fixed, problem, unknown, worst
from gateway.admin.doctor.service import (
    Asked,
    Call,
    Caller,
    answer_findings,
    is_block,
    look,
    not_asked,
    questions,
    reach_findings,
    seconds_for,
)
from gateway.admin.doctor.settings import Surroundings, look_around
from gateway.admin.doctor.tenants import readiness
from gateway.cli.options import SettingOptions, note
from gateway.errors import ConfigurationError, UnusableSettings
from gateway.provenance import Sources
from gateway.redis import MEMORY
from gateway.settings import Settings
from gateway.upstream.network import TrustStore

STYLES = {
    State.OK: "green",
    State.NOTE: "cyan",
    State.UNKNOWN: "magenta",
    State.WARNING: "yellow",
    State.PROBLEM: "bold red",
}


class Examination(NamedTuple):
    """The findings, and what they are about, as far as the settings can be read."""

    findings: list[Finding]
    settings: Settings | None = None
    around: Surroundings | None = None


def examine(options: SettingOptions, *, upstream: bool | None, yes: bool) -> Examination:
    """Looks at settings, surroundings and, as far as that is ``consult``'s, the service."""
    try:
        settings = options.settings()
    except ConfigurationError as error:
        wrong = error.problems if isinstance(error, UnusableSettings) else [error.message]
        advice = "stats-gateway config --describe says what each may be"
        return Examination([problem("settings.reading", each, advice) for each in wrong])
    around = asyncio.run(look_around(settings, Sources.of(options.given())))
    return Examination([*around.findings, *consult(settings, around, wanted=upstream, yes=yes)], settings, around)


def consult(settings: Settings, around: Surroundings, *, wanted: bool | None, yes: bool) -> Iterator[Finding]:
    """The findings of a look at the service and of calls to it, as far as the user agrees to them.

    ``wanted`` says whether to look; where it is None, a terminal is asked. ``yes`` answers every question.
    """
    asked = [] if settings.profile == "generic" else questions(around.opened.held)
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    agreed = yes
    if wanted is None:
        wanted = agreed = terminal and (yes or _confirmed(f"Look at {settings.upstream} too?", settings, asked))
    if not wanted:
        yield unknown("upstream.reach", "the service was not looked at", "stats-gateway doctor --upstream")
        return
    store = TrustStore.of(settings.upstream_ca_file)
    reach = asyncio.run(look(settings.upstream, settings.connect_timeout, store))
    yield from reach_findings(reach, time.time())
    if reach.trouble and asked:
        yield from not_asked(asked, "the service cannot be reached")
    elif asked and (hindered := hindrance(settings, around)):
        yield from not_asked(asked, *hindered)
    elif asked and not agreed and not terminal:
        yield from not_asked(asked, f"it takes {_price(settings, asked)}", "add --yes")
    elif asked and not agreed and not _confirmed(f"Ask {settings.upstream}?", settings, asked):
        yield from not_asked(asked, "you said no")
    elif asked:
        yield from _ask(settings, asked)


def _confirmed(question: str, settings: Settings, asked: Sequence[Asked]) -> bool:
    price = f" It takes {_price(settings, asked)}." if asked else ""
    return typer.confirm(f"{question}{price}", err=True)


def _price(settings: Settings, asked: Sequence[Asked]) -> str:
    """The number of calls, and the time that they take at the budget's pace."""
    what = "one for each credential" if asked[0].protected else "a public query"
    seconds = seconds_for(asked, settings.budget_interval)
    pace = "at once" if seconds is None else f"about {max(1, round(seconds))} s at the budget of {settings.budget}"
    return f"{counted(len(asked), 'call')} ({what}), {pace}"


def hindrance(settings: Settings, around: Surroundings) -> tuple[str, str] | None:
    """Why the budget could not be kept, and what to do about it; None where it can."""
    if settings.redis_url.get_secret_value() != MEMORY:
        return None if around.redis else ("without Redis the fleet's budget cannot be kept", "see redis, above")
    if readiness(settings) is not None:
        return "a gateway runs here on memory://, whose budget cannot be shared", "stop it first, or use Redis"
    return None


def _ask(settings: Settings, asked: Sequence[Asked]) -> Iterator[Finding]:
    calls = asyncio.run(_calls(settings, asked))
    shortest = min(settings.lifetime_open, settings.lifetime_totals, settings.lifetime_empty)
    yield from answer_findings(calls, obey=settings.upstream_directives == "obey", shortest=shortest)
    if rest := asked[len(calls) :]:
        yield from not_asked(rest, "the service wants no more calls now")


async def _calls(settings: Settings, asked: Sequence[Asked]) -> list[Call]:
    async with asking(settings) as call:
        return await _one_by_one(call, asked)


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[Callable[[Asked], Awaitable[Call]]]:
    """What asks the service, one call at a time, through the fleet's own queue."""
    # Here, so that the small commands need not wait for the whole gateway to load.
    from gateway.app import queue_of
    from gateway.redis import connect
    from gateway.upstream.client import client_of

    redis, client = connect(settings), client_of(settings)
    queue = queue_of(settings, redis)
    await queue.start()
    try:
        yield Caller(queue, client, settings.caller_timeout).call
    finally:
        await queue.stop(grace=0.0)
        await client.aclose()
        await redis.aclose()


async def _one_by_one(call: Callable[[Asked], Awaitable[Call]], asked: Sequence[Asked]) -> list[Call]:
    """The calls, one after another, until the service blocks us."""
    calls: list[Call] = []
    with Console(stderr=True).status("") as status:
        for number, each in enumerate(asked, 1):
            status.update(f"Asking the service: {number} of {len(asked)} …")
            calls.append(await call(each))
            if is_block(calls[-1]):
                break
    return calls


def repaired(findings: Sequence[Finding], *, yes: bool) -> list[Finding]:
    """The findings after those were fixed for which there is a fix, as far as the user agrees to that."""
    fixes = [each.fix for each in findings if each.fix is not None]
    if not fixes:
        note("There is nothing to fix by itself.")
        return list(findings)
    for fix in fixes:
        note(f"To do: {fix.what}")
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not yes and not terminal:
        note("Nothing was done; add --yes.")
    if not yes and not (terminal and typer.confirm("Do that?", err=True)):
        return list(findings)
    after = [each if each.fix is None else fixed(each, each.fix) for each in findings]
    for before, each in zip(findings, after, strict=True):
        if each is not before:
            note(f"{each.what[:1].upper()}{each.what[1:]}")
    return after


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """Prints findings by subject, and a summary last."""
    for subject in dict.fromkeys(finding.subject for finding in findings):
        console.print(Text(subject.capitalize(), style="bold"))
        console.print(_table([finding for finding in findings if finding.subject == subject]))
    console.print(Text(f"\n{summary(findings)}", style=STYLES[worst(findings)]))


def summary(findings: Sequence[Finding]) -> str:
    """The number of findings of each state, the worst first."""
    counts = Counter(finding.state for finding in findings)
    return ", ".join(
        f"{counts[state]} {_noun(state, counts[state])}" for state in reversed(State) if counts[state]
    )


def findings_view(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as JSON for programs."""
    counts = Counter(finding.state for finding in findings)
    return {
        "worst": worst(findings).value,
        "counts": {state.value: counts[state] for state in State},
        "findings": [
            {
                "check": each.check,
                "state": each.state.value,
                "what": each.what,
                "advice": each.advice,
                "fix": None if each.fix is None else each.fix.what,
            }
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
