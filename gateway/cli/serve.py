"""``stats-gateway serve``, and ``config``, ``settings`` and ``health``, which report on a gateway."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Annotated, Any

import httpx2 as httpx
import typer

from gateway.cli.format import aligned, value_text
from gateway.cli.options import (
    DEFAULT_URL,
    AdminUrl,
    AsJson,
    Commands,
    SettingOptions,
    ask_admin,
    describe_error,
    examples,
    flag,
    note,
    option,
    print_json,
)
from gateway.errors import ConfigurationError
from gateway.provenance import Provenance, Sources, masked
from gateway.redis_url import masked_url
from gateway.setting_values import PREFIX, made_of_services
from gateway.settings import Settings, file_warnings, load_settings, settings_file, variable_warnings
from gateway.tenants.registry import open_registry
from gateway.upstream.network import context_for

READY = "/-/health/ready"
FIRST_STEPS = (
    "stats-gateway demo                # see it work; needs nothing set up",
    "stats-gateway tenant add reports --institution lboro --username lboro",
    "stats-gateway key add reports     # prints the key that applications send",
    "stats-gateway serve               # then change the application's base URL",
    "stats-gateway doctor              # is everything as it should be?",
)
NO_TENANTS = """\
NOTE: there are no tenants yet, so {consequence}. In another terminal type, with your own names:
  stats-gateway tenant add reports --institution lboro --username lboro{place}
  stats-gateway key add reports{place}
NOTE: the password is asked for; running gateways follow within a second or two."""

app = Commands()


@app.command(
    epilog=examples(
        "stats-gateway serve --config gateway.toml",
        "STATS_GATEWAY_REDIS_URL=redis://127.0.0.1:6379/0 stats-gateway serve",
        "stats-gateway serve --host 0.0.0.0 --workers 4 --budget 2/s",
    )
)
def serve(options: SettingOptions) -> None:
    """Run the gateway.

    Every setting has an environment variable, STATS_GATEWAY_ and its name in capitals, and a line in the TOML
    file; an option here wins over the variable, the variable over the file. All settings, and what they are:
    stats-gateway config --describe. One that there is not is refused, with exit code 2.

    The Redis URL and the encryption keys have no option because a command line is visible to every user of the
    machine: set STATS_GATEWAY_REDIS_URL and STATS_GATEWAY_ENCRYPTION_KEYS.

    SIGTERM and SIGQUIT drain for --drain-seconds and end with exit code 0; Ctrl-C ends without draining. SIGHUP
    reads the settings file's log_level and the registry again; where the terminal is gone, it drains.
    """
    # Here, so that the small commands need not wait for the whole gateway to load.
    from gateway.app import create_application
    from gateway.server.serve import serve as run

    settings = options.settings(strict=True)
    notes = [*ignored_settings(), *first_steps(settings)]
    raise typer.Exit(run(settings, create_application, note, notes, lambda: options.settings(strict=True)))


def ignored_settings() -> list[str]:
    """Warnings of everything that looks like a setting and is not taken for one."""
    unknown = [
        f"WARNING: {line}; it has no effect" for line in (*variable_warnings(), *file_warnings(settings_file()))
    ]
    named = {PREFIX + name.upper() for name in Settings.model_fields}
    others = sorted(name for name in made_of_services(os.environ) if name.upper() in named)
    return unknown + [f"NOTE: {name} is of a service's name, and not taken for the setting" for name in others]


def first_steps(settings: Settings) -> list[str]:
    """What a gateway with these settings lacks to be of use, and how to add it.

    Raises ConfigurationError for a registry that cannot be read.
    """
    if settings.profile == "generic" or open_registry(settings).store.read():
        return []
    consequence = "only public queries are answered" if settings.allow_anonymous else "every request is refused"
    path = settings.registry_file
    place = "" if path is None else f" --registry {shlex.quote(str(path.absolute()))}"
    return [NO_TENANTS.format(consequence=consequence, place=place)]


@app.command(
    epilog=examples(
        "stats-gateway config --changed",
        "stats-gateway config --describe",
        "stats-gateway config --config gateway.toml --json",
    )
)
def config(
    changed: Annotated[bool, flag("--changed", "Only those that are not as by default.")] = False,
    describe: Annotated[bool, flag("--describe", "Say what each of them is, too.")] = False,
    as_json: AsJson = False,
    options: SettingOptions = SettingOptions(),
) -> None:
    """Show the settings serve would use, and where each is from.

    It reads what serve reads: flags, environment variables STATS_GATEWAY_…, the settings file, and last the
    defaults; and takes the flags that serve takes. Secrets are masked. No gateway has to run. For the settings of
    a running gateway, see: stats-gateway settings.
    """
    effective = options.settings()
    provenance = Sources.of(options.given()).provenance(effective.profile)
    for line in (*variable_warnings(), *file_warnings(settings_file())):
        note(f"warning: {line}")
    rows = dict(_settings_shown(effective, provenance, changed=changed))
    if as_json:
        print_json(rows)
    elif not rows:
        note("All settings are as by default.")
    elif describe:
        for name, row in rows.items():
            print(f"{name} = {_setting_text(row['value'])}  ({row['place']})\n    {row['description']}")
    else:
        lines = [[name, _setting_text(row["value"]), row["place"]] for name, row in rows.items()]
        print(aligned(["SETTING", "VALUE", "FROM"], lines))


def _settings_shown(
    settings: Settings, provenance: dict[str, Provenance], *, changed: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in masked(settings).items():
        origin = provenance[name]
        if not changed or origin.kind != "default":
            text = Settings.model_fields[name].description
            yield name, {"value": value, "from": origin.kind, "place": origin.place, "description": text}


def _setting_text(value: Any) -> str:
    """A value as people would write it in a settings file."""
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


@app.command()
def settings(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Show what a running gateway was started with.

    It asks the admin API; secrets are masked. For the settings that serve would use here, and where each comes
    from, see: stats-gateway config.
    """
    values = ask_admin(admin_url, "GET", "/api/settings")
    if as_json:
        print_json(values)
    else:
        print(aligned(["SETTING", "VALUE"], [[name, value_text(value)] for name, value in values.items()]))


