"""The first page: the whole fleet at a glance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.web import rendering
from gateway.console.web.glance import OUTCOMES, glance
from gateway.console.web.web import Visit, Web

FORMATS: dict[str, Callable[[Any], str]] = {
    "count": rendering.count,
    "rate": rendering.rate,
    "percent": rendering.percent,
    "seconds": rendering.seconds,
    "clock": rendering.clock,
    "word": str,
}


def routes(web: Web) -> list[Route]:
    """Its one."""

    async def overview(visit: Visit) -> Response:
        told = msgspec.to_builtins(await web.perform(visit, "GET", "/api/overview"), enc_hook=str)
        seen = glance(told)
        return web.render(visit, "overview.html", seen=seen, show=_shower(seen), outcomes=OUTCOMES)

    return [Route("/", web.page(overview), methods=["GET"])]


def _shower(seen: Mapping[str, Any]) -> Callable[[str, str], Markup]:
    """Shows a value by its path, in a place where the page's script will find it and put the next one."""

    def show(path: str, form: str) -> Markup:
        value: Any = seen
        for name in path.split("."):
            value = None if value is None else value[name]
        text = rendering.NOTHING if value is None else FORMATS[form](value)
        return Markup('<span data-show="{}" data-as="{}">{}</span>').format(path, form, text)

    return show
