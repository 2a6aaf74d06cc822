"""Requests, as the fleet's counters get them."""

from __future__ import annotations

from gateway.observe.counters import DayCounters, MinuteCounters
from gateway.observe.outcome import Aggregate, Labels, Outcome


def answered(
    counters: DayCounters | MinuteCounters,
    outcome: Outcome,
    seconds: float = 0.1,
    *,
    tenant: str = "reports",
    key_id: str | None = None,
) -> None:
    """Counts one request."""
    aggregate = Aggregate(Labels("totals", outcome, 200, tenant, key_id, ""), [])
    aggregate.add(seconds)
    counters.answered(aggregate)
