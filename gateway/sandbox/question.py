"""The sandbox's questions and answers: endpoints, checked parameters, windows, and errors (docs/service.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, date
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

JSON_TYPE = "application/json; charset=UTF-8"
HTML_TYPE = "text/html; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and what is said about it."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI wants them, length included."""
        named = {
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            **{name.lower(): value for name, value in self.headers.items()},
        }
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]


class Complaint(Exception):
    """The service's own refusal of a request: status, code, message and data."""

    def __init__(self, status: int, code: str, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.data = data

    def answer(self, headers: Mapping[str, str] | None = None) -> Answer:
        """The complaint as it goes over the wire; the order of its keys is the documented one."""
        body = {"data": self.data, "code": self.code, "message": self.message}
        return Answer(self.status, render(body), headers=headers or {})


def invalid(parameter: str, extra: str) -> Complaint:
    """400: a parameter's value is not one that the service supports."""
    data = {"extra": extra, "invalid_params": parameter}
    return Complaint(400, "InvalidParams", f"Invalid or unsupported params: {parameter}", data)


def missing(parameter: str, path: str, parameters: Mapping[str, str]) -> Complaint:
    """400: a required parameter is absent; the request is echoed, its parameters in the order of their names."""
    data = {"missing_params": parameter, "parameters": dict(sorted(parameters.items())), "path": path}
    return Complaint(400, "MissingParams", f"Missing required params: {parameter}", data)


def forbidden() -> Complaint:
    """403: a protected endpoint without its institution's pair."""
    return Complaint(403, "Forbidden", "Unauthorized request")


def not_found(path: str) -> Complaint:
    """404: no such endpoint."""
    return Complaint(404, "NotFound", "Endpoint not found", {"path": path})


def method_not_allowed(method: str) -> Complaint:
    """405: the service only knows GET (and so HEAD)."""
    return Complaint(405, "MethodNotAllowed", f"Method not allowed: {method}")


def too_many_requests() -> Complaint:
    """429: asked faster than the sandbox was told to bear."""
    return Complaint(429, "TooManyRequests", "Too many requests")


def render(value: Any) -> bytes:
    """JSON exactly as the service writes it: ``", "`` and ``": "`` between, ASCII only."""
    return json.dumps(value).encode("ascii")


Family = Literal["total", "timeline", "breakdown", "top", "overview", "count"]

COUNTERS = ("views", "downloads", "shares")
FIRST_SEGMENTS = ("total", "timeline", "breakdown", "top", "count")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path taken apart; its values are decoded and not yet checked.

    ``overview`` is ``/total/{item}/{id}`` without a counter, ``count`` is ``/count/articles``, asked by POST.
    """

    family: Family
    institution: str | None
    item: str
    item_id: str | None = None
    counter: str | None = None
    granularity: str | None = None

    @property
    def protected(self) -> bool:
        """Whether the institution's pair is needed: for all but totals and counts, inside an institution."""
        return self.institution is not None and self.family not in ("total", "overview", "count")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it is asked by."""
        return ("POST",) if self.family == "count" else ("GET", "HEAD")


def route(path: str) -> Endpoint:
    """The endpoint of a raw path. Raises Complaint (404) where the service has none."""
    segments = [unquote(segment) for segment in path.split("/")[1:]]
    if not all(segments):
        raise not_found(path)
    institution = None if segments[0] in FIRST_SEGMENTS else segments.pop(0)
    match segments:
        case ["total", counter, item, item_id]:
            return Endpoint("total", institution, item, item_id, counter)
        case ["timeline" | "breakdown" as family, granularity, counter, item, item_id]:
            kind: Family = "timeline" if family == "timeline" else "breakdown"
            return Endpoint(kind, institution, item, item_id, counter, granularity)
        case ["top", counter, item]:
            return Endpoint("top", institution, item, None, counter)
        case ["total", item, item_id] if item not in COUNTERS:
            return Endpoint("overview", institution, item, item_id)
        case ["count", "articles"]:
            return Endpoint("count", institution, "group")
        case _:
            raise not_found(path)


ITEMS = ("article", "author", "collection", "group", "project")
GRANULARITIES = ("day", "month", "year", "total")
SUB_ITEMS: dict[Family, tuple[str, ...]] = {
    "timeline": ("category", "item_type"),
    "breakdown": ("category", "item_type"),
    "top": ("category", "item_type", "referral"),
}
BREAKDOWN_YEARS = {"day": 1, "month": 2, "year": 5, "total": 1}
"""How many years after ``start_date`` a breakdown may end, by granularity."""
DEFAULT_COUNT = 10
PATH_FIELDS = ("family", "institution", "item", "item_id", "counter", "granularity")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MOST_GROUPS = 1_000
POSITIVE = re.compile(r"0*[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Question:
    """A checked request. Equal questions have equal answers on any one day, however they were spelt.

    ``start`` and ``end`` are None where the request leaves them out.
    """

    family: Family
    institution: str | None
    item: str
    item_id: str | None
    counter: str | None = None
    granularity: str | None = None
    start: date | None = None
    end: date | None = None
    sub_item: str | None = None
    sub_item_id: str | None = None
    count: int = DEFAULT_COUNT


@dataclass(frozen=True, slots=True)
class Window:
    """First and last day, both inclusive; empty when they are the wrong way round."""

    first: date
    last: date


def read(endpoint: Endpoint, path: str, query: str) -> Question:
    """The question behind an endpoint and a raw query string; of a repeated parameter the last one counts.

    Undocumented parameters are ignored. Raises Complaint (400) for the first value that the service does
    not support, else for the first required one that is missing.
    """
    given = dict(parse_qsl(query, keep_blank_values=True))
    _check_path(endpoint)
    question = Question(**{name: getattr(endpoint, name) for name in PATH_FIELDS})
    if endpoint.family in ("overview", "count"):
        return question
    question = replace(question, start=_date("start_date", given), end=_date("end_date", given))
    if endpoint.family == "total":
        return question
    return _with_sub_item(question, path, given)


def read_groups(content: bytes) -> list[int]:
    """The groups whose articles are to be counted: the content is ``{"groups": [{"id": 327}, …]}``.

    Raises Complaint (400) for any other.
    """
    try:
        groups = json.loads(content)["groups"]
        ids = [group["id"] for group in groups]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise missing("groups", "/count/articles", {}) from None
    if len(ids) > MOST_GROUPS or not all(isinstance(id, int) and not isinstance(id, bool) for id in ids):
        raise invalid("groups", "Group not supported")
    return ids


def window_of(question: Question, today: date) -> Window:
    """The days that a question covers; nothing is known after *today*.

    Totals, and tops without ``sub_item``, cover all time; clients may still narrow that by dates.
    """
    all_time = question.family in ("total", "overview", "count") or (
        question.family == "top" and question.sub_item is None
    )
    first = question.start or (date.min if all_time else today.replace(day=1))
    return Window(first, min(_end(question) or today, today))


def years_after(day: date, years: int) -> date:
    """The same day of the month, ``years`` later; the 28th for a 29 February, the last day there is at most."""
    if day.year + years > MAXYEAR:
        return date.max
    if (day.month, day.day) == (2, 29):
        return date(day.year + years, 2, 28)
    return day.replace(year=day.year + years)


def _end(question: Question) -> date | None:
    """``end_date`` as the service takes it: a breakdown with both dates given ends at its limit."""
    start, end = question.start, question.end
    if question.family != "breakdown" or question.granularity is None or start is None or end is None:
        return end
    return min(end, years_after(start, BREAKDOWN_YEARS[question.granularity]))


def _check_path(endpoint: Endpoint) -> None:
    if endpoint.granularity is not None and endpoint.granularity not in GRANULARITIES:
        raise invalid("granularity", f"Granularity not supported: {endpoint.granularity}")
    if endpoint.counter is not None and endpoint.counter not in COUNTERS:
        raise invalid("counter", f"Counter type not supported: {endpoint.counter}")
    if endpoint.item not in ITEMS:
        raise invalid("item", f"Item type not supported: {endpoint.item}")


def _with_sub_item(question: Question, path: str, given: Mapping[str, str]) -> Question:
    sub_item = given.get("sub_item")
    if sub_item is not None and sub_item not in SUB_ITEMS[question.family]:
        raise invalid("sub_item", f"Sub item type not supported: {sub_item}")
    if question.family == "top":
        item_id = given.get("item_id")
        return replace(question, sub_item=sub_item, item_id=item_id, count=_count(given))
    if sub_item is None:
        return question
    if "sub_item_id" not in given:
        raise missing("sub_item_id", path, given)
    return replace(question, sub_item=sub_item, sub_item_id=given["sub_item_id"])


def _date(name: str, given: Mapping[str, str]) -> date | None:
    text = given.get(name)
    if text is None:
        return None
    if DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass  # looks like a date and is none: 2015-02-30
    raise invalid(name, f"Date not supported: {text}")


def _count(given: Mapping[str, str]) -> int:
    text = given.get("count")
    if text is None:
        return DEFAULT_COUNT
    if not POSITIVE.fullmatch(text):
        raise invalid("count", f"Count not supported: {text}")
    return int(text)
