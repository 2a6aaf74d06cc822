"""The part of the chart's schema that is about the gateway's settings, made from the settings themselves.

``python -m tests.helm.settings_schema`` writes it into the chart (``make chart`` does); a test holds it to that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.settings import Settings

CHART = Path(__file__).parents[2] / "helm" / "stats-gateway"
SCHEMA = CHART / "values.schema.json"
OWNED = {
    *("host", "port", "admin_host", "admin_port", "upstream"),
    *("admin_token", "encryption_keys", "redis_url", "redis_sentinel_password", "registry"),
}
"""What the chart sets itself, from other values."""
KEPT = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern")
WORD = {"type": "string", "pattern": r"^[^,\s]+$"}
"""In a list that is a setting itself, and becomes a variable with commas between."""
VALUE = {"type": ["string", "integer"]}
"""In a list within a table, which becomes JSON."""
TEXTS = {"budget": r"^([0-9]+(\.[0-9]+)?/(s|m|h)|unlimited)$"}
"""Patterns that the settings check in code."""
WIDTH = 110


def settings_schema() -> dict[str, Any]:
    """The schema of the value ``settings``: each setting by its name, with its type, bounds and description."""
    document = Settings.model_json_schema()
    properties = {
        name: {"description": field["description"], **_shape(field, document.get("$defs", {})), **_text(name)}
        for name, field in document["properties"].items()
        if name not in OWNED
    }
    return {
        "description": "The gateway's settings, by name; a change rolls the pods.",
        "type": "object",
        "additionalProperties": False,
        "properties": dict(sorted(properties.items())),
    }


def _shape(field: dict[str, Any], named: dict[str, Any], items: dict[str, Any] = WORD) -> dict[str, Any]:
    if "$ref" in field:
        return _shape(named[field["$ref"].rpartition("/")[2]], named, items)
    shape: dict[str, Any] = {name: field[name] for name in KEPT if name in field}
    if field["type"] == "array":
        return {"type": "array", "items": items}
    if field["type"] == "object":
        if "properties" in field:
            shape["properties"] = {name: _shape(each, named, VALUE) for name, each in field["properties"].items()}
            shape["required"] = field.get("required", [])
        below = field.get("additionalProperties", False)
        shape["additionalProperties"] = _shape(below, named, VALUE) if isinstance(below, dict) else False
    return shape


def _text(name: str) -> dict[str, str]:
    return {"pattern": TEXTS[name]} if name in TEXTS else {}


def written(value: Any, indent: str = "") -> str:
    """JSON in which whatever fits on a line is on one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict) or len(indent + line) <= WIDTH:
        return line
    inner = indent + "  "
    items = (f"{inner}{json.dumps(name)}: {written(each, inner)}" for name, each in value.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def write() -> None:
    """Puts it into the chart."""
    schema = json.loads(SCHEMA.read_text())
    schema["properties"]["settings"] = settings_schema()
    SCHEMA.write_text(written(schema) + "\n")


if __name__ == "__main__":
    write()
