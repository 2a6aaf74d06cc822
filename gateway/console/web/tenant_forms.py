"""What the forms about tenants and keys hold, to and fro. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from gateway.console.web.forms import Form
from gateway.errors import InvalidInput

LIMITS = {
    "requests_per_second": "Requests a second",
    "burst": "Burst",
    "requests_per_day": "Requests a day",
    "queued": "Queued jobs",
    "share": "Share",
}
LISTS = ("origins", "networks")
DECIMAL = frozenset({"requests_per_second", "share"})
LIFETIMES = {
    "closed": "Closed windows",
    "open": "Open windows",
    "totals": "Totals, overviews, counts and tops",
    "empty": "Empty answers",
    "error": "400 and 404",
    "forbidden": "403",
}
OVERLAPS = {
    "0": "at once",
    "3600": "after an hour",
    "86400": "after a day",
    "604800": "after 7 days",
    "2592000": "after 30 days",
}
OVERLAP = "604800"


def fields_of(told: Mapping[str, Any]) -> dict[str, str]:
    """A tenant, as the API tells it, as its form's fields."""
    fields = {
        "name": "" if told["name"] == told["id"] else told["name"],
        "note": told["note"],
        **{name: "\n".join(told[name]) for name in LISTS},
        **{name: _text(told["limits"][name]) for name in LIMITS},
        **{f"lifetime_{name}": _text(told["lifetimes"].get(name)) for name in LIFETIMES},
    }
    if told["enabled"]:
        fields["enabled"] = "on"
    if told["limits"]["share"] == 1.0:
        fields["share"] = ""
    return fields


def changes_of(form: Form, before: Mapping[str, str]) -> dict[str, Any]:
    """What a form changes of the fields ``before``, as the API takes it: an emptied field restores its default.

    Raises InvalidInput that names the field.
    """
    found: dict[str, Any] = {}
    for name in ("name", "note"):
        if form.get(name, "") != before.get(name, ""):
            found[name] = form.get(name) or None
    if ("enabled" in form) != ("enabled" in before):
        found["enabled"] = "enabled" in form
    for name in LISTS:
        if form.get(name, "").split() != before.get(name, "").split():
            found[name] = form.get(name, "").split() or None
    limits = _numbers(form, before, {name: name for name in LIMITS}, LIMITS)
    lifetimes = _numbers(form, before, {f"lifetime_{name}": name for name in LIFETIMES}, LIFETIMES)
    return found | ({"limits": limits} if limits else {}) | ({"lifetimes": lifetimes} if lifetimes else {})


def version_of(told: Mapping[str, Any]) -> str:
    """Differs once any of a tenant's own fields does, so that nobody overwrites what they have not seen."""
    fields = json.dumps(fields_of(told), sort_keys=True)
    return hashlib.sha256(fields.encode("utf-8", "replace")).hexdigest()[:16]


def end_of(text: str, now: float) -> datetime | None:
    """The end of a day in UTC, like 2030-01-31; None for no text. Raises InvalidInput."""
    if not text:
        return None
    try:
        end = datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidInput("The day on which a key ends must be like 2030-01-31") from None
    if end.timestamp() <= now:
        raise InvalidInput("The day on which a key ends must not be over")
    return end


def overlap_of(form: Form) -> float:
    """How long a key in whose place another comes still works, in seconds. Raises InvalidInput."""
    chosen = form.get("overlap", OVERLAP)
    if chosen not in OVERLAPS:
        raise InvalidInput("Choose when the old key ends")
    return float(chosen)


def _numbers(
    form: Form, before: Mapping[str, str], fields: Mapping[str, str], labels: Mapping[str, str]
) -> dict[str, float | None]:
    """Those that changed, by the API's names."""
    return {
        name: _number(form.get(each, ""), labels[name], whole=name in LIMITS and name not in DECIMAL)
        for each, name in fields.items()
        if form.get(each, "") != before.get(each, "")
    }


def _number(text: str, label: str, *, whole: bool) -> float | None:
    if not text:
        return None
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        raise InvalidInput(f"{label}: {'a whole' if whole else 'a'} number, or nothing") from None
    if not number > 0 or not math.isfinite(number):
        raise InvalidInput(f"{label}: a number above 0, or nothing")
    return number


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:g}" if number < 1e6 else f"{number:.0f}"
