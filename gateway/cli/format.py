"""Numbers as a terminal shows them, and times as people write them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gateway.admin.web.format import short_count as count
from gateway.admin.web.format import short_rate as rate
from gateway.admin.web.format import short_seconds as span
from gateway.admin.web.format import short_share as share
from gateway.admin.web.format import short_span as ago
from gateway.errors import ConfigurationError

__all__ = ["ago", "count", "moment_of", "rate", "seconds_of", "share", "span"]

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
