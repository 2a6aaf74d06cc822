"""The public listener's description (OpenAPI 3.1): the service's known families as the gateway answers. Pure."""

from __future__ import annotations

from typing import Any

from gateway.catalogue.endpoints import COUNTERS, GRANULARITIES, ITEMS

TEXT = (
    "A caching gateway in front of the figshare statistics service. Paths, parameters and answers are the "
    "service's own; in a password's place goes a gateway key."
)
DAY = {"type": "string", "format": "date"}
ERROR = {
    "type": "object",
    "required": ["message", "code", "data"],
    "properties": {"message": {"type": "string"}, "code": {"type": "string"}, "data": {}},
}
GROUP = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
GROUPS = {
    "type": "object",
    "description": "The groups whose articles are to be counted.",
    "required": ["groups"],
    "properties": {"groups": {"type": "array", "items": GROUP}},
}
REFUSALS = {
    "400": "what was sent cannot be used, by the gateway or by the service",
    "401": "no key, or one that is unknown or no longer valid",
    "403": "another institution's numbers, or a credential that the service refuses",
    "404": "the service knows nothing of it",
    "405": "a method that is not served",
    "414": "a target that is too long",
    "429": "more requests than the limit allows; Retry-After says when the next may come",
    "502": "the service gave no usable answer",
    "503": "no answer in time, or nothing is asked now; Retry-After says when to return",
    "504": "the service took too long, or only what is stored was asked for and nothing is",
}


def description(version: str) -> dict[str, Any]:
    """The document: each family outside institutions and inside, what is asked by POST, and the two of health."""
    paths: dict[str, Any] = {}
    for family, (path, parameters, summary) in _families().items():
        for inside in (False, True):
            place = [_in_path("institution")] if inside else []
            paths["/{institution}" + path if inside else path] = {
                "get": _operation(f"{family}{'_inside' if inside else ''}", summary, [*place, *parameters])
            }
    paths["/count/articles"] = {"post": _count()}
    for name, summary in (("live", "Whether the process lives"), ("ready", "Whether it takes requests")):
        answers = {"200": {"description": "yes"}, "503": {"description": "no"}}
        paths[f"/-/health/{name}"] = {
            "get": {"operationId": name, "summary": summary, "security": [], "responses": answers}
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "stats-gateway", "version": version, "description": TEXT},
        "security": [{"key": []}, {"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR, "Groups": GROUPS},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "any username; the key as password"},
            },
        },
    }


def _count() -> dict[str, Any]:
    """The one question that is asked by POST."""
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Groups"}}}}
    return _operation("count", "How many articles each of some groups has", []) | {"requestBody": body}


def _families() -> dict[str, tuple[str, list[dict[str, Any]], str]]:
    counter, item, item_id = _in_path("counter", COUNTERS), _in_path("item", ITEMS), _in_path("item_id")
    granularity = _in_path("granularity", GRANULARITIES)
    window = [_in_query("start_date", DAY), _in_query("end_date", DAY)]
    sub_items = [_in_query("sub_item"), _in_query("sub_item_id")]
    count = _in_query("count", {"type": "integer", "minimum": 1})
    return {
        "totals": (
            "/total/{counter}/{item}/{item_id}",
            [counter, item, item_id],
            "All of an item's time, one number",
        ),
        "overview": (
            "/total/{item}/{item_id}",
            [item, item_id],
            "All of an item's time, all counters",
        ),
        "timeline": (
            "/timeline/{granularity}/{counter}/{item}/{item_id}",
            [granularity, counter, item, item_id, *window, *sub_items],
            "An item's numbers by day, month or year",
        ),
        "breakdown": (
            "/breakdown/{granularity}/{counter}/{item}/{item_id}",
            [granularity, counter, item, item_id, *window, *sub_items],
            "An item's numbers by country and city",
        ),
        "tops": (
            "/top/{counter}/{item}",
            [counter, item, _in_query("item_id"), count, *window, *sub_items],
            "The items with the largest numbers",
        ),
    }


def _operation(name: str, summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {status: {"description": text, "content": body} for status, text in REFUSALS.items()}
    answers = {"200": {"description": "the service's answer", "content": {"application/json": {"schema": {}}}}}
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": answers | refusals}


def _in_path(name: str, values: frozenset[str] | None = None) -> dict[str, Any]:
    schema = {"type": "string"} if values is None else {"type": "string", "enum": sorted(values)}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(name: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema or {"type": "string"}}
