"""Assets: the console's own styles, scripts and pictures, out of the package."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.guard import Guard
from gateway.console.routes import guarded
from gateway.console.web.web import HEADERS

KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def routes(guard: Guard) -> list[Route]:
    """One for each file: there is no path to leave the folder by. They tell nothing, so anybody may read them."""
    folder = files("gateway.console.web") / "static"
    found = {each.name: each.read_bytes() for each in folder.iterdir()}
    return [
        Route(f"/static/{name}", guarded(guard, _Asset(content, KINDS[name[name.rindex(".") :]])))
        for name, content in found.items()
        if name[name.rindex(".") :] in KINDS
    ]


class _Asset:
    """One file, which browsers keep, and ask for with its tag each time, so that an upgrade is seen at once."""

    def __init__(self, content: bytes, kind: str) -> None:
        self._content = content
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = HEADERS | {"content-type": kind, "cache-control": "no-cache", "etag": tag}

    async def __call__(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self._headers["etag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
