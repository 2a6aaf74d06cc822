"""The first page: the whole fleet at a glance."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from gateway.console.web.web import Visit, Web


def routes(web: Web) -> list[Route]:
    """Its one."""

    async def overview(visit: Visit) -> Response:
        return web.render(visit, "overview.html")

    return [Route("/", web.page(overview), methods=["GET"])]
