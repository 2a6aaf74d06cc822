"""Numbers, times, values and tables, as people read and write them on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.errors import ConfigurationError


def count(number: int) -> str:
    """A number with thousands separators; in millions once it has more than seven digits."""
    return f"{number:,}" if number < 10_000_000 else f"{number / 1e6:,.1f} M"


def rate(per_second: float) -> str:
    """A rate such as ``1,234/s``, ``12.5/s`` or ``0.25/s``."""
    decimals = 0 if per_second >= 100 else 1 if per_second >= 10 else 2
    return f"{per_second:,.{decimals}f}/s"


def share(part: float, whole: float) -> str:
    """A share such as ``87.5 %``, and ``-`` of nothing; only all is ``100 %`` and only none ``0 %``."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1 %"
    return f"{min(percent, 99.9):.1f} %" if 0 < percent < 100 else f"{percent:.0f} %"


def span(seconds: float, *, plain: bool = False) -> str:
    """A duration such as ``412 µs``, ``3.1 ms`` or ``1.25 s``; ``plain`` keeps to ASCII."""
    for unit, size in (("us" if plain else "µs", 1e-6), ("ms", 1e-3)):
        if seconds < size * 999.5:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def ago(seconds: float) -> str:
    """A longer duration such as ``45 s``, ``12 min`` or ``3 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3_600:.0f} h"


SPAN = re.compile(r"(\d{1,6})([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str) -> float:
    """The seconds of a span such as ``90d``, ``12h``, ``30m`` or ``45s``. Raises ConfigurationError."""
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


def value_text(value: Any) -> str:
    """A value out of JSON on one line."""
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(value_text, value)) or "none"
        case dict():
            return " ".join(f"{name}={value_text(each)}" for name, each in value.items()) or "none"
        case None | "":
            return "none"
    return str(value)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A head and its rows as lines whose columns are as wide as their widest cell; they pipe well."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
