"""Numbers, times, values and tables, as people read and write them on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.admin.web.format import short_count as count
from gateway.admin.web.format import short_rate as rate
from gateway.admin.web.format import short_seconds as span
from gateway.admin.web.format import short_share as share
from gateway.admin.web.format import short_span as ago
from gateway.errors import ConfigurationError

__all__ = ["ago", "aligned", "count", "moment_of", "rate", "seconds_of", "share", "span", "value_text"]

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
