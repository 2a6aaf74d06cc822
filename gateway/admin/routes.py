"""The admin listener's routes, made of the operations.

Reading: what an OpenAPI document describes, as a page for people: no script, and no request anywhere. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from html import escape
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route

from gateway.admin.auth import NOBODY, Guard
from gateway.admin.operations import Operation, document, endpoint, is_guess, refused, write_audit
from gateway.admin.sessions import Entrance
from gateway.errors import GatewayError, MethodNotAllowed, NotFound, row_of

CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; background: Canvas; color: CanvasText; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
details { border-bottom: 1px solid #8884; padding: .4rem 0; }
summary { cursor: pointer; display: grid; grid-template-columns: 5.5rem 5fr 3fr; gap: 0 1rem; }
summary b::before { content: "▸ "; } [open] > summary b::before { content: "▾ "; }
details[open] > summary { margin-bottom: .5rem; }
table { border-collapse: collapse; margin: 0 0 1rem 1.5rem; }
caption, th { text-align: left; font-weight: 600; }
th, td { padding: .1rem 1rem .1rem 0; vertical-align: top; } td { overflow-wrap: anywhere; }
@media (max-width: 45rem) {
  summary { grid-template-columns: 5.5rem 1fr; } summary span { grid-column: 1 / -1; } table { margin-left: 0; }
}
"""


