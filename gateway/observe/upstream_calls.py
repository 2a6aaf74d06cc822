"""Requests to the service, as metrics, counters, log and traces report them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from gateway.catalogue.families import Family
from gateway.errors import Headers, UpstreamDisconnected
from gateway.observe.counters import DayCounters, MinuteCounters
from gateway.observe.metrics import Metrics
from gateway.observe.outcome import clock

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

log = structlog.get_logger("gateway")
LOST = UpstreamDisconnected.__name__
"""The result of a call whose connection had ended before it could be answered."""


@dataclass(frozen=True, slots=True)
class OnBehalfOf:
    """The tenant for which a call counts, the request that began it, and its span."""

    tenant: str
    request_id: str = ""
    span: Any = field(default=None, repr=False)


class UpstreamCall:
    """A call begins when a flight's turn has come, is ``written`` once its slot is confirmed, and ends once. Where
    it is written once more, on a new connection, each time counts.

    ``seconds`` is the service's own time, as far as it is known.
    """

    def __init__(
        self,
        metrics: Metrics,
        days: DayCounters,
        minutes: MinuteCounters,
        tracing: Tracing | None,
        caller: OnBehalfOf,
        flight: str,
    ) -> None:
        self._metrics = metrics
        self._days = days
        self._minutes = minutes
        self._tracing = tracing
        self._caller = caller
        self._flight = flight
        self._span: Any = None if tracing is None else tracing.call(caller.span)
        self._began = clock()
        self._written = False
        self.seconds = 0.0

    @property
    def trace(self) -> str:
        """The call's place in its trace, as ``traceparent``; empty where nothing is traced."""
        return "" if self._tracing is None else self._tracing.place(self._span)

    @property
    def headers(self) -> Headers:
        """The headers that carry the trace to the service."""
        return [] if self._tracing is None else self._tracing.headers(self._span)

    def written(self) -> None:
        """Notes that the request is about to be written."""
        now = clock()
        if self._written:
            self._count(LOST, now - self._began, {})
        self._began, self._written = now, True

    def ended(self, result: str, **facts: Any) -> None:
        """Notes the ``result``: like 2xx where the service answered, else the error's name. It is counted and
        logged in the loop's next turn."""
        self.seconds = clock() - self._began
        self._end_span(result)
        self._count(result, self.seconds, facts)

    def _count(self, result: str, seconds: float, facts: dict[str, Any]) -> None:
        # Done while the landing is on its way to Redis: nobody who waits for the answer waits for this.
        asyncio.get_running_loop().call_soon(self._report, result, seconds, facts)

    def _report(self, result: str, seconds: float, facts: dict[str, Any]) -> None:
        caller = self._caller
        self._days.call(caller.tenant)
        self._minutes.call()
        self._metrics.upstream_call(result, caller.tenant, seconds)
        log.info(
            "upstream_call",
            request_id=caller.request_id,
            tenant=caller.tenant,
            flight=self._flight,
            result=result,
            **facts,
            seconds=round(seconds, 6),
            **({} if self._span is None else {"trace_id": f"{self._span.get_span_context().trace_id:032x}"}),
        )

    def dropped(self, why: str) -> None:
        """Notes that nothing was asked after all."""
        self._end_span(why)

    def _end_span(self, result: str) -> None:
        if self._tracing is not None:
            self._tracing.called(self._span, result, self._caller.tenant, self._flight)


def report_shapes(metrics: Metrics) -> Callable[[Family, tuple[str, ...]], None]:
    """A function that reports a change in the shape of a family's answers, by their new top-level names; without
    names, they have the known shape again."""

    def report(family: Family, names: tuple[str, ...]) -> None:
        metrics.shape_changed(family, changed=bool(names))
        if names:
            log.error(
                "answers_changed",
                family=family,
                names=names,
                consequence="passed on, and kept for a minute; what was stored still stands in for failures",
            )
        else:
            log.warning("answers_as_known", family=family)

    return report
