"""The admin API's description, made of its operations (OpenAPI 3.1), and a page for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import msgspec

from gateway.console.operations import Operation

ERROR = {
    "type": "object",
    "required": ["message", "code", "data"],
    "properties": {"message": {"type": "string"}, "code": {"type": "string"}, "data": {}},
}
ERRORS = {
    "400": "what was sent cannot be used",
    "401": "no admin token, or an unknown one",
    "403": "a token that may only read, or a Host that is not this listener's",
    "404": "no such thing",
    "409": "it exists already, or the registry is read-only",
    "413": "a body over 64 KiB",
    "503": "the API has no token, or Redis does not answer",
}
CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
background: Canvas; color: CanvasText; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .8rem .3rem 0;
border-bottom: 1px solid #8884; vertical-align: top; }
code { font-size: .9em; overflow-wrap: anywhere; } :root { color-scheme: light dark; }
"""


def document(title: str, version: str, description: str, operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    bodies = [each.body for each in operations if each.body is not None]
    _, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def page(described: dict[str, Any]) -> str:
    """A page that lists what a document describes."""
    rows = "".join(
        f"<tr><td><code>{escape(method.upper())}</code></td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation['summary'])}{_noted(operation)}</td></tr>"
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    info = described["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<main><h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"
        f"<table><thead><tr><th>Method<th>Path<th>What it does</tr></thead><tbody>{rows}</tbody></table>"
        '<p>For programs: <a href="openapi.json">openapi.json</a></p></main></html>'
    )


def _noted(operation: dict[str, Any]) -> str:
    names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    return f"<br><small>{escape(', '.join('?' + name for name in names))}</small>" if names else ""


def _described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.handler.__qualname__.replace("Api.", "_").lower(),
        "responses": _responses(operation),
    }
    in_path = [_parameter(name, "path") for name in operation.path_parameters]
    parameters = in_path + [_parameter(name, "query", *each) for name, each in operation.query.items()]
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _responses(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "done"}
    if operation.status != 204:
        good["content"] = {"application/json": {"schema": {"type": "object"}}}
    wrong = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {status: {"description": text, "content": wrong} for status, text in ERRORS.items()}
    return {str(operation.status): good, **errors}


def _parameter(name: str, place: str, text: str = "", form: str | None = None) -> dict[str, Any]:
    schema = {"type": "string"} if form is None else {"type": "string", "format": form}
    found: dict[str, Any] = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return found | ({"description": text} if text else {})