def page(described: dict[str, Any], back: str = "") -> str:
    """The page: ``back`` (HTML), then every operation in a line, which opens to what it takes and answers."""
    info, components = described["info"], described["components"]
    operations = "".join(
        _operation(method, path, operation, components.get("schemas", {}))
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    schemes = [
        f"<li>{_scheme(components['securitySchemes'][name])}</li>"
        for each in described.get("security", ())
        for name in each
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style>{back}<main>'
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info['description'])}</p><h2>Authorisation</h2><ul>{''.join(schemes)}</ul>"
        f"<h2>Operations</h2>{operations}"
        '<p>For programs: <a href="openapi.json">openapi.json</a></p></main></html>'
    )


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    parameters = [
        (each["name"], each["in"], _kind(each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", ())
    ]
    answers = [(status, each["description"]) for status, each in operation["responses"].items()]
    name = _body_of(operation)
    body = list(_fields(name, schemas)) if name else []
    about = f"<p>{escape(' '.join(schemas[name]['description'].split()))}</p>" if name else ""
    return (
        f"<details><summary><code><b>{escape(method.upper())}</b></code><code>{escape(path)}</code>"
        f"<span>{escape(operation['summary'])}</span></summary>"
        f"{_table('Parameters', parameters)}{about}{_table('Body, as JSON', body)}{_table('Answers', answers)}"
        "</details>"
    )


def _table(caption: str, rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code></td>{''.join(f'<td>{escape(each)}</td>' for each in rest)}</tr>"
        for name, *rest in rows
    )
    return f"<table><caption>{caption}</caption>{lines}</table>"


def _scheme(scheme: dict[str, Any]) -> str:
    if scheme["type"] == "apiKey":
        return f"<code>{escape(scheme['name'])}: …</code>"
    note = scheme.get("description", "")
    return f"<code>Authorization: {escape(scheme['scheme'].title())} …</code> {escape(note)}"


def _body_of(operation: dict[str, Any]) -> str | None:
    """The name of the schema of its body."""
    body = operation.get("requestBody")
    return None if body is None else _named(body["content"]["application/json"]["schema"])


def _named(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _fields(name: str, schemas: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """A schema's fields, those of schemas within it too: name, kind, and whether it must be there."""
    schema = schemas[name]
    for field, kind in schema["properties"].items():
        if "$ref" in kind:
            yield from _fields(_named(kind), schemas, f"{prefix}{field}.")
        else:
            yield f"{prefix}{field}", _kind(kind), _need(kind, needed=field in schema["required"])


def _need(kind: dict[str, Any], *, needed: bool) -> str:
    if kind.get("default") is not None:
        return f"{json.dumps(kind['default'])} unless told"
    return "needed" if needed else ""


def _kind(schema: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    match schema.get("type"):
        case "array":
            return f"list of {_kind(schema['items'])}"
        case "object" if "additionalProperties" in schema:
            return f"object of {_kind(schema['additionalProperties'])}"
    bounds = [
        f"{word} {schema[name]:,.15g}" for name, word in (
            ("minimum", "from"), ("exclusiveMinimum", "over"), ("maximum", "to"), ("maxLength", "of a length to"),
        ) if name in schema
    ]  # fmt: skip
    return " ".join([schema.get("format") or schema.get("type", "anything"), *bounds])


Routed = TypeVar("Routed", bound=Starlette)
Endpoint = Callable[[Request], Awaitable[Response]]
Misplaced = Callable[[Request, GatewayError], Response]
DESCRIPTION = (
    "Tenants, keys and limits, usage, purges, the queue, the gate: with an admin token as Authorization: Bearer. "
    "Every change is written to the log."
)
BACK = '<nav><a href="/">← Console</a></nav>'


def routes(entrance: Entrance, operations: Sequence[Operation], version: str) -> list[Route]:
    """All of the API's, its description and the page for people."""
    guard = entrance.guard
    described = document("stats-gateway administration", version, DESCRIPTION, operations)
    html = page(described, BACK)

    async def told(_: Request) -> Response:
        return JSONResponse(described)

    async def shown(_: Request) -> Response:
        return HTMLResponse(html, headers={"content-security-policy": CSP})

    by_path: dict[str, dict[str, Endpoint]] = {}
    for each in operations:
        by_path.setdefault(each.path, {})[each.method] = endpoint(each, entrance)
    return [
        *(Route(path, _by_method(methods), methods=list(methods)) for path, methods in by_path.items()),
        Route("/openapi.json", guarded(guard, told)),
        Route("/docs", guarded(guard, shown)),
    ]


def scraped(entrance: Entrance, render: Callable[[bool], bytes], kind: str, *, public: bool) -> Endpoint:
    """The metrics, as ``render`` writes them: it is told whether to name tenants. They are named to whoever shows
    an admin token or is signed in, to all where they are ``public``, and where there is no token to show."""

    async def answer(request: Request) -> Response:
        try:
            entrance.guard.check_host(request.headers.raw)
            named = public or not entrance.guard.enabled or await entrance.knows(request)
        except GatewayError as error:
            if is_guess(error):
                about = {"address": entrance.visitors.address(request)}
                write_audit(NOBODY, "GET /metrics", about, row_of(error).status)
            return refused(error)
        return Response(render(named), headers={"content-type": kind})

    return answer


def guarded(guard: Guard, answer: Endpoint) -> Endpoint:
    """Without a token, but only under a Host that is ours."""

    async def checked(request: Request) -> Response:
        try:
            guard.check_host(request.headers.raw)
        except GatewayError as error:
            return refused(error)
        return await answer(request)

    return checked


def exactly(app: Routed, docs: str, answer: Misplaced = lambda _, error: refused(error)) -> Routed:
    """The app, whose router refuses what it does not know by ``answer``, in the service's shape unless told, with
    a hint to ``docs``.

    It never redirects to a path with or without a slash at its end: that would repeat the request's Host.
    """

    async def out_of_place(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            return answer(request, MethodNotAllowed("This method is not served here", allow=allowed(app, request)))
        return answer(request, NotFound(f"There is nothing here; see {docs}"))

    for status in (404, 405):
        app.add_exception_handler(status, out_of_place)
    app.router.redirect_slashes = False
    return app


def allowed(app: Starlette, request: Request) -> bytes:
    """The methods that are served at a request's path, by whichever routes (RFC 9110 §10.2.1)."""
    here = [
        each for each in app.routes if isinstance(each, Route) and each.matches(request.scope)[0] is Match.PARTIAL
    ]
    return ", ".join(sorted({method for each in here for method in each.methods or ()})).encode()


def _by_method(methods: dict[str, Endpoint]) -> Endpoint:
    async def answer(request: Request) -> Response:
        # Starlette lets HEAD in wherever GET is.
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer
