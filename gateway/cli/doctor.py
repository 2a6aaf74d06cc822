"""``stats-gateway doctor``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.admin.doctor.finding import Finding, State, problem, worst
from gateway.cli import options as flags
from gateway.cli.options import examples
from gateway.cli.registry import AsJson, RegistryPath, print_json
from gateway.errors import ConfigurationError, UnusableSettings
from gateway.provenance import Sources

CODES = {State.WARNING: 4, State.PROBLEM: 5}
EXAMPLES = examples("stats-gateway doctor", "stats-gateway doctor --upstream --yes --json | jq .worst")


def doctor(
    upstream: Annotated[
        bool | None,
        typer.Option(
            "--upstream/--no-upstream",
            help="Look at the service too. A terminal is asked; elsewhere it is not done unless told.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Make the calls to the service without asking first.")
    ] = False,
    as_json: AsJson = False,
    config: flags.Config = None,
    registry: RegistryPath = None,
) -> None:
    """Check that everything is as it should be; say what to do.

    It looks at the settings, the files and who may read them, the listeners, Redis (version, eviction,
    persistence, clock, permissions), the registry, keys that end soon, and whether every password opens. It
    changes nothing.

    With --upstream it also connects to the service, and asks it one question for each credential: whether it is
    accepted, what the answers say about caching, and what time it is there. These calls go through the gateways'
    own queue in Redis, within the budget that they share. Before that you are asked; a script says --yes.

    Exit codes: 0 where nothing is worse than a note, or unknown; 4 with warnings; 5 with problems.
    """
    # Here, so that the small commands need not wait for the whole gateway to load.
    from rich.console import Console

    from gateway.cli import findings
    from gateway.observe.logs import configure_logs

    configure_logs("error", "auto")
    found = _examined(config, registry, upstream, yes)
    if as_json:
        print_json(findings.told(found))
    else:
        findings.show(found, Console(highlight=False))
    raise typer.Exit(CODES.get(worst(found), 0))


def _examined(config: Path | None, registry: str | None, upstream: bool | None, yes: bool) -> list[Finding]:
    from gateway.admin.doctor.settings import look_around
    from gateway.cli.consulting import consult

    try:
        given = flags.given({"registry": registry})
        settings = flags.settings_of(config, given)
    except ConfigurationError as error:
        wrong = error.problems if isinstance(error, UnusableSettings) else [error.message]
        advice = "stats-gateway config --describe tells what each may be"
        return [problem("settings.reading", each, advice) for each in wrong]
    around = asyncio.run(look_around(settings, Sources.of(given, os.environ)))
    return [*around.findings, *consult(settings, around, wanted=upstream, yes=yes)]
