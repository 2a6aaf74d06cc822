"""The metrics that Prometheus scrapes from the admin listener; ``docs/metrics.md`` says what each means."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

from gateway import __version__
from gateway.observe.job_metrics import JobMetrics
from gateway.observe.logs import BUFFER_BYTES, dropped_lines
from gateway.observe.outcome import BOUNDS
from gateway.upstream.credential_breaker import REFUSALS
from gateway.upstream.pacing import COMMON, Priority

if TYPE_CHECKING:
    from gateway.cache.store import Store
    from gateway.observe.outcome import Aggregate
    from gateway.redis import Client
    from gateway.tenants.following import Standing
    from gateway.upstream.queue import Queue

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MOST_TENANTS = 200
TENANT = "tenant"
OTHER = "other"
"""The label of all tenants beyond those."""
ANSWERING = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
"""Bounds in seconds for what may be a hit or wait for the service; all of them are bounds of aggregates too."""
PLACES = [bisect_left(ANSWERING, bound) for bound in (*BOUNDS, float("inf"))]
"""For each bucket of an aggregate, the bucket of these bounds."""
ASKING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Bounds in seconds for the service's own time."""
REGISTRY_TROUBLES = ("unread", "doubtful", "broken")
WAITING = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Bounds in seconds for a queued call's wait in the queue."""


class TenantNames:
    """Labels of tenants: the first that are seen have their own, all others share one, so series stay bounded."""

    def __init__(self, most: int = MOST_TENANTS) -> None:
        self._most = most
        self._seen: set[str] = set()

    def label(self, tenant: str) -> str:
        if tenant in self._seen:
            return tenant
        if len(self._seen) >= self._most:
            return OTHER
        self._seen.add(tenant)
        return tenant


class Total:
    """A counter that follows a number which only grows and is kept elsewhere."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._last = 0.0

    def reached(self, value: float) -> None:
        """Brings the counter up to ``value``."""
        if value > self._last:
            self._counter.inc(value - self._last)
            self._last = value


class Histogram(prometheus_client.Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: list[int], seconds: float) -> None:
        """Adds observations by bucket, which took so many seconds in all."""
        self._raise_if_not_observable()  # type: ignore[no-untyped-call]
        self._sum.inc(seconds)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class WithoutTenants(CollectorRegistry):
    """Another registry's metrics, with the series of all tenants summed up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        # Counters alone have that label: their numbers add up, and they were made when the first one was.
        for metric in self._registry.collect():
            if any(TENANT in sample.labels for sample in metric.samples):
                yield _summed(metric)
            else:
                yield metric


def _summed(metric: Metric) -> Metric:
    found = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for name, labels, value, *_ in metric.samples:
        series = (name, tuple((labels | {TENANT: ""}).items()))
        before = values.get(series)
        if before is None:
            values[series] = value
        else:
            values[series] = min(before, value) if name.endswith("_created") else before + value
    for (name, pairs), value in values.items():
        found.add_sample(name, dict(pairs), value)
    return found


