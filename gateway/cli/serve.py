"""``stats-gateway serve``."""

from __future__ import annotations

import os

import typer

from gateway.cli import options as flags
from gateway.cli.first_steps import missing
from gateway.cli.options import examples
from gateway.setting_values import made_of_services
from gateway.settings import PREFIX, Settings, settings_file, unknown_in, unknown_variables

EXAMPLES = examples(
    "stats-gateway serve --config gateway.toml",
    "STATS_GATEWAY_REDIS_URL=redis://127.0.0.1:6379/0 stats-gateway serve",
    "stats-gateway serve --host 0.0.0.0 --workers 4 --budget 2/s",
)


def serve(
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
    """Run the gateway.

    Every setting has an environment variable, STATS_GATEWAY_ and its name in capitals, and a line in the TOML
    file; an option here wins over the variable, the variable over the file. All settings, and what they are:
    stats-gateway config --describe. One that there is not is refused, with exit code 2.

    The Redis URL and the encryption keys have no option because a command line is visible to every user of the
    machine: set STATS_GATEWAY_REDIS_URL and STATS_GATEWAY_ENCRYPTION_KEYS.

    SIGTERM and SIGQUIT drain for --drain-seconds and end with exit code 0; Ctrl-C ends without draining. SIGHUP
    reads the settings file's log_level and the registry again; where the terminal is gone, it drains.
    """
    given = flags.given(locals())
    # Here, so that the small commands need not wait for the whole gateway to load.
    from gateway.app import create_application
    from gateway.server.serve import serve as run

    settings = flags.settings_of(config, given, strict=True)
    advice = [*passed_over(), *missing(settings)]
    raise typer.Exit(
        run(
            settings,
            create_application,
            lambda line: typer.echo(line, err=True),
            advice,
            lambda: flags.settings_of(config, given, strict=True),
        )
    )


def passed_over() -> list[str]:
    """What a start says of everything that looks like a setting and is not taken for one."""
    unknown = [
        f"WARNING: {line}; it has no effect" for line in (*unknown_variables(), *unknown_in(settings_file()))
    ]
    named = {PREFIX + name.upper() for name in Settings.model_fields}
    others = sorted(name for name in made_of_services(os.environ) if name.upper() in named)
    return unknown + [f"NOTE: {name} is of a service's name, and not taken for the setting" for name in others]
