"""Rendering: the templates, and how numbers and times read. Pure but for loading the templates."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

SPANS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"))
NOTHING = "–"
SOON = 14 * 86_400
"""Seconds before its end at which a key is said to end soon."""


def environment() -> Environment:
    """The templates, which escape whatever they are given; all are read, so that no page has to open a file."""
    folder = files("gateway.console.web") / "templates"
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
