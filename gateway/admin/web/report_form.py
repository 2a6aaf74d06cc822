"""The form that orders a report: its fields, the order that they make, and where in it an error belongs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from gateway.admin.web.explore import earlier
from gateway.admin.web.forms import Form, Upload
from gateway.catalogue.endpoints import COUNTERS, ITEMS
from gateway.errors import Forbidden, GatewayError, InvalidInput, NoSuchRecord
from gateway.jobs.ids import MOST_PROBLEMS, read_ids
from gateway.jobs.request import MOST_CALLS
from gateway.tenants.tenant import id_within

BY = {
    "total": "One for all of it",
    "year": "One for each year",
    "month": "One for each month",
    "day": "One for each day",
}
WHICH = {"list": "These ids", "all": "All listed"}
WINDOWS = {
    "all-time": "All time",
    "last-year": "Last year",
    "last-12-months": "The last 12 whole months",
    "this-year": "This year so far",
    "dates": "From … to …",
}
METHODS = {
    "auto": "What is cheapest, checked",
    "ranking": "Rankings only, checked",
    "each": "Each item by itself, exact",
}
CHOICES: Mapping[str, Any] = {
    "item": ITEMS,
    "which": WHICH,
    "by": BY,
    "window": WINDOWS,
    "method": METHODS,
    "counters": COUNTERS,
}
PLACES = {
    "institution": "institution",
    "item": "item",
    "counters": "counters",
    "from": "start",
    "to": "end",
    "from, to": "start",
    "max_calls": "max_calls",
    "tenant": "tenant",
}
"""The field that holds what an error's message begins with."""
NUMBER = re.compile("[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Fields:
    """The form's fields; each choice has a value that the form could have sent. ``counters`` are those that are
    ticked."""

    tenant: str = ""
    institution: str = ""
    item: str = "article"
    which: str = "list"
    ids: str = ""
    id_column: str = ""
    counters: tuple[str, ...] = ("views",)
    by: str = "total"
    window: str = "all-time"
    start: str = ""
    end: str = ""
    method: str = "auto"
    max_calls: str = ""

    @property
    def hidden(self) -> dict[str, str]:
        """The fields as the form sends them, for one that orders what was planned."""
        texts = {
            name: text for name, text in asdict(self).items() if name not in ("counters", "id_column") and text
        }
        return texts | {f"counter_{counter}": "on" for counter in self.counters}


class Problem(NamedTuple):
    """What is wrong with a form: the field that it belongs to (empty: to none), and what it says, a line each."""

    field: str
    lines: list[str]


class FieldError(InvalidInput):
    """A field cannot be used."""

    def __init__(self, field: str, message: str, lines: list[str] | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(field, lines or [self.message])


class Ordered(NamedTuple):
    """What a form orders: the body of the API's operation, and what was not read as it is written."""

    body: dict[str, Any]
    notes: list[str]


def fields_of(form: Form) -> Fields:
    """The fields that a form sent; a choice that it could not have sent has its default."""
    names = [name for name in Fields.__dataclass_fields__ if name != "counters" and name in form]
    found = {name: form[name] for name in names if name not in CHOICES or form[name] in CHOICES[name]}
    return Fields(**found, counters=tuple(each for each in COUNTERS if form.get(f"counter_{each}")))


def order_of(fields: Fields, upload: Upload | None, today: date) -> Ordered:
    """The order that the fields make, with the items of an uploaded file in place of those that are typed. Raises
    FieldError."""
    body: dict[str, Any] = {
        name: getattr(fields, name) for name in ("tenant", "institution", "item", "by", "method")
    }
    for name in ("tenant", "institution"):
        if not body[name]:
            raise FieldError(name, f"Choose whose {'request it is' if name == 'tenant' else 'items are counted'}")
    if not fields.counters:
        raise FieldError("counters", "Choose one at least")
    body["counters"] = list(fields.counters)
    body |= _dates(fields, today)
    if fields.max_calls:
        body["max_calls"] = _number(fields.max_calls)
    if fields.which == "all":
        return Ordered(body | {"ids": "all"}, [])
    ids, notes = _ids(fields, upload)
    return Ordered(body | {"ids": ids}, notes)


def _number(text: str) -> int:
    if not NUMBER.fullmatch(text):
        raise FieldError("max_calls", f"A whole number from 1 to {MOST_CALLS:,}, or nothing")
    return int(text)


def _ids(fields: Fields, upload: Upload | None) -> tuple[list[int], list[str]]:
    place, content = ("file", upload.content) if upload else ("ids", fields.ids.encode())
    if not content.strip():
        raise FieldError(place, "There are no items: type their ids, choose a file, or take all")
    if id_within(content.decode("latin-1")) is not None:
        raise FieldError(place, "This holds a gateway key, which is no id and is shown to nobody")
    try:
        found = read_ids(content, fields.id_column or None)
    except InvalidInput as error:
        raise FieldError(place, error.message, _lines(error)) from None
    if not found.ids:
        raise FieldError(place, "There are no ids in this")
    more = len(found.notes) - MOST_PROBLEMS
    notes = [*found.notes[:MOST_PROBLEMS], *([f"and {more} more such lines"] if more > 0 else [])]
    return list(found.ids), notes


def _lines(error: GatewayError) -> list[str]:
    """An error's problems, each on a line, and the last words of its message where there are more."""
    problems = error.data.get("problems") if isinstance(error.data, dict) else None
    if not problems:
        return [error.message]
    rest = error.message.rpartition("; ")[2]
    return [*problems, rest] if rest.startswith("and ") else list(problems)


# Windows


def _dates(fields: Fields, today: date) -> dict[str, str]:
    """The first and the last day of the window, as an order names them; of all time none."""
    if fields.window == "dates":
        if not (fields.start and fields.end):
            raise FieldError("end" if fields.start else "start", "A window has a first and a last date")
        return {"from": fields.start, "to": fields.end}
    month = today.replace(day=1)
    match fields.window:
        case "last-year":
            return {"from": f"{today.year - 1:04}", "to": f"{today.year - 1:04}"}
        case "last-12-months":
            return {"from": earlier(month, 12).isoformat()[:7], "to": (month - timedelta(1)).isoformat()[:7]}
        case "this-year":
            return {"from": f"{today.year:04}", "to": today.isoformat()}
    if fields.by != "total":
        raise FieldError("window", "Columns by year, month or day need a window")
    return {}


# Where an error belongs


def problem_of(error: GatewayError | None) -> Problem | None:
    """Where in the form an error belongs, and what it says there."""
    if error is None:
        return None
    if isinstance(error, FieldError):
        return error.problem
    if isinstance(error, Forbidden):
        return Problem("institution", ["This tenant may not ask for this institution"])
    if isinstance(error, NoSuchRecord):
        return Problem("tenant", [error.message])
    place, _, text = error.message.partition(": ")
    if isinstance(error, InvalidInput) and place in PLACES:
        return Problem(PLACES[place], [text])
    return Problem("", [error.message])
