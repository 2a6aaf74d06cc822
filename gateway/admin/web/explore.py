"""The Explore page: a query put together by hand, its answer as a chart, and how it was served."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.explain import Exploration, curl_line
from gateway.admin.web.charts import EVERY, Window, chart_of
from gateway.admin.web.format import span
from gateway.admin.web.pages import PageRequest, Web
from gateway.catalogue.endpoints import COUNTERS, GRANULARITIES, ITEMS, recognise, why_unknown
from gateway.catalogue.families import Family
from gateway.catalogue.query import Query
from gateway.catalogue.target import parted, pasted_target
from gateway.errors import BadTarget, GatewayError, InvalidInput
from gateway.observe.outcome import Outcome

MOST_TENANTS = 200
"""Tenants to choose from; where there are more, their id is typed."""
MOST_TEXT = 200_000
"""Characters of an answer that a page shows; the API has the rest."""
FAMILIES = {family.value: family.form.label for family in Family if family.form.label}
SUB_ITEMS = {"": "everything", "category": "category", "item_type": "item type", "referral": "referral"}
PLURALS = {"category": "categories", "item_type": "item types", "referral": "referrals"}
WINDOWS = {
    "last-12-months": "Last 12 months",
    "this-month": "This month",
    "last-month": "Last month",
    "last-year": "Last year",
    "dates": "From … to …",
    "none": "The service's own",
}
"""Choices of a window. The service's own is the month so far, of tops without a sub-item all time."""
CHOICES = {
    "family": FAMILIES,
    "counter": COUNTERS,
    "item": ITEMS,
    "granularity": GRANULARITIES,
    "window": WINDOWS,
    "sub_item": SUB_ITEMS,
}
STEPS = {"day": "by day", "month": "by month", "year": "by year", "total": "in all"}


@dataclass(frozen=True, slots=True)
class Fields:
    """The query form's fields; each has a value that the form could have sent."""

    institution: str = ""
    family: str = "timeline"
    counter: str = "views"
    item: str = "article"
    item_id: str = ""
    granularity: str = "month"
    window: str = "last-12-months"
    start: str = ""
    end: str = ""
    sub_item: str = ""
    sub_item_id: str = ""
    count: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A URL of the page, read: the tenant, the form's fields, and the target that they make (empty: none yet)."""

    tenant: str
    fields: Fields
    target: str = ""
    query: Query | None = None


def routes(web: Web) -> list[Route]:

    async def explore(request: PageRequest) -> Response:
        given, today = request.http.query_params, datetime.now(UTC).date()
        offered = await tenants_of(web, request)
        asked, values = Asked(*_first(given, offered)), {}
        error: GatewayError | None = None
        try:
            asked = _asked(given, asked, today)
            if asked.target:
                answer: Exploration = await web.perform(request, "GET", "/api/explore", query=_query(asked))
                values = _shown(answer, asked, today, given.get("bucket", EVERY))
                values["curl"] = curl_line(web.public_url(request.http) + answer.path, keyed=bool(answer.tenant))
        except GatewayError as raised:
            error = raised
        typed = given.get("path", "").strip() or asked.target
        frame: dict[str, Any] = {"typed": typed, "asked": asked, "tenants": offered, "answer": None}
        tops = "/explore?" + urlencode(_place(asked) | {"family": "tops", "window": "none"})
        return web.render(request, "explore.html", error=error, tops=tops, **(HELPERS | frame | values))

    return [Route("/explore", web.page(explore), methods=["GET"])]


async def tenants_of(web: Web, request: PageRequest) -> list[dict[str, Any]] | None:
    """The tenants to choose from, by id; None where they are too many for a list."""
    found = await web.perform(request, "GET", "/api/tenants", query={"limit": str(MOST_TENANTS)})
    return None if found["next"] else found["tenants"]


def _first(given: Mapping[str, str], tenants: list[dict[str, Any]] | None) -> tuple[str, Fields]:
    """The tenant and fields to begin with: the first tenant, and an institution that it has a credential for."""
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


