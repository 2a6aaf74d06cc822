"""AccessLog: records each request in metrics, usage, the log and traces."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import structlog

from gateway.catalogue.families import Family
from gateway.observe.metrics import Metrics
from gateway.observe.outcome import SPARED, Aggregates, Labels, Outcome, clock
from gateway.proxy.request import Request
from gateway.proxy.response import Response
from gateway.redis_url import without_keys

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

LONGEST_PATH = 200
LINE_SECONDS = 0.1
"""Between two lines about hits: a line costs as much as many hits."""

log = structlog.get_logger("gateway")


class AccessLog:
    """Records each request in metrics, the log and traces.

    ``hit_sample`` is the share of plain hits that are logged, evenly spread; below 1 there are at most ten such
    lines a second, and each says for how many hits it stands. Every other request has a line of its own.
    Paths are logged of known queries only: an unknown one may hold anything.
    """

    def __init__(
        self, metrics: Metrics, tallies: Aggregates, tracing: Tracing | None = None, *, hit_sample: float = 0.0
    ) -> None:
        self.metrics = metrics
        self.tallies = tallies
        self.tracing = tracing
        self._every = 1 / hit_sample if hit_sample else math.inf
        self._hits = 0  # since the last line
        self._line_at = 0.0  # the next one, at the earliest

    def began(self, request: Request) -> None:
        if self.tracing is not None:
            request.span = self.tracing.request(request.method, request.headers)

    def answered(self, request: Request, response: Response, ended: float) -> None:
        """Record a request whose response was ready when it ``ended``, by the clock of its stages."""
        outcome, kind = response.outcome, kind_of(request, response)
        self.tallies.of(kind).add(ended - request.stages.began)
        if request.joined:
            self.metrics.joined.inc()
        if outcome is not Outcome.HIT:
            self._log(request, response, kind.family, ended)
        elif stands_for := self.hit(ended):
            self._log(request, response, kind.family, ended, hits=stands_for)
        if self.tracing is not None:
            self._trace(request, response, kind.family, ended)

    def hit(self, now: float) -> int:
        """Count a plain hit; how many hits its line stands for, 0 where it is not logged."""
        self._hits += 1
        if self._hits < self._every or (self._every > 1 and now < self._line_at):
            return 0
        stands_for, self._hits, self._line_at = self._hits, 0, now + LINE_SECONDS
        return stands_for

    def abandoned(self, request: Request) -> None:
        """Record a request whose client left before there was a response."""
        self.metrics.abandoned.inc()
        log.info("request_abandoned", **_who(request), stages=request.stages.seconds(clock()))
        if self.tracing is not None:
            self.tracing.answered(request.span, request.method, request.stages, "", {}, clock(), failed=False)

    def line(self, request: Request, response: Response) -> dict[str, Any]:
        """What the log lines of repetitions of this response have in common, whoever asks."""
        return _facts(request, response, kind_of(request, response).family)

    def who(self, request: Request) -> dict[str, Any]:
        """What the log lines of a caller have in common."""
        who = _who(request)
        return {name: value for name, value in who.items() if name not in ("request_id", "trace_id")}

    def repeated(
        self, request_id: bytes, trace: bytes | None, line: dict[str, Any], seconds: float, hits: int
    ) -> None:
        """Log a repeated response; the line stands for so many ``hits``. ``trace`` is its ``traceparent``."""
        given = {} if trace is None or self.tracing is None else {"trace_id": trace[3:35].decode()}
        stages = {"look_up": round(seconds, 6)}
        facts = {"request_id": request_id.decode()} | line | given
        log.info("request", **facts, seconds=round(seconds, 6), stages=stages, hits=hits)

    def _log(self, request: Request, response: Response, family: str, ended: float, **more: Any) -> None:
        write = log.warning if response.outcome is Outcome.FAILED else log.info
        facts = _who(request) | _facts(request, response, family)
        seconds = round(ended - request.stages.began, 6)
        write("request", **facts, seconds=seconds, stages=request.stages.seconds(ended), **more)

    def _trace(self, request: Request, response: Response, family: str, ended: float) -> None:
        assert self.tracing is not None
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "http.response.status_code": response.status,
            "stats_gateway.request_id": request.id.decode(),
            "stats_gateway.tenant": request.tenant.id,
            "stats_gateway.family": family,
            "stats_gateway.outcome": response.outcome.value,
        }
        if response.detail:
            attributes["stats_gateway.detail"] = response.detail
        if request.flight:
            attributes["stats_gateway.flight"] = request.flight
        joined = request.joined_trace if request.joined else ""
        failed = response.outcome is Outcome.FAILED or response.status >= 500
        name = f"{request.method} {family}"
        self.tracing.answered(request.span, name, request.stages, joined, attributes, ended, failed=failed)


def kind_of(request: Request, response: Response) -> Labels:
    """The labels under which a request counts."""
    family = "none" if request.query is None else request.query.family._value_  # ``value`` is slow
    cache = ""
    if response.outcome in SPARED and not request.stages.landed:
        cache = "near" if request.stages.near else "shared"
    return Labels(family, response.outcome, response.status, request.tenant.id, request.key_id, cache)


def _facts(request: Request, response: Response, family: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"method": request.method, "family": family}
    if request.query is not None and request.query.family is not Family.UNKNOWN:
        facts["path"] = shown_path(request.path)
    facts |= {"outcome": response.outcome.value, "status": response.status}
    if response.detail:
        facts["detail"] = response.detail
    if request.flight:
        facts["flight"] = request.flight
    elif response.outcome in SPARED:
        facts["cache"] = "near" if request.stages.near else "shared"
    return facts


def shown_path(path: bytes) -> str:
    """A path fit for the log: bounded, printable, and without anything that looks like a key."""
    text = path[:LONGEST_PATH].decode("latin-1")
    return without_keys("".join(c if " " < c <= "~" else "?" for c in text))


def _who(request: Request) -> dict[str, Any]:
    who: dict[str, Any] = {"request_id": request.id.decode(), "tenant": request.tenant.id}
    if request.key_id is not None:
        who["key"] = request.key_id
    elif request.located is not None and request.located.network:
        who["network"] = request.located.network
        if request.located.withheld:
            who["network_withheld"] = request.located.withheld
    if request.span is not None:
        who["trace_id"] = f"{request.span.get_span_context().trace_id:032x}"
    return who
