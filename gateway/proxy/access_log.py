"""Teller: tells of each request and each upstream call: metrics, usage, one line of the log, spans."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import structlog

from gateway.catalogue.query import Family
from gateway.observe.aggregate import Aggregates, Labels
from gateway.observe.metrics import Metrics
from gateway.observe.outcome import SPARED, Outcome, clock
from gateway.proxy.request import Exchange
from gateway.proxy.response import Answer
from gateway.redis_url import without_keys

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

LONGEST_PATH = 200
LINE_SECONDS = 0.1
"""Between two lines about hits: one costs as much as many hits do."""

log = structlog.get_logger("gateway")


class Teller:
    """``hit_sample`` is the share of plain hits that the log has a line of, evenly spread; below 1 there are at
    most ten such lines a second, and each says for how many hits it stands. All else has a line each.

    Paths are logged of known queries alone: what an unknown one holds, nobody knows.
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

    def began(self, exchange: Exchange) -> None:
        """A request has come in."""
        if self.tracing is not None:
            exchange.span = self.tracing.request(exchange.method, exchange.headers)

    def answered(self, exchange: Exchange, answer: Answer, ended: float) -> None:
        """A request's answer was there when it ``ended``, by the clock of its stages."""
        outcome, kind = answer.outcome, kind_of(exchange, answer)
        self.tallies.of(kind).add(ended - exchange.stages.began)
        if exchange.joined:
            self.metrics.joined.inc()
        if outcome is not Outcome.HIT:
            self._log(exchange, answer, kind.family, ended)
        elif stands_for := self.hit(ended):
            self._log(exchange, answer, kind.family, ended, hits=stands_for)
        if self.tracing is not None:
            self._trace(exchange, answer, kind.family, ended)

    def hit(self, now: float) -> int:
        """Counts a plain hit; for how many the line stands that it should have, 0 where it should have none."""
        self._hits += 1
        if self._hits < self._every or (self._every > 1 and now < self._line_at):
            return 0
        stands_for, self._hits, self._line_at = self._hits, 0, now + LINE_SECONDS
        return stands_for

    def abandoned(self, exchange: Exchange) -> None:
        """A request's client left before there was an answer."""
        self.metrics.abandoned.inc()
        log.info("request_abandoned", **_who(exchange), stages=exchange.stages.seconds(clock()))
        if self.tracing is not None:
            self.tracing.answered(exchange.span, exchange.method, exchange.stages, "", {}, clock(), failed=False)

    def line(self, exchange: Exchange, answer: Answer) -> dict[str, Any]:
        """What all lines of the log have in common that tell of this request, given again."""
        return self._facts(exchange, answer, kind_of(exchange, answer).family)

    def given_again(self, line: dict[str, Any], request_id: bytes, seconds: float, hits: int) -> None:
        """The line of a hit that was given again; it stands for so many."""
        stages, again = {"look_up": round(seconds, 6)}, {"request_id": request_id.decode()}
        log.info("request", **line | again, seconds=round(seconds, 6), stages=stages, hits=hits)

    def _facts(self, exchange: Exchange, answer: Answer, family: str) -> dict[str, Any]:
        facts: dict[str, Any] = _who(exchange)
        facts |= {"method": exchange.method, "family": family}
        if exchange.query is not None and exchange.query.family is not Family.UNKNOWN:
            facts["path"] = shown_path(exchange.path)
        facts |= {"outcome": answer.outcome.value, "status": answer.status}
        if answer.detail:
            facts["detail"] = answer.detail
        if exchange.flight:
            facts["flight"] = exchange.flight
        elif answer.outcome in SPARED:
            facts["cache"] = "near" if exchange.stages.near else "shared"
        return facts

    def _log(self, exchange: Exchange, answer: Answer, family: str, ended: float, **more: Any) -> None:
        told = log.warning if answer.outcome is Outcome.FAILED else log.info
        facts = self._facts(exchange, answer, family)
        seconds = round(ended - exchange.stages.began, 6)
        told("request", **facts, seconds=seconds, stages=exchange.stages.seconds(ended), **more)

    def _trace(self, exchange: Exchange, answer: Answer, family: str, ended: float) -> None:
        assert self.tracing is not None
        attributes: dict[str, str | int] = {
            "http.request.method": exchange.method,
            "http.response.status_code": answer.status,
            "stats_gateway.request_id": exchange.id.decode(),
            "stats_gateway.tenant": exchange.tenant.id,
            "stats_gateway.family": family,
            "stats_gateway.outcome": answer.outcome.value,
        }
        if answer.detail:
            attributes["stats_gateway.detail"] = answer.detail
        if exchange.flight:
            attributes["stats_gateway.flight"] = exchange.flight
        joined = exchange.joined_trace if exchange.joined else ""
        failed = answer.outcome is Outcome.FAILED or answer.status >= 500
        name = f"{exchange.method} {family}"
        self.tracing.answered(exchange.span, name, exchange.stages, joined, attributes, ended, failed=failed)


def kind_of(exchange: Exchange, answer: Answer) -> Labels:
    """As what a request counts."""
    family = "none" if exchange.query is None else exchange.query.family.value
    cache = ""
    if answer.outcome in SPARED and not exchange.stages.landed:
        cache = "near" if exchange.stages.near else "shared"
    return Labels(family, answer.outcome, answer.status, exchange.tenant.id, exchange.key_id, cache)


def shown_path(path: bytes) -> str:
    """A path fit for the log: bounded, printable, and without anything that looks like a key."""
    text = path[:LONGEST_PATH].decode("latin-1")
    return without_keys("".join(c if " " < c <= "~" else "?" for c in text))


def _who(exchange: Exchange) -> dict[str, Any]:
    who: dict[str, Any] = {"request_id": exchange.id.decode(), "tenant": exchange.tenant.id}
    if exchange.key_id is not None:
        who["key"] = exchange.key_id
    elif exchange.located is not None and exchange.located.network:
        who["network"] = exchange.located.network
        if exchange.located.withheld:
            who["network_withheld"] = exchange.located.withheld
    if exchange.span is not None:
        who["trace_id"] = f"{exchange.span.get_span_context().trace_id:032x}"
    return who
