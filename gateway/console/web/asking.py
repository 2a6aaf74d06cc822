"""Asking: the question that a form's fields ask of the service, as a target, and a target as fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from urllib.parse import parse_qsl, quote, urlencode

from gateway.catalogue.query import Family, Query
from gateway.console.web.buckets import Window
from gateway.errors import InvalidInput

FAMILIES = {
    "totals": "Total",
    "overview": "Total of each counter",
    "timeline": "Timeline",
    "breakdown": "Breakdown by place",
    "tops": "Top list",
}
COUNTERS = ("views", "downloads", "shares")
ITEMS = ("article", "author", "collection", "group", "project")
GRANULARITIES = ("day", "month", "year", "total")
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


@dataclass(frozen=True, slots=True)
class Fields:
    """What a form asks, as its fields; each has a value that the form could have sent."""

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


_CHOICES = {
    "family": FAMILIES,
    "counter": COUNTERS,
    "item": ITEMS,
    "granularity": GRANULARITIES,
    "window": WINDOWS,
    "sub_item": SUB_ITEMS,
}
_WORDS = {"day": "by day", "month": "by month", "year": "by year", "total": "in all"}


def fields_of(given: Mapping[str, str]) -> Fields:
    """The fields that a form sent; whatever it could not have sent has its default."""
    default = Fields()
    found = {name: given[name].strip() for name in Fields.__dataclass_fields__ if name in given}
    wrong = [name for name, choices in _CHOICES.items() if name in found and found[name] not in choices]
    return replace(default, **{name: value for name, value in found.items() if name not in wrong})


def fields_for(query: Query, target: str) -> Fields:
    """The fields that would ask a recognised query; an unknown one's are the defaults, in its institution."""
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
    """The request target. Raises InvalidInput for what makes none; what the service validates is its affair."""
    if not fields.item_id and fields.family != "tops":
        raise InvalidInput(f"Which {fields.item}? Give its id")
    place = [quote(fields.institution, safe="~!$&'()*+,;=:@")] if fields.institution else []
    item_id = quote(fields.item_id, safe="~!$&'()*+,;=:@")
    match fields.family:
        case "totals":
            return _joined([*place, "total", fields.counter, fields.item, item_id], {})
        case "overview":
            return _joined([*place, "total", fields.item, item_id], {})
        case "tops":
            extra = {"item_id": fields.item_id, "sub_item": fields.sub_item, "count": fields.count}
            return _joined([*place, "top", fields.counter, fields.item], extra | _dates(fields, today))
    path = [*place, fields.family, fields.granularity, fields.counter, fields.item, item_id]
    filters = {"sub_item": fields.sub_item, "sub_item_id": fields.sub_item_id if fields.sub_item else ""}
    return _joined(path, _dates(fields, today) | filters)


def window_of(query: Query, target: str, today: date) -> Window | None:
    """The days that a timeline's answer is about; its end is today where it would be later."""
    if query.family is not Family.TIMELINE:
        return None
    given = dict(_parameters(target))
    start = _day(given.get("start_date")) or today.replace(day=1)
    return Window(start, min(_day(given.get("end_date")) or today, today))


def question_of(query: Query, target: str) -> str:
    """What is asked, in words."""
    if query.family is Family.UNKNOWN:
        return "A question that the gateway does not know"
    given = dict(_parameters(target))
    item = f"{query.item} {query.item_id}" if query.item_id else f"every {query.item}"
    counted = f"{(query.counter or 'everything').capitalize()} of {item}"
    if query.family is Family.TOPS:
        counted = f"Top {PLURALS.get(given.get('sub_item', ''), f'{query.item}s')} by {query.counter}"
        counted += f", of {query.item} {query.item_id}" if query.item_id else ""
    elif query.family is Family.BREAKDOWN:
        counted += " by place"
    counted += f" in {query.institution}" if query.institution else ""
    words = [counted, _WORDS[query.granularity]] if query.granularity else [counted]
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
            return Window(_earlier(month, 11), today)
        case "last-year":
            return Window(date(today.year - 1, 1, 1), date(today.year - 1, 12, 31))
    return None


def _earlier(month: date, months: int) -> date:
    """The first of a month so many months before."""
    number = month.year * 12 + month.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def _joined(path: list[str], parameters: Mapping[str, str]) -> str:
    query = urlencode({name: value for name, value in parameters.items() if value})
    return "/" + "/".join(path) + (f"?{query}" if query else "")


def _parameters(target: str) -> list[tuple[str, str]]:
    return parse_qsl(target.partition("?")[2], keep_blank_values=True)


def _day(text: str | None) -> date | None:
    try:
        return None if text is None or len(text) != len("2030-01-31") else date.fromisoformat(text)
    except ValueError:
        return None
