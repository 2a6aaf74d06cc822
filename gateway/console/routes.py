"""The admin listener's routes, made of the operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route

from gateway.console.entrance import Entrance
from gateway.console.guard import NOBODY, Guard
from gateway.console.openapi import document
from gateway.console.operations import Operation, endpoint, is_guess, refused, write_audit
from gateway.console.reading import CSP, page
from gateway.errors import GatewayError, MethodNotAllowed, NotFound, row_of

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
