"""A report as a job: what is kept of its order, what drives it, and the result that it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

import msgspec

from gateway.cache.entry import compress, decompress
from gateway.cache.keys import PUBLIC
from gateway.errors import Refusal
from gateway.jobs.asker import JobAsker
from gateway.jobs.checks import Trust
from gateway.jobs.columns import ReportRequest
from gateway.jobs.job import Chunk, Job, Kept, Plan, Standing, chunk_of
from gateway.jobs.means import Means
from gateway.jobs.planning import Plan as ReportPlan
from gateway.jobs.planning import plan
from gateway.jobs.render import as_json, document
from gateway.jobs.report import Report, make
from gateway.jobs.store import JobStore
from gateway.jobs.trusts import Trusts
from gateway.observe.job_metrics import JobMetrics

HEARD_SECONDS = 10.0
"""Within which every process knows of a purge."""
RESULT = "report"
"""Stands in the target's place of the answer that holds a report."""


class CredentialChanged(Refusal, status=409, code="GatewayCredentialChanged"):
    """A report was made of answers to two credentials, which nobody may read together."""


class ReportOrder(msgspec.Struct, frozen=True):
    """A report that was ordered, and what it began with: the ``notes`` about its ids, and the ``trust`` kept under
    the name ``trusted``."""

    report: ReportRequest
    notes: tuple[str, ...]
    trusted: str
    trust: Trust


_encode = msgspec.msgpack.Encoder().encode
_order = msgspec.msgpack.Decoder(ReportOrder)


def wanting_report(order: ReportOrder) -> bytes:
    """The order as bytes, compressed, as a job keeps what it wants."""
    return compress(_encode(order))


def order_of(wants: bytes) -> ReportOrder:
    """The order of these bytes. Raises what ``msgspec`` and the compression raise."""
    return _order.decode(decompress(wants))


def about(request: ReportRequest) -> str:
    """What a report is, in a line for people."""
    days = f", {request.first} to {request.last}" if request.is_dated else ""
    return f"{request.institution}, {request.item}: {', '.join(request.counters)} by {request.by}{days}"


def plan_view(planned: ReportPlan) -> Plan:
    """A report's plan as every job shows its own."""
    return Plan(
        cached=0,
        refused=0,
        calls=planned.best,
        seconds=round(planned.best_seconds, 1),
        worst=planned.worst,
        worst_seconds=None if planned.worst_seconds is None else round(planned.worst_seconds, 1),
        methods={choice.counter: choice.method for choice in planned.choices},
    )


class ReportDriver:
    """Drives jobs that make reports. ``now`` is the time of the fleet, in Unix seconds."""

    def __init__(self, trusts: Trusts, now: Callable[[], float], metrics: JobMetrics) -> None:
        self._trusts = trusts
        self._now = now
        self._metrics = metrics

    async def drive(self, wants: bytes, asker: JobAsker) -> None:
        """Make the report and keep it, unless a former leader did. Its chance and its clock are the job's, so that
        every leader asks the same. Raises ReportImpossible, CredentialChanged, and what the asker raises."""
        log = asker.log
        if log.replayed(RESULT, None) is not None:
            return
        order = await asker.apart(lambda: order_of(wants))
        request, trust, ordered = order.report, order.trust, log.job.created
        planned = await plan(request, asker, trust, ordered)
        if log.standing.plan is None:
            log.plan(plan_view(planned))
        draw = Random(log.job.id)  # noqa: S311 (chooses samples)
        report = await make(request, asker, ordered, draw=draw, trust=trust, planned=planned)
        made = self._now()
        body = await asker.apart(lambda: as_json(document(replace(report, made=made), order.notes)))
        result = Kept(RESULT, 200, made, "made", body, request.institution, scope_of(asker.scopes))
        await log.add([result], durable=True)
        count(report, self._metrics)
        await self._trusts.keep(order.trusted, report.trust)


def count(report: Report, metrics: JobMetrics) -> None:
    """Count how a report's columns were filled, and what the checks of its rankings came to, once a counter."""
    for each in report.columns:
        metrics.column(each.method)
    for counter in report.request.counters:
        bases = [each for each in report.columns if each.column.counter == counter]
        if any(each.difference is not None for each in bases):
            metrics.check("differed")
        elif any(each.why for each in bases):
            metrics.check("unproved")
        elif any(each.checked for each in bases):
            metrics.check("agreed")


def scope_of(scopes: Iterable[tuple[str | None, str]]) -> str:
    """The scope of what rests on answers in these, each with its institution, besides public ones. Raises
    CredentialChanged."""
    found = {scope for _, scope in scopes}
    if len(found) > 1:
        raise CredentialChanged("The institution's credential changed while the report was made; order it again")
    return found.pop() if found else PUBLIC


async def is_purged(store: JobStore, means: Means, job: Job, standing: Standing) -> bool:
    """Whether some answer that a report may rest on was purged hard since, and not asked for anew. Raises
    CacheUnavailable."""
    resolver = means.resolver
    if resolver.purges.newest.hard < job.created + resolver.clock.skew - HEARD_SECONDS:
        return False  # nothing was purged since the job began
    last: dict[tuple[str, float | None], float] = {}
    for index in range(len(standing.chunks)):
        data = await store.chunk(job.id, index)
        chunk = Chunk() if data is None else await asyncio.to_thread(chunk_of, data)
        last |= {(each.target, each.since): means.purged(each).hard for each in chunk.answers}
    return any(last.values())


async def result_of(store: JobStore, job: Job, standing: Standing) -> Kept | None:
    """The report of a job that has made it; None where it is kept no longer. Raises CacheUnavailable."""
    data = await store.chunk(job.id, len(standing.chunks) - 1)
    chunk = None if data is None else await asyncio.to_thread(chunk_of, data)
    return next((each for each in reversed(chunk.answers) if each.target == RESULT), None) if chunk else None
