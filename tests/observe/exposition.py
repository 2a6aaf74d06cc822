"""What /metrics has: names, labels, types."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.observe.metrics import Metrics
from gateway.observe.outcome import Aggregate, Labels, Outcome
from gateway.tenants.following import Standing
from gateway.upstream.pacing import Priority


def series(text: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """All series of the gateway's own, without their values."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("stats_gateway_")
    }


def answered(metrics: Metrics, tenant: str) -> None:
    """A hit of a tenant is counted."""
    tally = Aggregate(Labels("totals", Outcome.HIT, 200, tenant, None, "near"), [])
    tally.add(0.001)
    metrics.answered(tally)


def used(metrics: Metrics) -> None:
    """Every labelled metric has a series."""
    answered(metrics, "reports")
    metrics.upstream_call("2xx", "reports", 0.1)
    metrics.shape_changed("totals", changed=True)
    metrics.derives("listed")
    metrics.derivation_checked("listed", "equal")
    metrics.dispatched(Priority.PEOPLE, 0.5)
    metrics.show_registry(Standing(None, 0.0))
    metrics.jobs.warming_known("nightly")
    for priority in Priority:
        metrics.depth.labels(priority.label).set(0)
