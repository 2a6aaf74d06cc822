"""The page of the chart's values, made from its schema and their defaults.

``python -m tests.helm.values_page`` writes it beside the chart (``make chart`` does); a test holds it to that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.helm.settings_schema import CHART, SCHEMA

PAGE = CHART / "VALUES.md"
HEAD = """\
# The chart's values

Made from [`values.schema.json`](values.schema.json) and [`values.yaml`](values.yaml) by `make chart`; a test
holds it to that. `values.yaml` says more of those that need it. What `settings` may hold is in
[Configuration](../../docs/configuration.md).

| value | kind | default | what it is |
|---|---|---|---|
"""
KINDS = {
    "string": "text", "integer": "whole number", "boolean": "true, false", "object": "table", "array": "list",
    "null": "null",
}  # fmt: skip


def page() -> str:
    """The whole page."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return HEAD + "".join(f"{row}\n" for row in rows(json.loads(SCHEMA.read_text()), defaults))


def rows(schema: dict[str, Any], defaults: dict[str, Any], path: str = "") -> Iterator[str]:
    """A row for each value, and for each group of them before it."""
    for name, each in schema["properties"].items():
        place, about = f"{path}{name}", each["description"].replace("|", "\\|")
        if name not in defaults:
            continue
        if "properties" in each and place != "settings":
            yield f"| **`{place}`** | | | **{about}** |"
            yield from rows(each, defaults[name], f"{place}.")
        else:
            default = json.dumps(defaults[name], ensure_ascii=False)
            yield f"| `{place}` | {_kind(each)} | `{default}` | {about} |"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(KINDS[each] for each in kinds)


if __name__ == "__main__":
    PAGE.write_text(page())
