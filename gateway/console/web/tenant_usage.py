"""Usage as the pages about tenants show it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from gateway.observe.days import Row


@dataclass(frozen=True, slots=True)
class Used:
    """What was asked and spent in some time: requests, those answered from the cache, upstream calls."""

    day: str
    requests: int = 0
    hits: int = 0
    calls: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """None where nothing was asked."""
        return self.hits / self.requests if self.requests else None


def by_tenant(rows: Iterable[Row]) -> dict[str, Used]:
    """One day's, by tenant."""
    return {row.tenant: _used(row) for row in rows}


def by_day(rows: Iterable[Row], first: date, last: date) -> list[Used]:
    """One tenant's, the newest day first, with those on which it asked nothing."""
    found = {row.day: _used(row) for row in rows}
    days = [(last - timedelta(days=back)).isoformat() for back in range((last - first).days + 1)]
    return [found.get(day, Used(day)) for day in days]


def _used(row: Row) -> Used:
    return Used(row.day, row.requests, row.hits, row.calls)
