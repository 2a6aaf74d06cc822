"""Call: one request to the service, as metrics, usage, log and traces are told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from gateway.catalogue.query import Family
from gateway.errors import Headers, UpstreamDisconnected
from gateway.observe.days import Usage
from gateway.observe.metrics import Metrics
from gateway.observe.minutes import Pulse
from gateway.observe.outcome import clock

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

log = structlog.get_logger("gateway")
LOST = UpstreamDisconnected.__name__
"""The result of a call whose connection had ended before it could be answered."""


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf the service is asked: the tenant it counts for, the request that began it, and its span."""

    tenant: str
    request_id: str = ""
    span: Any = field(default=None, repr=False)


class Call:
    """Begins when a flight's turn has come, is ``written`` once its slot is confirmed, and ends once. Where it is
    written once more, on a new connection, the first time counts for itself.

    ``seconds`` is the service's own time, as far as it is known; ``trace`` the call's place in its trace.
    """

    def __init__(
        self, metrics: Metrics, usage: Usage, pulse: Pulse, tracing: Tracing | None, asker: Asker, flight: str
    ) -> None:
        self._metrics = metrics
        self._usage = usage
        self._pulse = pulse
        self._tracing = tracing
        self._asker = asker
        self._flight = flight
        self._span: Any = None if tracing is None else tracing.call(asker.span)
        self._began = clock()
        self._written = False
        self.seconds = 0.0

    @property
    def trace(self) -> str:
        """As ``traceparent``; empty where nothing is traced."""
        return "" if self._tracing is None else self._tracing.place(self._span)

    @property
    def headers(self) -> Headers:
        """What the service is told of the trace."""
        return [] if self._tracing is None else self._tracing.headers(self._span)

    def written(self) -> None:
        """The request is about to be written."""
        now = clock()
        if self._written:
            self._count(LOST, now - self._began, {})
        self._began, self._written = now, True

    def ended(self, result: str, **facts: Any) -> None:
        """The service answered, ``result`` being like 2xx, or failed, ``result`` being the error's name. That is
        counted and logged in the loop's next turn."""
        self.seconds = clock() - self._began
        self._end_span(result)
        self._count(result, self.seconds, facts)

    def _count(self, result: str, seconds: float, facts: dict[str, Any]) -> None:
        # Done while the landing is on its way to Redis: nobody who waits for the answer waits for this.
        asyncio.get_running_loop().call_soon(self._tell, result, seconds, facts)

    def _tell(self, result: str, seconds: float, facts: dict[str, Any]) -> None:
        asker = self._asker
        self._usage.call(asker.tenant)
        self._pulse.call()
        self._metrics.upstream_call(result, asker.tenant, seconds)
        log.info(
            "upstream_call",
            request_id=asker.request_id,
            tenant=asker.tenant,
            flight=self._flight,
            result=result,
            **facts,
            seconds=round(seconds, 6),
            **({} if self._span is None else {"trace_id": f"{self._span.get_span_context().trace_id:032x}"}),
        )

    def dropped(self, why: str) -> None:
        """Nothing was asked after all."""
        self._end_span(why)

    def _end_span(self, result: str) -> None:
        if self._tracing is not None:
            self._tracing.called(self._span, result, self._asker.tenant, self._flight)


def telling_of_shapes(metrics: Metrics) -> Callable[[Family, tuple[str, ...]], None]:
    """Tells that the service changed the shape of a family's answers, by their new top-level names, or that it is
    back at the known one, which is without names."""

    def told(family: Family, names: tuple[str, ...]) -> None:
        metrics.shape_told(family, changed=bool(names))
        if names:
            log.error(
                "answers_changed",
                family=family,
                names=names,
                consequence="passed on, and kept for a minute; what was stored still stands in for failures",
            )
        else:
            log.warning("answers_as_known", family=family)

    return told