def _shown(answer: Exploration, asked: Asked, today: date, chosen: str) -> dict[str, Any]:
    content = None if answer.json is None else msgspec.json.decode(answer.json)
    bare = asked.query is not None and asked.query.family in (Family.TOPS, Family.OVERVIEW)
    window = None if asked.query is None else window_of(asked.query, asked.target, today)
    good = 200 <= answer.status < 300
    pretty = answer.body if answer.json is None else msgspec.json.format(answer.body, indent=2)
    return {
        "answer": answer,
        "question": "" if asked.query is None else question_of(asked.query, asked.target),
        "chart": chart_of(content, bare=bare, window=window, chosen=chosen) if good else None,
        "message": None if good else _message(content),
        "how": describe_outcome(answer.outcome, answer.detail, answer.cache_status),
        "age": age_of(answer.headers),
        "left": left_of(answer.headers),
        "raw": answer.body[:MOST_TEXT],
        "pretty": pretty[:MOST_TEXT],
        "cut": len(pretty) > MOST_TEXT,
        "whole": "/api/explore?" + urlencode(_query(asked)),
        "in_cache": "/cache?" + urlencode(_query(asked)),
        "one": _one(asked),
    }


def _place(asked: Asked) -> dict[str, str]:
    return {"tenant": asked.tenant, "institution": asked.fields.institution}


def _one(asked: Asked) -> str:
    """For a list of top items, the URL of the page about one of them, but for its id; else empty."""
    query, fields = asked.query, asked.fields
    if query is None or query.family is not Family.TOPS or fields.sub_item or fields.item_id:
        return ""
    chosen = {"family": "timeline", "counter": fields.counter, "item": fields.item}
    return "/explore?" + urlencode(_place(asked) | chosen | {"window": "last-12-months", "item_id": ""})


def _message(content: Any) -> str:
    """An error's message, in the service's shape."""
    message = content.get("message") if isinstance(content, dict) else None
    return message if isinstance(message, str) and message else "It says nothing that could be read."


# The query form: fields to a target, and back


def fields_of(given: Mapping[str, str]) -> Fields:
    """The fields that a form sent; what it could not have sent has its default."""
    default = Fields()
    found = {name: given[name].strip() for name in Fields.__dataclass_fields__ if name in given}
    wrong = [name for name, choices in CHOICES.items() if name in found and found[name] not in choices]
    return replace(default, **{name: value for name, value in found.items() if name not in wrong})


def fields_for(query: Query, target: str) -> Fields:
    """The fields that would make a recognised query; for an unknown one the defaults, in its institution."""
    place = Fields(institution=query.institution or "")
    if query.family is Family.UNKNOWN:
        return place
    given = dict(_parameters(target))
    start, end = given.get("start_date", ""), given.get("end_date", "")
    return replace(
        place,
        family=query.family.value,
        counter=query.counter or place.counter,
        item=query.item or place.item,
        item_id=query.item_id or "",
        granularity=query.granularity or place.granularity,
        window="dates" if start or end else "none",
        start=start,
        end=end,
        sub_item=given.get("sub_item", ""),
        sub_item_id=given.get("sub_item_id", ""),
        count=given.get("count", ""),
    )


def target_of(fields: Fields, today: date) -> str:
    """The fields' request target; the service validates it. Raises InvalidInput for fields that make none."""
    form = Family(fields.family).form
    if not fields.item_id and "item_id" in form.fields:
        raise InvalidInput(f"Which {fields.item}? Give its id")
    given = asdict(fields) | _dates(fields, today)
    if not fields.sub_item:
        given["sub_item_id"] = ""
    path = [fields.institution] if fields.institution else []
    path += [given[segment.strip("{}")] if segment.startswith("{") else segment for segment in form.segments]
    query = urlencode({name: given[name] for name in form.parameters if given.get(name)})
    quoted = "/".join([quote(segment, safe="~!$&'()*+,;=:@") for segment in path])
    return f"/{quoted}?{query}" if query else f"/{quoted}"


def families_with(field: str) -> str:
    """The families whose questions have this field, as words."""
    return " ".join([name for name in FAMILIES if Family(name).form.has(field)])


HELPERS: dict[str, Any] = {"choices": CHOICES, "having": families_with, "span": span}
"""What the page's template uses."""


def window_of(query: Query, target: str, today: date) -> Window | None:
    """The days of a timeline's answer, up to today; None for another family."""
    if query.family is not Family.TIMELINE:
        return None
    given = dict(_parameters(target))
    start = _day(given.get("start_date")) or today.replace(day=1)
    return Window(start, min(_day(given.get("end_date")) or today, today))


