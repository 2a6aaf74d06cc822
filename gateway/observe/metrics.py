"""Metrics: what Prometheus scrapes from the admin listener."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from gateway.caching.near import NearCache
    from gateway.upstream.queue import Queue

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One instance's counters and gauges. Labels are bounded: never paths, item ids or keys."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "stats_gateway_requests",
            "Requests answered, by family, outcome and status.",
            ["family", "outcome", "status"],
            registry=self.registry,
        )
        self.upstream_calls = Counter(
            "stats_gateway_upstream_calls",
            "Requests written to the service, by what came of them.",
            ["result"],
            registry=self.registry,
        )
        self.waiters = self._gauge("stats_gateway_flight_waiters", "Callers who wait for a flight.")
        self.flights = self._gauge("stats_gateway_flights", "Flights that have not landed.")
        self.led = self._gauge("stats_gateway_flights_led", "Flights that a process here asks the service for.")
        self.depth = self._gauge(
            "stats_gateway_queue_depth", "Jobs queued in the whole fleet, when last seen.", "max"
        )
        self.gate = self._gauge(
            "stats_gateway_gate_closed_seconds", "Seconds for which the gate is still closed; 0 when open.", "max"
        )
        self.refused = self._gauge(
            "stats_gateway_credentials_refused", "Credentials that the service refuses, when last seen.", "max"
        )
        self.degraded = self._gauge("stats_gateway_degraded", "Processes that have to do without Redis.")
        self.near_bytes = self._gauge("stats_gateway_near_cache_bytes", "Bytes in the near cache.")

    def show(self, queue: Queue, near: NearCache) -> None:
        """Sets the gauges to what they are now."""
        self.waiters.set(queue.waiters)
        self.flights.set(queue.flights)
        self.led.set(queue.led)
        self.depth.set(queue.depth)
        self.gate.set(queue.gate_closed_for)
        self.refused.set(queue.breaker.count)
        self.degraded.set(queue.degraded)
        self.near_bytes.set(near.bytes)

    def _gauge(self, name: str, text: str, mode: str = "livesum") -> Gauge:
        return Gauge(name, text, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    def render(self) -> bytes:
        """The text exposition format; of all workers where they share a directory."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)
