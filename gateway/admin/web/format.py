"""Numbers and times as people read them, on pages and in a terminal. Pure.

``static/format.js`` says the same in the browser as ``count``, ``rate``, ``percent``, ``seconds``, ``span``, ``clock``
and ``answering``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

SPANS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3_600, "hour"), (60, "minute"))
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
NOTHING = "–"
SOON = 14 * 86_400
"""Seconds before its end from which a key is said to end soon."""


def bar(part: float, whole: float, *, plain: bool = False) -> Markup:
    """A bar for a part of a whole, coloured as scarce from three quarters on unless ``plain``."""
    share = min(1.0, ratio(part, whole) or 0.0)
    kind = "" if plain or share < 0.75 else " bad" if share >= 1 else " warn"
    return Markup(
        '<svg class="bar{}" aria-hidden="true" focusable="false"><rect width="{:.1f}%" height="100%"/></svg>'
    ).format(kind, share * 100)


def sentence(text: str) -> str:
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
    """The time of day of a JSON time such as 2030-01-31T12:34:56Z."""
    return moment[11:19]


def answering(status: str) -> str:
    """Whether Redis answers, from its status."""
    return "answers" if status == "ok" else "does not answer"


def size(number: float | None) -> str:
    """Bytes as people write them: 512 B, 4.2 MB."""
    if number is None:
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number:.0f} B"


def decimal(number: float | None) -> str:
    """A number in as few digits as it needs: 0.5, 20."""
    return NOTHING if number is None else f"{number:,.6g}"


def ratio(part: float, whole: float) -> float | None:
    """A part of a whole, from 0 to 1; None of nothing."""
    return part / whole if whole else None


def percent(share: float | None) -> str:
    """A ratio of 0 to 1: 98.4 %. Only all is ever 100 %."""
    if share is None:
        return NOTHING
    tenths = int(share * 1_000) if share > 0.5 else round(share * 1_000)
    return f"{tenths / 10:.1f} %" if 0 < share < 1 else f"{share:.0%}".replace("%", " %")


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


def span(seconds: float) -> str:
    """A length of time in its two largest units: 6 d 23 h, 14 min 3 s, 0 s."""
    left, parts = int(abs(seconds)), []
    for name, size in UNITS:
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def day(when: datetime | None) -> str:
    """A day: 2030-01-31, by UTC."""
    return NOTHING if when is None else when.astimezone(UTC).date().isoformat()


def moment(when: datetime | float | None) -> str:
    """A moment: 2030-01-31 12:34, by UTC."""
    return NOTHING if when is None else f"{_datetime(when):%Y-%m-%d %H:%M}"


def iso(when: datetime | float) -> str:
    """A moment for the attribute of ``<time datetime>``."""
    return f"{_datetime(when):%Y-%m-%dT%H:%M:%SZ}"


def since(when: datetime | float, now: float) -> str:
    """The time between a moment and ``now``: 3 days ago, in 2 hours, just now."""
    away = now - _datetime(when).timestamp()
    for span, name in SPANS:
        if abs(away) >= span:
            length = _several(int(abs(away) // span), name)
            return f"{length} ago" if away > 0 else f"in {length}"
    return "just now"


def key_state(key: Any, now: float) -> tuple[str, str]:
    """A key's state: a class of the style sheet, and a word."""
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


# For a terminal, where columns are narrow


def short_count(number: int) -> str:
    """A whole number with its thousands apart, in millions from eight digits on: 1,234, 12.3 M."""
    return count(number) if number < 10_000_000 else f"{number / 1e6:,.1f} M"


def short_rate(per_second: float) -> str:
    """A rate with its unit: 1,234/s, 12.5/s, 0.25/s."""
    decimals = 0 if per_second >= 100 else 1 if per_second >= 10 else 2
    return f"{per_second:,.{decimals}f}/s"


def short_share(part: float, whole: float) -> str:
    """A part of a whole: 87.5 %, or ``-`` of nothing; only all is ``100 %`` and only none ``0 %``."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1 %"
    return f"{min(percent, 99.9):.1f} %" if 0 < percent < 100 else f"{percent:.0f} %"


def short_seconds(duration: float, *, plain: bool = False) -> str:
    """How long a request took, to three digits: 412 µs (us if ``plain``), 3.1 ms, 1.25 s."""
    for unit, size in (("us" if plain else "µs", 1e-6), ("ms", 1e-3)):
        if duration < size * 999.5:
            return f"{duration / size:.3g} {unit}"
    return f"{duration:.3g} s"


def short_span(length: float) -> str:
    """A length of time in its largest unit: 45 s, 12 min, 3 h."""
    if length < 100:
        return f"{length:.0f} s"
    return f"{length / 60:.0f} min" if length < 100 * 60 else f"{length / 3_600:.0f} h"


FILTERS = (
    clock,
    count,
    day,
    decimal,
    duration,
    iso,
    key_state,
    moment,
    percent,
    rate,
    seconds,
    sentence,
    since,
    size,
)
