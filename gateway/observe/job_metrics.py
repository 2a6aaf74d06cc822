"""The metrics of jobs: batches, warming and reports. No label is an id, a target or an item."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

from prometheus_client import Counter, Gauge

LABELS: dict[str, tuple[str, ...]] = {
    "kind": ("batch", "warm", "report"),
    "how": ("cached", "stale", "call", "joined", "refused"),
    "state": ("done", "failed", "cancelled", "paused"),
    "method": ("stored", "ranking", "each"),
    "result": ("agreed", "differed", "unproved"),
}
"""The labels that have a series before anything is counted, and their values."""


class JobMetrics:
    """What the jobs of one instance did. ``counter`` and ``gauge`` make metrics of a name, a text and labels."""

    def __init__(self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]) -> None:
        self._running = gauge("jobs_running", "Jobs that a process of this instance leads.", "kind")
        self._ended = counter("jobs_ended", "Jobs that ended, or paused at their max_calls.", "kind", "state")
        self._carried_on = counter("jobs_carried_on", "Jobs whose leader was gone, and that went on here.", "kind")
        self._answers = counter("job_answers", "Answers that jobs got, and how these came.", "kind", "how")
        self._calls = counter("job_calls", "Calls to the service that jobs made.", "kind")
        self._columns = counter("report_columns", "Columns of reports, by how they were filled.", "method")
        self._checks = counter("report_checks", "Checks of a counter's rankings in reports.", "result")
        self._runs = counter("warming_runs", "Runs of scheduled warmings.", "warming", "result")
        kinds = LABELS["kind"]
        for metric in (self._running, self._carried_on, self._calls):
            _at_zero(metric, product(kinds))
        _at_zero(self._ended, product(kinds, LABELS["state"]))
        _at_zero(self._answers, product(kinds, LABELS["how"]))
        _at_zero(self._columns, product(LABELS["method"]))
        _at_zero(self._checks, product(LABELS["result"]))

    def led(self, kind: str, change: int) -> None:
        """Count one job that is led from now on (1), or not any more (-1)."""
        self._running.labels(kind).inc(change)

    def carried_on(self, kind: str) -> None:
        self._carried_on.labels(kind).inc()

    def ended(self, kind: str, state: str) -> None:
        """Count a job that ended, or that pauses."""
        self._ended.labels(kind, state).inc()

    def answered(self, kind: str, hows: Iterable[tuple[str, int]], calls: int) -> None:
        """Count answers by how they came, and the calls that were made for them."""
        for how, count in hows:
            self._answers.labels(kind, how).inc(count)
        if calls:
            self._calls.labels(kind).inc(calls)

    def column(self, method: str) -> None:
        """Count a column of a report, by how it was filled."""
        self._columns.labels(method).inc()

    def check(self, result: str) -> None:
        """Count a check of a counter's rankings: they agreed, they differed, or too little came to say so."""
        self._checks.labels(result).inc()

    def warming_known(self, warming: str) -> None:
        """Show a scheduled warming before its first run: an alert needs a number to compare with."""
        _at_zero(self._runs, product((warming,), ("done", "incomplete", "failed", "cancelled", "skipped")))

    def warming_ran(self, warming: str, result: str) -> None:
        """Count a run of a scheduled warming: ``done``; ``incomplete``, some targets have no answer; ``failed``;
        ``cancelled``; or ``skipped``, since the run before it went on, or the fleet missed its time."""
        self._runs.labels(warming, result).inc()


def _at_zero(metric: Counter | Gauge, labels: Iterable[tuple[str, ...]]) -> None:
    for each in labels:
        metric.labels(*each)
