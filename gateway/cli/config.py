"""``stats-gateway config``.

``stats-gateway settings``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gateway.cli import options as flags
from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.options import examples
from gateway.cli.registry import AsJson, print_json, tell
from gateway.cli.screen import aligned, plain
from gateway.provenance import Provenance, Sources
from gateway.settings import Settings, settings_file, unknown_in, unknown_variables

EXAMPLES = examples(
    "stats-gateway config --changed",
    "stats-gateway config --describe",
    "stats-gateway config --config gateway.toml --json",
)


def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not as by default.")] = False,
    describe: Annotated[bool, typer.Option("--describe", help="Say what each of them is, too.")] = False,
    as_json: AsJson = False,
    config: flags.Config = None,
    host: flags.Host = None,
    port: flags.Port = None,
    admin_host: flags.AdminHost = None,
    admin_port: flags.AdminPort = None,
    workers: flags.Workers = None,
    drain_seconds: flags.DrainSeconds = None,
    upstream: flags.Upstream = None,
    budget: flags.Budget = None,
    budget_burst: flags.BudgetBurst = None,
    registry: flags.RegistryFlag = None,
    allow_anonymous: flags.AllowAnonymous = None,
    allow_unknown_settings: flags.AllowUnknownSettings = None,
) -> None:
    """Show the settings serve would use, and where each is from.

    It reads what serve reads: flags, environment variables STATS_GATEWAY_…, the settings file, and last the
    defaults; and takes the flags that serve takes. Secrets are masked. Nothing has to run: what a gateway that
    already runs was started with is told by: stats-gateway settings.
    """
    given = flags.given(locals())
    settings = flags.settings_of(config, given)
    sources = Sources.of(given, os.environ)
    for line in (*unknown_variables(), *unknown_in(settings_file())):
        tell(f"warning: {line}")
    rows = list(_rows(settings, sources.provenance(settings.profile), changed=changed))
    if as_json:
        print_json(dict(rows))
    elif not rows:
        tell("All settings are as by default.")
    elif describe:
        print("\n".join(_described(name, told) for name, told in rows))
    else:
        print(
            aligned(
                ["SETTING", "VALUE", "FROM"], [[name, _text(told["value"]), told["place"]] for name, told in rows]
            )
        )


def _rows(
    settings: Settings, provenance: dict[str, Provenance], *, changed: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in settings.masked().items():
        origin = provenance[name]
        if not changed or origin.kind != "default":
            text = Settings.model_fields[name].description
            yield name, {"value": value, "from": origin.kind, "place": origin.place, "description": text}


def _described(name: str, told: dict[str, Any]) -> str:
    return f"{name} = {_text(told['value'])}  ({told['place']})\n    {told['description']}"


def _text(value: Any) -> str:
    """A value as people would write it."""
    match value:
        case "" | [] | {}:
            return "-"
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case list():
            return " ".join(str(each) for each in value)
    return str(value)


def settings(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Show what a running gateway was started with.

    It asks the admin API; secrets are masked. What serve would use here, and where each setting comes from, is
    told without a running gateway by: stats-gateway config.
    """
    told = ask(admin_url, "GET", "/api/settings")
    if as_json:
        print_json(told)
    else:
        print(aligned(["SETTING", "VALUE"], [[name, plain(value)] for name, value in told.items()]))
