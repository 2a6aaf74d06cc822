"""Figures: numbers as people read them. Pure.

Times as people write them on the command line.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gateway.errors import ConfigurationError


def count(number: int) -> str:
    """With thousands apart; in millions once that has more than seven digits."""
    return f"{number:,}" if number < 10_000_000 else f"{number / 1e6:,.1f} M"


def rate(per_second: float) -> str:
    """As ``1,234/s``, ``12.5/s``, ``0.25/s``."""
    decimals = 0 if per_second >= 100 else 1 if per_second >= 10 else 2
    return f"{per_second:,.{decimals}f}/s"


def share(part: float, whole: float) -> str:
    """As ``87.5 %``, ``-`` of nothing; only all is ``100 %`` and only none ``0 %``."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1 %"
    return f"{min(percent, 99.9):.1f} %" if 0 < percent < 100 else f"{percent:.0f} %"


def span(seconds: float, *, plain: bool = False) -> str:
    """As ``412 µs``, ``3.1 ms``, ``1.25 s``."""
    for unit, size in (("us" if plain else "µs", 1e-6), ("ms", 1e-3)):
        if seconds < size * 999.5:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def ago(seconds: float) -> str:
    """As ``45 s``, ``12 min``, ``3 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3_600:.0f} h"


SPAN = re.compile(r"(\d{1,6})([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str) -> float:
    """Seconds of a span such as ``90d``, ``12h``, ``30m`` or ``45s``. Raises ConfigurationError."""
    found = SPAN.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is no span of time; write it like 90d, 12h, 30m or 45s")
    return float(int(found[1]) * SECONDS[found[2]])


def moment_of(text: str, now: datetime) -> datetime:
    """A moment: a span from now, or a date (its beginning, UTC), or a date and time. Raises ConfigurationError."""
    if SPAN.fullmatch(text):
        return now + timedelta(seconds=seconds_of(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is neither a span like 90d nor a date like 2030-01-31") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
