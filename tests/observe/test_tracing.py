"""Spans, as they leave the process."""

from __future__ import annotations

import time

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.observe.outcome import Timings, clock
from gateway.observe.tracing import Tracing

SECOND = 1_000_000_000


def test_a_request_and_its_stages_end_when_the_answer_was_there_not_when_it_was_sent() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), sample=1.0, upstream=False)
    span, stages = tracing.request("GET", []), Timings()
    sent_for = 30.0
    ended = clock() - sent_for
    stages.began = ended - 1.0
    tracing.answered(span, "GET totals", stages, "", {}, ended, failed=False)
    identify, request = exporter.get_finished_spans()
    assert identify.end_time is not None
    assert identify.start_time is not None
    assert round((identify.end_time - identify.start_time) / SECOND, 3) == 1.0
    assert identify.end_time == request.end_time
    assert identify.end_time < time.time_ns() - (sent_for - 1) * SECOND
