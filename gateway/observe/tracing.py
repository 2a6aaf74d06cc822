"""Spans of requests, of their stages and of calls to the service, for an OpenTelemetry collector.

Only imported where it is asked for; needs the extra ``stats-gateway[otel]``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.observe.outcome import Timings, clock

if TYPE_CHECKING:
    from gateway.errors import Headers

NANO = 1e9
W3C = TraceContextTextMapPropagator()
CARRIED = (b"traceparent", b"tracestate")
UNSAMPLED = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")
"""The ``traceparent`` of a trace that its beginner does not record (W3C Trace Context §3.2)."""
Attributes = Mapping[str, str | int | float]


class ForeseenIds(RandomIdGenerator):
    """Random ids, of which that of the next trace is known beforehand: whether it is sampled depends on it."""

    def __init__(self) -> None:
        self.next_trace_id = super().generate_trace_id()

    def generate_trace_id(self) -> int:
        """The id that was foreseen."""
        trace_id, self.next_trace_id = self.next_trace_id, super().generate_trace_id()
        return trace_id


class Tracing:
    """Makes spans. A trace that a client began goes on here (W3C Trace Context), and with ``upstream`` at the
    service too."""

    def __init__(self, processor: SpanProcessor, *, sample: float = 1.0, upstream: bool = False) -> None:
        resource = Resource.create({"service.name": "stats-gateway", "service.version": __version__})
        self._ids, self._sampler = ForeseenIds(), TraceIdRatioBased(sample)
        self._provider = TracerProvider(
            ParentBased(self._sampler), resource, shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("gateway", __version__)
        self._upstream = upstream

    @classmethod
    def to_collector(cls, url: str, *, sample: float, upstream: bool) -> Tracing:
        """Sends spans to a collector by OTLP over HTTP, in the background; they are lost where it is gone."""
        exporter = OTLPSpanExporter(endpoint=url, timeout=5)
        return cls(BatchSpanProcessor(exporter), sample=sample, upstream=upstream)

    def passes_over(self, traceparent: bytes | None) -> bool:
        """Whether a request needs no span, which then has had its turn at being sampled; False where it may need
        one, or its ``traceparent`` is unusual."""
        if traceparent is not None:
            return UNSAMPLED.fullmatch(traceparent) is not None
        if self._ids.next_trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._sampler.bound:
            return False
        self._ids.generate_trace_id()
        return True

    def request(self, method: str, headers: Headers) -> Span:
        """The span of a request that has just arrived."""
        return self._tracer.start_span(method, _context_of(headers), SpanKind.SERVER)

    def answered(
        self,
        span: Span,
        name: str,
        stages: Timings,
        joined: str,
        attributes: Attributes,
        ended: float,
        *,
        failed: bool,
    ) -> None:
        """Ends a request's span, with a span for each of its stages; its answer was there when its clock said
        ``ended``. ``joined`` is the place of the call that it joined."""
        now = time.time_ns() - int((clock() - ended) * NANO)
        if span.is_recording():
            span.update_name(name)
            span.set_attributes(dict(attributes))
            if joined:
                call = get_current_span(_context_of([(b"traceparent", joined.encode())]))
                span.add_link(call.get_span_context())
            if failed:
                span.set_status(Status(StatusCode.ERROR))
            inside = set_span_in_context(span)
            for stage, began, end in stages.spans(ended):
                if stage != "upstream":  # the call has a span of its own
                    start = now - int((ended - began) * NANO)
                    self._tracer.start_span(stage, inside, start_time=start).end(now - int((ended - end) * NANO))
        span.end(now)

    def call(self, parent: Span | None) -> Span:
        """The span of a call to the service, on behalf of a request's span."""
        context = None if parent is None else set_span_in_context(parent)
        return self._tracer.start_span("upstream", context, SpanKind.CLIENT)

    def called(self, span: Span, result: str, tenant: str, flight: str) -> None:
        """Ends a call's span; ``result`` is like 2xx, or the name of what failed it."""
        span.set_attributes(
            {"stats_gateway.result": result, "stats_gateway.tenant": tenant, "stats_gateway.flight": flight}
        )
        if result in ("2xx", "3xx", "4xx"):
            span.set_status(Status(StatusCode.OK))
        else:
            span.set_status(Status(StatusCode.ERROR, result))
        span.end()

    def place(self, span: Span) -> str:
        """A span's place in its trace, as ``traceparent`` (W3C Trace Context §3.2)."""
        return next((value.decode() for name, value in _carried(span) if name == b"traceparent"), "")

    def headers(self, span: Span) -> Headers:
        """The headers that carry a call's trace to the service; none unless ``upstream``."""
        return _carried(span) if self._upstream else []

    def close(self) -> None:
        """Sends what is left. Blocks for some seconds at most."""
        self._provider.shutdown()


def _context_of(headers: Headers) -> Context:
    # A header that is there twice is malformed, and then no trace goes on.
    named = [(name, value) for name, value in headers if name in CARRIED]
    carrier = {name.decode(): value.decode("latin-1") for name, value in named}
    return W3C.extract(carrier if len(carrier) == len(named) else {}, Context())


def _carried(span: Span) -> Headers:
    carrier: dict[str, str] = {}
    W3C.inject(carrier, set_span_in_context(span))
    return [(name.encode(), value.encode("latin-1")) for name, value in carrier.items()]
