"""ReportsApi: orders reports at the public listener, and hands out what they came to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import structs

from gateway.derivation.ranking import FIRST_COUNT
from gateway.errors import ConfigurationError, Forbidden, InvalidInput, Refusal
from gateway.jobs.api import FIXED, JSON, Answer, Handler, JobsApi, in_json, parameter
from gateway.jobs.asking import Answered
from gateway.jobs.columns import Column, ReportRequest, item_target, ranking_target
from gateway.jobs.job import State
from gateway.jobs.means import Means
from gateway.jobs.planning import plan
from gateway.jobs.render import Document, as_csv, as_xlsx, sidecar
from gateway.jobs.report import check_size
from gateway.jobs.report_job import ReportOrder, about, plan_view, result_of, wanting_report
from gateway.jobs.request import Order, read_order
from gateway.jobs.stream import gone
from gateway.jobs.trusts import Trusts, trust_name
from gateway.observe.outcome import Outcome
from gateway.proxy.callers import Requester
from gateway.proxy.request import Request
from gateway.proxy.response import Response
from gateway.tenants.tenant import id_within

LONGEST_NAME = 120
RENDERED_AT_ONCE = 2
"""Reports that one process renders at once; a large one takes seconds of a thread that others need, too."""
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_document = msgspec.json.Decoder(Document)


class ReportNotReady(Refusal, status=409, code="GatewayReportNotReady"):
    """The job has not made its report, or never will; the message says what became of it."""


class FormatUnavailable(Refusal, status=406, code="GatewayFormatUnavailable"):
    """This gateway cannot make the format that was asked for."""


class Format(NamedTuple):
    """A format of reports: how it is made of a report's JSON, its content type, and how its file's name ends."""

    render: Callable[[bytes], bytes]
    content_type: bytes
    ending: str


def _csv(body: bytes) -> bytes:
    return "".join(as_csv(_document.decode(body))).encode()


def _sidecar(body: bytes) -> bytes:
    return sidecar(_document.decode(body))


def _xlsx(body: bytes) -> bytes:
    try:
        return as_xlsx(_document.decode(body))
    except ConfigurationError as error:
        raise FormatUnavailable(error.message) from None


FORMATS: Mapping[str, Format] = {
    "json": Format(lambda body: body, JSON, "json"),
    "csv": Format(_csv, b"text/csv; charset=utf-8; header=present", "csv"),
    "csv.json": Format(_sidecar, JSON, "csv.json"),
    "xlsx": Format(_xlsx, b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
}
"""Every format by its name; the first one that Accept names is taken, else JSON."""


class Stocktaker:
    """Says for a plan what is stored, as one requester finds it. Spends nothing."""

    def __init__(self, means: Means, requester: Requester) -> None:
        self._means = means
        self._requester = requester
        self.interval = means.resolver.queue.budget.spacing

    async def stored(self, targets: Sequence[str]) -> list[Answered | None]:
        """The fresh stored answers to these targets, None where there is none."""
        found = await asyncio.gather(*[self._means.stored(self._requester, target) for target in targets])
        return [None if each is None else each.answered for each in found]


class ReportsApi:
    """Reports are jobs of a tenant, as ``jobs`` orders and streams them."""

    def __init__(self, jobs: JobsApi, trusts: Trusts) -> None:
        self._jobs = jobs
        self._means = jobs.means
        self._trusts = trusts
        self._rendering = asyncio.Semaphore(RENDERED_AT_ONCE)

    @property
    def paths(self) -> dict[str, dict[str, Handler]]:
        """What is answered at which path."""
        return {"/-/reports": {"POST": self._make}, "/-/jobs/{id}/report": {"GET": self._read}}

    async def _make(self, request: Request, _: Mapping[str, str]) -> Answer:
        asked = await asyncio.to_thread(_asked, await self._jobs.body(request))
        report, scope = asked.report, self._authorised(request, asked.report)
        trusted = trust_name(report.institution, scope, report.item)
        order = ReportOrder(report, asked.notes, trusted, await self._trusts.of(trusted))
        if asked.dry_run:
            return await self._plan(request, order)
        wants = await asyncio.to_thread(wanting_report, order)
        job = self._jobs.new(request, "report", len(report.ids or ()))
        job = structs.replace(job, max_calls=asked.max_calls, about=about(report))
        return await self._jobs.ordered(request, job, wants)

    def _authorised(self, request: Request, report: ReportRequest) -> str:
        """The scope that the report's answers are in. Raises Forbidden where the tenant may not ask for some."""
        column = Column(report.counters[0], report.window)
        targets = ranking_target(report, column, FIRST_COUNT), item_target(report, column.counter, 1)
        lookups = [self._means.lookup(request, target) for target in targets]
        access = lookups[0].access
        return (access.own or access).scope

    async def _plan(self, request: Request, order: ReportOrder) -> Response:
        now, stock = self._means.resolver.clock.now(), Stocktaker(self._means, request)
        planned = await plan(order.report, stock, order.trust, now)
        items = {"targets": len(order.report.ids or ()), "about": about(order.report)}
        return in_json(items | {"plan": plan_view(planned), "notes": order.notes})

    async def _read(self, request: Request, path: Mapping[str, str]) -> Answer:
        chosen = _format(request)
        job, standing = await self._jobs.own(request, path["id"])
        if job.kind != "report":
            raise gone()
        if standing.state is not State.DONE:
            raise ReportNotReady(f"The report is not made: its job is {standing.state}. {standing.why}".strip())
        kept = await result_of(self._jobs.store, job, standing)
        if kept is None:
            raise gone()
        if not self._means.may_read(request.tenant, kept):
            raise Forbidden("The institution's credential is not this tenant's any more")
        async with self._rendering:
            body = await asyncio.to_thread(chosen.render, kept.body)
        name = f"{_file_name(job.about)}.{chosen.ending}".encode()
        more = [(b"content-type", chosen.content_type), (b"content-disposition", b"attachment; filename=" + name)]
        return Response(200, [*FIXED, *more], body, Outcome.BYPASS, "job")


def _asked(body: bytes) -> Order:
    """The order in a body. Raises InvalidInput, ReportImpossible."""
    if id_within(body.decode("latin-1")) is not None:
        raise InvalidInput("The body holds a gateway key; a key belongs in a header")  # what is wanted is kept
    order = read_order(body)
    check_size(order.report, order.report.ids or ())
    return order


def _format(request: Request) -> Format:
    """The format that is asked for by name, or by Accept. Raises InvalidInput."""
    name = parameter(request, "format")
    if name and name not in FORMATS:
        raise InvalidInput(f"format: {name[:40]!r} is none of {', '.join(FORMATS)}")
    accepted = request.header(b"accept").lower()
    kinds = [each for each in FORMATS.values() if each.content_type.partition(b";")[0] in accepted]
    return FORMATS[name] if name else next(iter(kinds), FORMATS["json"])


def _file_name(text: str) -> str:
    return NOT_IN_NAMES.sub("-", text)[:LONGEST_NAME].strip("-") or "report"
