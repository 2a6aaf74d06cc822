"""The command ``doctor``: what is asked for, in which order it is done, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.admin.doctor.finding import State, worst
from gateway.cli.options import (
    AsJson,
    Commands,
    Config,
    RegistryPlace,
    SettingOptions,
    examples,
    flag,
    institutions,
    option,
    print_json,
)

EXIT_CODES = {State.WARNING: 4, State.PROBLEM: 5}

app = Commands()


@dataclass(frozen=True, slots=True)
class FactsWanted:
    """Whether to find out how the service behaves, on which institution, and an earlier run's past days."""

    facts: Annotated[
        bool, flag("--facts", "Find out how the service behaves where its documentation is silent: some 70 calls.")
    ] = False
    institution: Annotated[
        str | None,
        option(
            "--institution",
            "NAME",
            "For --facts: on this one. Not needed where there is one.",
            complete=institutions,
        ),
    ] = None
    before: Annotated[
        Path | None, option("--before", "FILE", "For --facts: what --json wrote before, to see past days change.")
    ] = None


@app.command(
    epilog=examples(
        "stats-gateway doctor",
        "stats-gateway doctor --upstream --yes --json | jq .worst",
        "stats-gateway doctor --upstream --facts --institution lboro",
    )
)
def doctor(
    upstream: Annotated[
        bool | None,
        flag(
            "--upstream/--no-upstream",
            "Check the service too. By default a terminal is asked, and a script does not.",
        ),
    ] = None,
    fix: Annotated[bool, flag("--fix", "Do what can be done without harm. You are asked first.")] = False,
    yes: Annotated[bool, flag("--yes", "Answer yes to every question.")] = False,
    *,
    learn: FactsWanted,
    as_json: AsJson = False,
    config: Config = None,
    registry: RegistryPlace = None,
) -> None:
    """Check that everything is as it should be; say what to do.

    It looks at the settings, the files and who may read them, the listeners, Redis (version, eviction,
    persistence, clock, permissions), the registry, keys that end soon, and whether every password opens. It
    changes nothing without --fix.

    With --fix it takes away permissions of other users on files that are yours, and seals passwords with the
    newest encryption key. It says what it would do, and asks; a script says --yes.

    With --upstream it also connects to the service, and asks it one question for each credential: whether it is
    accepted, what the answers say about caching, and what time it is there. These calls go through the gateways'
    own queue in Redis, within the budget that they share. Before that you are asked; a script says --yes.

    With --facts it finds out, on an institution of yours, how the service behaves where its documentation is
    silent. It looks at the order of keys, at empty answers and omitted dates, at what the pair changes, and at
    when a day begins. It compares sums, totals and tops. It shows how many calls that takes, and asks first. A
    later run with --before also sees whether past days have changed.

    Exit codes: 0 where nothing is worse than a note, or unknown; 4 with warnings; 5 with problems.
    """
    # Here, so that the small commands need not wait for the whole gateway to load.
    from rich.console import Console

    from gateway.cli.doctor import examine, findings_view, repaired, show_findings
    from gateway.cli.facts import facts_view, learned, show_facts
    from gateway.observe.logs import configure_logs

    configure_logs("error", "auto")
    if learn.facts and upstream is False:
        raise typer.BadParameter("--facts asks the service, which --no-upstream forbids")
    examined = examine(SettingOptions(config, registry=registry), upstream=learn.facts or upstream, yes=yes)
    found = learned(examined, learn.institution, learn.before, yes=yes) if learn.facts else None
    findings, console = (
        [*examined.findings, *([] if found is None else found.hindrances)],
        Console(highlight=False),
    )
    if not as_json:
        show_findings(findings, console)
    if fix:
        findings = repaired(findings, yes=yes)
    if as_json:
        print_json(findings_view(findings) | ({} if found is None else facts_view(found)))
    elif found is not None:
        show_facts(found, console)
    raise typer.Exit(EXIT_CODES.get(worst(findings), 0))