class Metrics:
    """One instance's counters, gauges and histograms. Labels are bounded: never paths, item ids or keys."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        if SHARED_FOLDER not in os.environ:
            ProcessCollector(registry=self.registry)
        self._tenants = TenantNames()
        self._of_requests()
        self._of_the_upstream()
        self._of_the_cache()
        self._of_the_fleet()
        self._of_the_process()
        self.jobs = JobMetrics(self._counter, self._gauge)

    # What is counted as it happens

    def answered(self, aggregate: Aggregate) -> None:
        each, outcome = aggregate.labels, aggregate.labels.outcome.value
        tenant = self._tenants.label(each.tenant)
        self.requests.labels(each.family, outcome, str(each.status), tenant).inc(aggregate.count)
        counts = [0] * (len(ANSWERING) + 1)
        for bucket, count in aggregate.filled:
            counts[PLACES[bucket]] += count
        self.request_duration.labels(outcome).add(counts, aggregate.seconds)
        if each.cache:
            self.hits.labels(each.cache).inc(aggregate.count)

    def wrong_token(self, via: str) -> None:
        """Counts a wrong admin token, which came via the form, the API or the metrics."""
        self.wrong_tokens.labels(via).inc()

    def upstream_call(self, result: str, tenant: str, seconds: float) -> None:
        """Counts a request written to the service, with its result."""
        self.upstream_calls.labels(result, self._tenants.label(tenant)).inc()
        self.upstream_duration.labels(result).observe(seconds)

    def shape_changed(self, family: str, *, changed: bool) -> None:
        """Notes whether the service answers a family in a shape that is not known."""
        self.changed.labels(family).set(changed)

    def dispatched(self, priority: Priority, waited: float) -> None:
        """Counts a queued call whose turn came after ``waited`` seconds."""
        self.queue_wait.labels(priority.label).observe(waited)

    def derives(self, rule: str) -> None:
        """Counts an answer that was derived by a rule."""
        self.derived.labels(rule).inc()

    def derivation_checked(self, rule: str, result: str) -> None:
        """Counts a comparison of what a rule derived with what the service said."""
        self.derivation_checks.labels(rule, result).inc()

    # What is kept elsewhere, and looked up when it is asked for

    def show(self, queue: Queue, store: Store, redis: Client) -> None:
        """Brings the metrics of queue, store, Redis and log up to date."""
        self.waiters.set(queue.waiters)
        self.flights.set(queue.flights)
        self.led.set(queue.led)
        for priority in Priority:
            self.depth.labels(priority.label).set(queue.depths[priority])
        self.processes.set(queue.fleet.processes)
        self.fleet_size.set(queue.fleet.rules.size)
        for setting in COMMON:
            self.disagreement.labels(setting).set(setting in queue.fleet.differing)
        self.rate.set(queue.budget.rate)
        self.gate.set(queue.gate_closed_for)
        for sign in REFUSALS:
            self.gate_reason.labels(sign.value).set(queue.gate_closed_for > 0 and queue.gate.why == sign)
        self.targets.set(queue.targets_refused)
        self.refused.set(queue.breaker.count)
        self.degraded.set(queue.degraded)
        self.near_bytes.set(store.near.bytes)
        self.near_entries.set(len(store.near))
        self.evictions.reached(store.near.evicted)
        self.undecodable.reached(store.undecodable)
        self.recalled.reached(store.recalled)
        self.refusals.reached(queue.breaker.refusals)
        self.closings.reached(queue.gate.closings)
        for kind, lines in dropped_lines().items():
            self.dropped[kind].reached(lines)
        circuit = getattr(redis.connection_pool, "breaker", None)
        if circuit is not None:
            self.redis_errors.reached(circuit.errors)

    def show_registry(self, standing: Standing) -> None:
        """Brings the metrics of the registry up to date."""
        self.registry_age.set(standing.age)
        for reason in REGISTRY_TROUBLES:
            self.registry_trouble.labels(reason).set(standing.reason == reason)

    def passed(self, seconds: float, *, degraded: bool) -> None:
        """Counts time that passed, where that was without Redis."""
        if degraded:
            self.degraded_seconds.inc(seconds)

    def render(self, *, named: bool = True) -> bytes:
        """The text exposition format, of all workers where they share a directory. Unless tenants are to be
        ``named``, all of them have one series, whose label is empty."""
        registry, folder = self.registry, os.environ.get(SHARED_FOLDER)
        if folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(registry if named else WithoutTenants(registry))

    def _of_requests(self) -> None:
        self.requests = self._counter("requests", "Requests answered.", "family", "outcome", "status", TENANT)
        self.request_duration = self._histogram(
            "request_duration_seconds", "From a request's head to its answer's.", ANSWERING, "outcome"
        )
        self.wrong_tokens = self._counter("admin_wrong_tokens", "Wrong admin tokens, by the way they came.", "via")
        _at_zero(self.wrong_tokens, ("form", "api", "metrics"))
        self.abandoned = self._counter(
            "requests_abandoned", "Requests whose client reset its connection before the answer."
        )
        self.joined = self._counter("flights_joined", "Requests answered by a flight that was under way already.")

    def _of_the_upstream(self) -> None:
        self.upstream_calls = self._counter(
            "upstream_calls", "Requests written to the service, by what came of them.", "result", TENANT
        )
        self.upstream_duration = self._histogram(
            "upstream_call_duration_seconds", "The service's own time for an answer.", ASKING, "result"
        )
        self.queue_wait = self._histogram(
            "queue_wait_seconds", "From a call's submission to its turn.", WAITING, "band"
        )
        self.changed = self._common(
            "answer_shape_changed", "1 while the service answers in a shape that is not known.", "family"
        )
        self.rate = self._common(
            "budget_calls_per_second", "Upstream calls that the whole fleet may make; +Inf: any."
        )
        self.refusals = self._total("credential_refusals", "Times that the service refused a credential.")
        self.closings = self._total("gate_closings", "Times that this instance saw the gate close.")

    def _of_the_cache(self) -> None:
        self.hits = self._counter("cache_hits", "Requests answered by what was stored, and where.", "cache")
        _at_zero(self.hits, ("near", "shared"))
        self.prepared = self._total(
            "prepared_answers", "Hits that were given like an earlier one, in the fast lane."
        )
        self.derived = self._counter("derived", "Answers that were derived from others, by their rule.", "rule")
        self.derivation_checks = self._counter(
            "derivation_checks", "Comparisons of derived answers with the service's own.", "rule", "result"
        )
        self.near_bytes = self._gauge("near_cache_bytes", "Bytes in the near cache.")
        self.near_entries = self._gauge("near_cache_entries", "Records in the near cache.")
        self.evictions = self._total("near_cache_evictions", "Records that left the near cache for want of room.")
        self.undecodable = self._total(
            "undecodable_records", "Records in Redis that could not be read, and were misses."
        )
        self.recalled = self._total(
            "answers_recalled", "Stored answers that may have been those of other requests."
        )
        self.redis_errors = self._total("redis_errors", "Failures of Redis connections and commands.")
        self.degraded = self._gauge("degraded", "Processes that have to do without Redis.")
        self.degraded_seconds = self._counter("degraded_seconds", "Time spent without Redis, by all processes.")

    def _of_the_fleet(self) -> None:
        self.waiters = self._gauge("flight_waiters", "Callers who wait for a flight.")
        self.flights = self._gauge("flights", "Flights that have not landed.")
        self.led = self._gauge("flights_led", "Flights that a process here asks the service for.")
        self.depth = self._common("queue_depth", "Calls queued in the whole fleet, when last seen.", "band")
        self.processes = self._common("fleet_processes", "Processes of the fleet, when last seen.")
        self.fleet_size = self._common(
            "fleet_size", "Processes that the budget is shared among without Redis, at least."
        )
        self.disagreement = self._common(
            "fleet_disagreement", "1 where processes on this Redis have another value of this setting.", "setting"
        )
        _at_zero(self.disagreement, COMMON)
        self.gate = self._common("gate_closed_seconds", "Seconds for which the gate is still closed; 0 when open.")
        self.gate_reason = self._common(
            "gate_reason", "1 for the sign that closed the gate, while it is closed.", "reason"
        )
        _at_zero(self.gate_reason, [sign.value for sign in REFUSALS])
        self.targets = self._common(
            "targets_refused", "Targets that are not asked for now since the service refused them."
        )
        self.refused = self._common(
            "credentials_refused", "Credentials that are not used at present, when last seen."
        )
        self.registry_age = self._common(
            "registry_age_seconds", "Seconds since what is known of who may ask was all of it."
        )
        self.registry_trouble = self._gauge(
            "registry_trouble", "Processes that go on with the registry's last good state.", "reason"
        )

    def _of_the_process(self) -> None:
        lines = self._counter("log_lines_dropped", "Lines that could not be written to standard error.", "kind")
        self.dropped = {kind: Total(lines.labels(kind)) for kind in BUFFER_BYTES}
        self.connections_refused = self._total(
            "connections_refused", "Clients' connections that were beyond the limit."
        )
        self.files_exhausted = self._total(
            "open_files_exhausted",
            "Looks, twenty a second, at which no file could be opened: a sample, no count of connections.",
        )
        build = self._common("build_info", "Always 1; the label is the version.", "version")
        build.labels(version=__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"stats_gateway_{name}", text, labels, registry=self.registry)

    def _total(self, name: str, text: str) -> Total:
        return Total(self._counter(name, text))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge that workers which share a directory add up."""
        return Gauge(f"stats_gateway_{name}", text, labels, registry=self.registry, multiprocess_mode="livesum")

    def _common(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge of the whole fleet or machine, the greatest of all workers'."""
        return Gauge(f"stats_gateway_{name}", text, labels, registry=self.registry, multiprocess_mode="livemax")

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"stats_gateway_{name}", text, labels, registry=self.registry, buckets=bounds)


def _at_zero(metric: Counter | Gauge, values: Iterable[str]) -> None:
    """Gives a metric its series before anything is counted."""
    for value in values:
        metric.labels(value)
