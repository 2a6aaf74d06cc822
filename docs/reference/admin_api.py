"""The page of the admin API, ``admin-api.md``, from its OpenAPI document and the operations that make it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import SecretStr

from gateway import __version__
from gateway.admin.operations import Operation, openapi
from gateway.app import Composition
from gateway.redis import Clock
from gateway.settings import Settings

HEAD = """\
# Admin API reference

Made from the operations of the admin API by `make reference`; a test compares the two. A running gateway serves
the same as a page (`/docs`) and as an OpenAPI document (`/openapi.json`) on its admin listener, by default
`http://127.0.0.1:8081`.

```sh
curl -H "Authorization: Bearer $STATS_GATEWAY_ADMIN_TOKEN" http://127.0.0.1:8081/api/overview
```

A read-only token may use the operations marked *read*. Those marked *change* need a read-write token. Those
marked *audited* write a line to the audit log. A body is JSON; an unknown field or parameter is refused with
400. Errors have `message`, `code` and `data`, and [Error codes](errors.md) explains each code.
"""


def operations() -> list[Operation]:
    """The operations of a gateway with an empty registry."""
    with TemporaryDirectory() as folder:
        place = SecretStr(str(Path(folder) / "tenants.toml"))
        return [*Composition(Settings(registry=place), Clock()).operations()]


def kind(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in words."""
    if "$ref" in schema:
        return "`" + schema["$ref"].rpartition("/")[2] + "`"
    if options := schema.get("anyOf"):
        return " or ".join(kind(each) for each in options)
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    bounds = [f"{sign} {schema[name]}" for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in schema]
    return " ".join([schema.get("format") or schema.get("type") or "any", *bounds])


def table(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """The fields of a body."""
    yield f"\n### {name}\n"
    yield "| field | value | required |\n|---|---|---|"
    needed = schema.get("required", ())
    for field, each in schema.get("properties", {}).items():
        default = f", default `{each['default']}`" if each.get("default") not in (None, "", [], {}) else ""
        yield f"| `{field}` | {kind(each)}{default} | {'yes' if field in needed else 'no'} |"


def described(each: Operation) -> Iterator[str]:
    """The section of one operation."""
    audited = ", audited" if each.acts else ""
    yield f"\n### {each.method} {each.path}\n"
    yield f"{each.summary.rstrip('.')}. *{'change' if each.changes else 'read'}{audited}*; answers {each.status}."
    if each.body is not None:
        yield f"\nBody: [`{each.body.__name__}`](#{each.body.__name__.lower()})."
    if each.query:
        yield "\n| parameter | meaning |\n|---|---|"
        yield from (
            f"| `{name}` | {one.text}{f' ({one.format})' if one.format else ''} |"
            for name, one in each.query.items()
        )


def page() -> str:
    """The page."""
    found = operations()
    lines = [HEAD, "\n## Operations"]
    for each in found:
        lines += described(each)
    lines.append("\n## Bodies")
    for name, schema in sorted(openapi(__version__, found)["components"]["schemas"].items()):
        if schema.get("type") == "object" and "properties" in schema:
            lines += table(name, schema)
    return "\n".join(lines) + "\n"
