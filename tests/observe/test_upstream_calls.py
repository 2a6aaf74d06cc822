"""Calls as they are told of."""

from __future__ import annotations

import asyncio
from time import time

from structlog.testing import capture_logs

from gateway.observe.counters import DayCounters, MinuteCounters
from gateway.observe.metrics import Metrics
from gateway.observe.upstream_calls import OnBehalfOf, UpstreamCall
from gateway.redis import Client


async def test_a_call_is_told_of_once_its_landing_had_time_to_go_out(redis_client: Client, prefix: str) -> None:
    metrics = Metrics()
    pulse, usage = MinuteCounters(redis_client, prefix, time), DayCounters(redis_client, prefix, 3)
    call = UpstreamCall(metrics, usage, pulse, None, OnBehalfOf("reports", "r-1"), "f-1")
    counted = metrics.upstream_calls.labels("2xx", "reports")._value
    with capture_logs() as logs:
        call.ended("2xx", status=200)
        assert (logs, counted.get()) == ([], 0)
        assert call.seconds > 0
        await asyncio.sleep(0)
        assert counted.get() == 1
    (line,) = logs
    facts = {"tenant": "reports", "flight": "f-1", "result": "2xx", "status": 200}
    assert line == facts | {
        "event": "upstream_call",
        "log_level": "info",
        "request_id": "r-1",
        "seconds": round(call.seconds, 6),
    }


async def test_a_call_that_is_written_once_more_on_a_new_connection_counts_twice(
    redis_client: Client, prefix: str
) -> None:
    metrics = Metrics()
    pulse, usage = MinuteCounters(redis_client, prefix, time), DayCounters(redis_client, prefix, 3)
    call = UpstreamCall(metrics, usage, pulse, None, OnBehalfOf("reports", "r-1"), "f-1")
    with capture_logs() as logs:
        call.written()
        call.written()
        call.ended("2xx", status=200)
        await asyncio.sleep(0)
    assert [(line["result"], line.get("status")) for line in logs] == [
        ("UpstreamDisconnected", None),
        ("2xx", 200),
    ]
    for result in ("UpstreamDisconnected", "2xx"):
        assert metrics.upstream_calls.labels(result, "reports")._value.get() == 1