@app.command(
    epilog=examples("stats-gateway health", "stats-gateway health --url http://gateway.example:8080 --strict")
)
def health(
    url: Annotated[
        str | None,
        option(
            "--url", "URL", "Base URL of the public listener; without it, the one that the settings here describe."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="Seconds to wait for the answer.")
    ] = 3.0,
    strict: Annotated[bool, flag("--strict", "Exit with 1 if it is degraded, too.")] = False,
) -> None:
    """Ask a gateway whether it is ready, for an exit code.

    It is 0 when the gateway is ready, and 1 when it is not, whatever the reason. This is what a container's health
    check runs. A gateway that has to do without Redis, or cannot follow its registry, is degraded and ready; one
    that starts or drains is not.
    """
    try:
        status = _status((url or _own_url()).rstrip("/"), timeout)
        if strict and status != "ok":
            raise NotReady(f"the gateway is {status}")
    except (ConfigurationError, NotReady) as error:
        # Not 2, as other mistakes have: a container's health check may end with 0 or 1 alone.
        note(f"stats-gateway: {error}")
        raise typer.Exit(1) from None
    print(status)


class NotReady(Exception):
    """Why a gateway does not count as ready."""


def _own_url() -> str:
    """Where a gateway with these settings is reached from its own machine."""
    settings = load_settings()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _status(url: str, timeout: float) -> str:
    """The status that a gateway reports of itself. Raises NotReady."""
    if not url.startswith(("http://", "https://")):
        raise NotReady("--url must begin with http:// or https://")
    place = masked_url(url)
    try:
        response = httpx.get(url + READY, timeout=timeout, trust_env=False, verify=context_for(url))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotReady(f"no gateway answers at {place}: {describe_error(error)}") from None
    try:
        report: Any = response.json()
    except ValueError:
        report = None
    status = report.get("status") if isinstance(report, dict) else None
    if not isinstance(status, str) or not status.isalpha():
        raise NotReady(f"{place} answers {response.status_code}, but not as a gateway does")
    if response.status_code != 200:
        raise NotReady(f"the gateway at {place} is {status}")
    return status
