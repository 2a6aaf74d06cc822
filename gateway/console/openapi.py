"""The admin API's description, made of its operations (OpenAPI 3.1). Pure."""

from __future__ import annotations

from collections.abc import Sequence
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
