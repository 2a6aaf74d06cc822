"""The Explore page: a question put together by hand, its answer as a figure, and how it was served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.catalogue.endpoints import recognise
from gateway.catalogue.query import Family, Query
from gateway.catalogue.target import parted, pasted_target
from gateway.console.explore import Exploration, curl_line
from gateway.console.web import served
from gateway.console.web.asking import (
    COUNTERS,
    FAMILIES,
    GRANULARITIES,
    ITEMS,
    SUB_ITEMS,
    WINDOWS,
    Fields,
    fields_for,
    fields_of,
    question_of,
    target_of,
    window_of,
)
from gateway.console.web.figures import EVERY, figure_of
from gateway.console.web.web import Visit, Web
from gateway.errors import BadTarget, GatewayError

MOST_TENANTS = 200
"""Tenants to choose from; where there are more, their id is typed."""
MOST_TEXT = 200_000
"""Characters of an answer that a page shows; the API tells the rest."""
CHOICES = {
    "families": FAMILIES,
    "counters": COUNTERS,
    "items": ITEMS,
    "granularities": GRANULARITIES,
    "windows": WINDOWS,
    "sub_items": SUB_ITEMS,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a URL of the page asks: as whose request, by which fields, hence which target (empty: nothing yet)."""

    tenant: str
    fields: Fields
    target: str = ""
    query: Query | None = None


def routes(web: Web) -> list[Route]:
    """The page."""

    async def explore(visit: Visit) -> Response:
        given, today = visit.request.query_params, datetime.now(UTC).date()
        offered = await tenants_of(web, visit)
        asked, values = Asked(*_first(given, offered)), {}
        error: GatewayError | None = None
        try:
            asked = _asked(given, asked, today)
            if asked.target:
                told: Exploration = await web.perform(visit, "GET", "/api/explore", query=_query(asked))
                values = _shown(told, asked, today, given.get("bucket", EVERY))
                values["curl"] = curl_line(web.public_url(visit.request) + told.path, keyed=bool(told.tenant))
        except GatewayError as raised:
            error = raised
        typed = given.get("path", "").strip() or asked.target
        frame = {"typed": typed, "asked": asked, "tenants": offered, "told": None, "span": served.span, **CHOICES}
        frame["tops"] = "/explore?" + urlencode(_place(asked) | {"family": "tops", "window": "none"})
        return web.render(visit, "explore.html", error=error, **(frame | values))

    return [Route("/explore", web.page(explore), methods=["GET"])]


async def tenants_of(web: Web, visit: Visit) -> list[dict[str, Any]] | None:
    """The tenants to choose from, by id; None where they are too many for a list."""
    found = await web.perform(visit, "GET", "/api/tenants", query={"limit": str(MOST_TENANTS)})
    return None if found["next"] else found["tenants"]


def _first(given: Mapping[str, str], tenants: list[dict[str, Any]] | None) -> tuple[str, Fields]:
    """As whose request and where, before anything was chosen: the first tenant's, where it holds a credential."""
    if given or not tenants:
        return given.get("tenant", "").strip(), fields_of(given)
    return tenants[0]["id"], Fields(institution=next(iter(tenants[0]["institutions"]), ""))


def _asked(given: Mapping[str, str], first: Asked, today: date) -> Asked:
    """Raises InvalidInput for what asks nothing."""
    if text := given.get("path", "").strip():
        target = pasted_target(text).decode()
        query = _recognised(target)
        fields = first.fields if query is None else fields_for(query, target)
        return Asked(first.tenant, fields, target, query)
    if "family" not in given:
        return first
    target = target_of(first.fields, today)
    return Asked(first.tenant, first.fields, target, _recognised(target))


def _recognised(target: str) -> Query | None:
    """None for a malformed target, which the gateway is to refuse."""
    try:
        return recognise(*parted(target.encode()))
    except BadTarget:
        return None


def _query(asked: Asked) -> dict[str, str]:
    return {"path": asked.target} | ({"tenant": asked.tenant} if asked.tenant else {})


def _shown(told: Exploration, asked: Asked, today: date, chosen: str) -> dict[str, Any]:
    """What the page says of an answer."""
    content = _content(told)
    bare = asked.query is not None and asked.query.family in (Family.TOPS, Family.OVERVIEW)
    window = None if asked.query is None else window_of(asked.query, asked.target, today)
    good = 200 <= told.status < 300
    pretty = told.body if told.json is None else msgspec.json.format(told.body, indent=2)
    return {
        "told": told,
        "question": "" if asked.query is None else question_of(asked.query, asked.target),
        "figure": figure_of(content, bare=bare, window=window, chosen=chosen) if good else None,
        "message": None if good else _message(content),
        "how": served.told(told.outcome, told.detail, told.cache_status),
        "age": served.age_of(told.headers),
        "left": served.left_of(told.headers),
        "raw": told.body[:MOST_TEXT],
        "pretty": pretty[:MOST_TEXT],
        "cut": len(pretty) > MOST_TEXT,
        "whole": "/api/explore?" + urlencode(_query(asked)),
        "in_cache": "/cache?" + urlencode(_query(asked)),
        "one": _one(asked),
    }


def _place(asked: Asked) -> dict[str, str]:
    return {"tenant": asked.tenant, "institution": asked.fields.institution}


def _one(asked: Asked) -> str:
    """Of a list of top items, the page about one of them, but for its id; empty of any other answer."""
    query, fields = asked.query, asked.fields
    if query is None or query.family is not Family.TOPS or fields.sub_item or fields.item_id:
        return ""
    chosen = {"family": "timeline", "counter": fields.counter, "item": fields.item}
    return "/explore?" + urlencode(_place(asked) | chosen | {"window": "last-12-months", "item_id": ""})


def _content(told: Exploration) -> Any:
    return None if told.json is None else msgspec.json.decode(told.json)


def _message(content: Any) -> str:
    """The message of an error in the service's shape."""
    message = content.get("message") if isinstance(content, dict) else None
    return message if isinstance(message, str) and message else "It says nothing that could be read."