def question_of(query: Query, target: str) -> str:
    """A query in words."""
    if query.family is Family.UNKNOWN:
        return f"A request that the gateway does not recognise: {why_unknown(query)}"
    given = dict(_parameters(target))
    item = f"{query.item} {query.item_id}" if query.item_id else f"every {query.item}"
    counted = f"{(query.counter or 'everything').capitalize()} of {item}"
    if query.family is Family.TOPS:
        counted = f"Top {PLURALS.get(given.get('sub_item', ''), f'{query.item}s')} by {query.counter}"
        counted += f", of {query.item} {query.item_id}" if query.item_id else ""
    elif query.family is Family.BREAKDOWN:
        counted += " by place"
    counted += f" in {query.institution}" if query.institution else ""
    words = [counted, STEPS[query.granularity]] if query.granularity else [counted]
    if query.family is not Family.TOPS and given.get("sub_item"):
        words.append(f"{given['sub_item'].replace('_', ' ')} {given.get('sub_item_id', '')}")
    return ", ".join(words)


def _dates(fields: Fields, today: date) -> dict[str, str]:
    if fields.window == "dates":
        return {"start_date": fields.start, "end_date": fields.end}
    window = _chosen(fields.window, today)
    return {} if window is None else {"start_date": window.first.isoformat(), "end_date": window.last.isoformat()}


def _chosen(window: str, today: date) -> Window | None:
    month = today.replace(day=1)
    match window:
        case "this-month":
            return Window(month, today)
        case "last-month":
            last = month - timedelta(1)
            return Window(last.replace(day=1), last)
        case "last-12-months":
            return Window(earlier(month, 11), today)
        case "last-year":
            return Window(date(today.year - 1, 1, 1), date(today.year - 1, 12, 31))
    return None


def earlier(month: date, months: int) -> date:
    """The first of a month so many months before."""
    number = month.year * 12 + month.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def _parameters(target: str) -> list[tuple[str, str]]:
    return parse_qsl(target.partition("?")[2], keep_blank_values=True)


def _day(text: str | None) -> date | None:
    try:
        return None if text is None or len(text) != len("2030-01-31") else date.fromisoformat(text)
    except ValueError:
        return None


# How an answer was served, in words

WORDS = {
    Outcome.HIT: "From the cache, fresh",
    Outcome.STALE: "From the cache, stale",
    Outcome.MISS: "The service was asked",
    Outcome.COLLAPSED: "The service was asked once, for this and others who asked at the same time",
    Outcome.REVALIDATED: "The service was asked whether the stored answer still holds, and it does",
    Outcome.BYPASS: "Passed on, and not from the cache",
    Outcome.REFUSED: "Refused by the gateway",
    Outcome.FAILED: "No answer could be had",
}
DETAILS = {
    "refreshing": "being refreshed in the background",
    "max-stale": "which the client allowed",
    "unknown-endpoint": "the gateway does not recognise this request, and may not keep its answer",
    "GateClosed": "since the gate is closed, and the service is asked nothing",
    "TargetRefused": "since the service refused this very query a moment ago",
    "CallerPaused": "since the service refused several queries of this caller in a row",
    "SlowedDown": "since the service asked for fewer requests",
    "QueueFull": "since too many requests wait already",
    "DeadlineExceeded": "since the service could not be asked in time",
    "UpstreamTimeout": "since the service did not answer in time",
    "UpstreamDisconnected": "since the service broke off",
    "UpstreamUnreachable": "since the service cannot be reached",
    "CacheUnavailable": "since Redis does not answer",
}
_UPSTREAM = re.compile(r"upstream-([0-9]{3})")
_MAX_AGE = re.compile(r"(?:^|[ ,])max-age=([0-9]{1,12})(?![0-9])")
_TTL = re.compile(r"; ttl=(-?[0-9]{1,12})(?![0-9])")


def describe_outcome(outcome: Outcome, detail: str, cache_status: str) -> str:
    """A sentence on how an answer was served."""
    words = WORDS[outcome]
    if outcome in (Outcome.REFUSED, Outcome.FAILED):
        return f"{words}."
    if outcome in (Outcome.MISS, Outcome.COLLAPSED) and "; stored" in cache_status:
        return f"{words}, and its answer is kept."
    found = _UPSTREAM.fullmatch(detail)
    why = f"since the service answered {found[1]}" if found else DETAILS.get(detail, detail)
    return f"{words}, {why}." if why else f"{words}."


def age_of(headers: Mapping[str, str]) -> int | None:
    """Seconds since an answer was made, by its Age."""
    age = headers.get("age", "")
    return int(age) if age.isascii() and age.isdecimal() and len(age) <= 12 else None


def left_of(headers: Mapping[str, str]) -> int | None:
    """Seconds for which an answer stays fresh; negative once it is stale."""
    found = _TTL.search(headers.get("cache-status", ""))
    if found:
        return int(found[1])
    most, age = _MAX_AGE.search(headers.get("cache-control", "")), age_of(headers)
    return int(most[1]) - age if most and age is not None else None
