"""Rendering: the templates, and how numbers and times read. Pure but for loading the templates.

Served: how an answer came about, in words. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from gateway.observe.outcome import Outcome

SPANS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"))
NOTHING = "–"
SOON = 14 * 86_400
"""Seconds before its end at which a key is said to end soon."""


def environment() -> Environment:
    """The templates, which escape whatever they are given; all are read, so that no page has to open a file."""
    folder = files("gateway.admin.web") / "templates"
    found = Environment(
        loader=DictLoader({each.name: each.read_text("utf-8") for each in folder.iterdir()}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update({each.__name__: each for each in FILTERS})
    found.globals.update(bar=bar)
    return found


def bar(part: float, whole: float, *, plain: bool = False) -> Markup:
    """A bar that shows a part of a whole, and beyond three quarters, unless ``plain``, that it gets scarce."""
    share = min(1.0, part / whole) if whole else 0.0
    kind = "" if plain or share < 0.75 else " bad" if share >= 1 else " warn"
    return Markup(
        '<svg class="bar{}" aria-hidden="true" focusable="false"><rect width="{:.1f}%" height="100%"/></svg>'
    ).format(kind, share * 100)


def sentence(text: str) -> str:
    """A message as a sentence by itself."""
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "?", "!")) or not whole else whole + "."


def count(number: float | None) -> str:
    """A whole number with its thousands apart: 12,345."""
    return NOTHING if number is None else f"{number:,.0f}"


def rate(per_second: float) -> str:
    """Something a second: 0.02, 1.4, 120."""
    if per_second >= 99.95:
        return count(per_second)
    return f"{per_second:.{2 if 0 < per_second < 0.0995 else 1}f}"


def clock(moment: str) -> str:
    """The time of day of what JSON tells as 2030-01-31T12:34:56Z."""
    return moment[11:19]


def decimal(number: float | None) -> str:
    """As few digits as tell it: 0.5, 20."""
    return NOTHING if number is None else f"{number:,.6g}"


def percent(ratio: float | None) -> str:
    """A ratio of 0 to 1: 98.4 %. What is not all is never said to be all."""
    if ratio is None:
        return NOTHING
    tenths = int(ratio * 1_000) if ratio > 0.5 else round(ratio * 1_000)
    return f"{tenths / 10:.1f} %" if 0 < ratio < 1 else f"{ratio:.0%}".replace("%", " %")


def seconds(duration: float | None) -> str:
    """How long a request took, to two or three digits: 0.4 ms, 23 ms, 1.20 s."""
    if duration is None:
        return NOTHING
    if duration < 0.0995:
        return f"{duration * 1_000:.{1 if duration < 0.00995 else 0}f} ms"
    return f"{duration * 1_000:.0f} ms" if duration < 0.9995 else f"{duration:.{2 if duration < 9.995 else 0}f} s"


def duration(length: float) -> str:
    """A length of time in its largest whole unit: 7 days, 15 minutes, 90 seconds."""
    for span, name in SPANS:
        if length >= span and length % span == 0:
            return _several(int(length // span), name)
    return _several(length, "second")


def day(when: datetime | None) -> str:
    """2030-01-31, by UTC."""
    return NOTHING if when is None else when.astimezone(UTC).date().isoformat()


def moment(when: datetime | float | None) -> str:
    """2030-01-31 12:34, by UTC."""
    return NOTHING if when is None else f"{_datetime(when):%Y-%m-%d %H:%M}"


def iso(when: datetime | float) -> str:
    """As ``<time datetime>`` wants it."""
    return f"{_datetime(when):%Y-%m-%dT%H:%M:%SZ}"


def since(when: datetime | float, now: float) -> str:
    """How long ago, or in how long: 3 days ago, in 2 hours, just now."""
    away = now - _datetime(when).timestamp()
    for span, name in SPANS:
        if abs(away) >= span:
            told = _several(int(abs(away) // span), name)
            return f"{told} ago" if away > 0 else f"in {told}"
    return "just now"


def key_state(key: Any, now: float) -> tuple[str, str]:
    """A key's state as a class of the style sheet and a word."""
    if key["revoked"] is not None:
        return "off", "revoked"
    if key["expires"] is None:
        return "", "live"
    left = key["expires"].timestamp() - now
    if left <= 0:
        return "off", "expired"
    return ("warn", "ends soon") if left <= SOON else ("", "live")


def _datetime(when: datetime | float) -> datetime:
    return when.astimezone(UTC) if isinstance(when, datetime) else datetime.fromtimestamp(when, UTC)


def _several(number: float, name: str) -> str:
    return f"{number:,.6g} {name}{'' if number == 1 else 's'}"


FILTERS = (clock, count, day, decimal, duration, iso, key_state, moment, percent, rate, seconds, sentence, since)


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
    "unknown-endpoint": "the gateway does not know this endpoint, and may not keep its answer",
    "GateClosed": "since the service is not asked while it seems to block us",
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
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def told(outcome: Outcome, detail: str, cache_status: str) -> str:
    """How an answer was served, as a sentence."""
    words = WORDS[outcome]
    if outcome in (Outcome.REFUSED, Outcome.FAILED):
        return f"{words}."
    if outcome in (Outcome.MISS, Outcome.COLLAPSED) and "; stored" in cache_status:
        return f"{words}, and its answer is kept."
    found = _UPSTREAM.fullmatch(detail)
    why = f"since the service answered {found[1]}" if found else DETAILS.get(detail, detail)
    return f"{words}, {why}." if why else f"{words}."


def age_of(headers: Mapping[str, str]) -> int | None:
    """The seconds since an answer was made, where it tells."""
    age = headers.get("age", "")
    return int(age) if age.isascii() and age.isdecimal() and len(age) <= 12 else None


def left_of(headers: Mapping[str, str]) -> int | None:
    """The seconds for which an answer stays fresh; less than none for how long it has been stale."""
    found = _TTL.search(headers.get("cache-status", ""))
    if found:
        return int(found[1])
    most, age = _MAX_AGE.search(headers.get("cache-control", "")), age_of(headers)
    return int(most[1]) - age if most and age is not None else None


def span(seconds: float) -> str:
    """A duration in its two largest units: 6 d 23 h, 14 min 3 s, 0 s."""
    left, parts = int(abs(seconds)), []
    for name, size in UNITS:
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
    return " ".join(parts[:2]) or "0 s"
