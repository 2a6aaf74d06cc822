"""Writes ``configuration.md`` from ``gateway/settings.py``; with ``--check`` it only compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.setting_values import GENERIC, STATISTICS_ONLY
from gateway.settings import Settings

HERE = Path(__file__).parent
PAGE = HERE / "configuration.md"
SOURCE = HERE.parent / "gateway" / "settings.py"
HEAD = """\
# Configuration

Made from [`gateway/settings.py`](../gateway/settings.py) by `make reference`; a test holds it to that.

Every setting is an environment variable, its name in capitals after `STATS_GATEWAY_`, or a line in the TOML
file that `--config` or `STATS_GATEWAY_CONFIG` names. A flag goes before a variable, a variable before the file.
In a variable, a list is its words with commas or spaces between (`POST,DELETE`), and a table is JSON. Durations
are in seconds, sizes in bytes. `stats-gateway config` shows what is in force, and where each value came from.

White space around a value counts nowhere, as at the end of a mounted secret. A variable `STATS_GATEWAY_…`, or a
line of the file, that names no setting stops `serve` with exit code 2 and the nearest name; for those who must,
say after a rollback, there is `--allow-unknown-settings`. `STATS_GATEWAY_CONFIG`, `STATS_GATEWAY_ADMIN_URL` and
`STATS_GATEWAY_KEY` are no settings and belong there all the same. What Kubernetes and Docker make of the name of
a service called `stats-gateway` is passed over, `STATS_GATEWAY_PORT=tcp://…` too.

*Statistics* means that a setting changes nothing with `profile = "generic"`, which has no tenants, no families of
questions, and judges neither blocks nor credentials; the doctor notes one that is set there. *Generic* is the
default with that profile.
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
    """The whole page."""
    lines, last = [HEAD], ""
    for heading, name in groups():
        if heading != last:
            lines += [f"\n## {heading}\n", "| setting | value | default | what it is |", "|---|---|---|---|"]
            last = heading
        field = Settings.model_fields[name]
        described = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {kind(field)} | {default(field.default)} | {described}{by_profile(name)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") != page():
            sys.exit(f"{PAGE.name} is not what the settings say; run: make reference")
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
