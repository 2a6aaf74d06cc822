"""The page of all settings, ``configuration.md``, from ``gateway/settings.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.server.process import LIVE
from gateway.setting_values import GENERIC, STATISTICS_ONLY
from gateway.settings import Settings

SOURCE = Path(__file__).parents[2] / "gateway" / "settings.py"
HEAD = """\
# Configuration

Made from [`gateway/settings.py`](../gateway/settings.py) by `make reference`; a test compares the two.

A setting is an environment variable, `STATS_GATEWAY_` and its name in capitals, or a line in the TOML file that
`--config` or `STATS_GATEWAY_CONFIG` names. A flag overrides a variable, and a variable overrides the file. In a
variable, a list is written with commas or spaces (`POST,DELETE`), and a table as JSON. Durations are in
seconds, sizes in bytes. White space around a value does not count. `stats-gateway config` shows the values in
force, and where each came from. [`gateway.toml`](samples/gateway.toml) is a sample.

**Restart.** {live} takes effect on a reload (SIGHUP). Every other setting needs a restart; after a reload the
log line `reloaded` names those that changed. Tenants, keys and limits are in the registry, and never need one.

**Unknown names.** A variable `STATS_GATEWAY_…`, or a line of the file, that names no setting stops `serve` with
exit code 2 and the nearest name. `--allow-unknown-settings` lets it start, for example after a rollback. Three
variables are no settings, but allowed: `STATS_GATEWAY_CONFIG`, `STATS_GATEWAY_ADMIN_URL` and
`STATS_GATEWAY_KEY`. The variables that Kubernetes and Docker make for a service called `stats-gateway` are
ignored, such as `STATS_GATEWAY_PORT=tcp://…`.

**Profiles.** *Statistics* marks a setting that has no effect with `profile = "generic"`. That profile has no
tenants and no families of queries, and does not judge blocks or credentials. The doctor notes such a setting.
*Generic* is the default with that profile.
"""


def groups() -> Iterator[tuple[str, str]]:
    """The settings in their order, each with the heading that its part of the source has."""
    heading = ""
    for line in SOURCE.read_text(encoding="utf-8").splitlines():
        if comment := re.fullmatch(r"    # (\w[\w ]+)", line):
            heading = comment[1]
        elif (field := re.match(r"    (\w+): .*= Field\(", line)) and field[1] in Settings.model_fields:
            yield heading, field[1]


def kind(field: FieldInfo) -> str:
    """What a value may be, in words."""
    annotation = field.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(annotation))
    bounds = [f"≥ {low}" for each in field.metadata if (low := getattr(each, "ge", None)) is not None]
    bounds += [f"> {low}" for each in field.metadata if (low := getattr(each, "gt", None)) is not None]
    bounds += [f"≤ {high}" for each in field.metadata if (high := getattr(each, "le", None)) is not None]
    names = {bool: "true, false", int: "whole number", float: "number", str: "text", SecretStr: "secret text"}
    name = names.get(annotation) or ("table" if get_origin(annotation) is dict else "list")  # type: ignore[arg-type]
    return " ".join([name, *bounds])


def by_profile(name: str) -> str:
    """What a profile changes of a setting."""
    if name in STATISTICS_ONLY:
        return "; *statistics*"
    return f"; *generic*: {default(GENERIC[name])}" if name in GENERIC else ""


def default(value: Any) -> str:
    """The default as one writes it."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`" if value < 1e6 else f"`{value:.0f}`"
    if not value and value != 0:
        return "none"
    return "`" + (", ".join(value) if isinstance(value, tuple) else str(value)) + "`"


def page() -> str:
    """The page."""
    lines, last = [HEAD.format(live=", ".join(f"`{name}`" for name in sorted(LIVE)))], ""
    for heading, name in groups():
        if heading != last:
            lines += [f"\n## {heading}\n", "| setting | value | default | what it is |", "|---|---|---|---|"]
            last = heading
        field = Settings.model_fields[name]
        described = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind(field)} | {default(field.default)} | {described}{by_profile(name)} |")
    return "\n".join(lines) + "\n"
