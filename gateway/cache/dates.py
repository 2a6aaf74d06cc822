"""HTTP-dates, read and written (RFC 9110 §5.6.7), and the one Date that every answer has (§6.6.1).

All times are seconds since the epoch, in UTC and without a locale.
"""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

REFERENCE = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_FULL_DAYS = (b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_OF = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}

_DAY = b"(?:" + b"|".join(_DAYS) + b")"
_FULL_DAY = b"(?:" + b"|".join(_FULL_DAYS) + b")"
_MONTH = b"(?P<month>" + b"|".join(_MONTHS) + b")"
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_ZONE = b"GMT"
_FORMATS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        _DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + b" " + _ZONE,
        _FULL_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + b" " + _ZONE,
        _DAY + b" " + _MONTH + rb" (?P<day>[0-9]{2}| [0-9]) " + _TIME + rb" (?P<year>[0-9]{4})",
    )
)


def http_date(value: bytes, now: float = REFERENCE) -> float | None:
    """The time that an HTTP-date names in any of its three formats; None where it is malformed.

    Letter case is ignored, and any zone but ``GMT`` is malformed (RFC 9111 §4.2); whether the day of the week
    fits the date is not looked at. A second 60 is the one after 59. ``now`` decides the century of a
    two-digit year.
    """
    value = value.strip(b" \t")
    found = next(filter(None, (pattern.fullmatch(value) for pattern in _FORMATS)), None)
    if found is None:
        return None
    second = int(found["second"])
    try:
        whole = datetime(
            _full_year(found["year"], now),
            _MONTH_OF[found["month"].lower()],
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            second - (second == 60),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return whole.timestamp() + (second == 60)


def format_date(time: float) -> bytes:
    """The time as an IMF-fixdate, its fraction of a second cut off; years are held within 1 to 9999."""
    moment = datetime.fromtimestamp(min(max(time, _FIRST), _LAST) // 1, UTC)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    clock = (moment.hour, moment.minute, moment.second)
    return b"%s, %02d %s %04d %02d:%02d:%02d GMT" % (day, moment.day, month, moment.year, *clock)


def _full_year(digits: bytes, now: float) -> int:
    """A two-digit year more than 50 years ahead is the latest one past with these digits (RFC 9110 §5.6.7)."""
    if len(digits) == 4:
        return int(digits)
    this = datetime.fromtimestamp(now, UTC).year
    year = this - this % 100 + int(digits)
    return year - 100 if year > this + 50 else year


_FIRST = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def http_date_now() -> bytes:
    """The present second as an IMF-fixdate."""
    return _http_date(int(time.time()))


@lru_cache(maxsize=1)
def _http_date(second: int) -> bytes:
    return format_date(second)


def adds_date(send: Any) -> bool:
    """Whether the server adds a Date to answers that have one already, as uvicorn and hypercorn do by default.

    No server says so in the scope; the connection object behind ``send`` shows it.
    """
    connection = getattr(send, "__self__", None)
    added = [name.lower() for name, _ in getattr(connection, "default_headers", ())]  # uvicorn's
    return b"date" in added or bool(getattr(getattr(connection, "config", None), "include_date_header", False))


def without_date(send: Any) -> Any:
    """A ``send`` that removes the Date from answers."""

    async def send_without_date(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"date"]
            message = {**message, "headers": headers}
        await send(message)

    return send_without_date


class DateMiddleware:
    """ASGI middleware that adds a Date to answers without one; a stored answer keeps its origin's."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_date(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if b"date" not in [name.lower() for name, _ in headers]:
                    message = {**message, "headers": [(b"date", http_date_now()), *headers]}
            await send(message)

        await self.app(scope, receive, send_with_date)
