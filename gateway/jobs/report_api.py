"""ReportsApi: orders reports at the public listener, and hands out what they came to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from msgspec import structs

from gateway.derivation.ranking import FIRST_COUNT
from gateway.errors import AnswerPurged, ConfigurationError, Forbidden, Headers, InvalidInput, Refusal
from gateway.jobs.api import FIXED, JSON, Answer, Handler, JobsApi, in_json, parameter
from gateway.jobs.asking import Answered
from gateway.jobs.columns import Column, ReportRequest, item_target, ranking_target
from gateway.jobs.job import Job, Standing, State
from gateway.jobs.means import Means
from gateway.jobs.planning import plan
from gateway.jobs.render import HAS_XLSX, as_csv, as_xlsx, document_of, sidecar
from gateway.jobs.report import check_size
from gateway.jobs.report_job import ReportOrder, about, is_purged, plan_view, result_of, wanting_report
from gateway.jobs.request import Order, read_order
from gateway.jobs.stream import gone
from gateway.jobs.trusts import Trusts, trust_name
from gateway.observe.outcome import Outcome
from gateway.proxy.callers import Requester
from gateway.proxy.request import Request
from gateway.proxy.response import Response
from gateway.tenants.tenant import Tenant, id_within

LONGEST_NAME = 120
RENDERED_AT_ONCE = 2
"""Reports that one process renders at once; a large one takes seconds of a thread that others need, too."""
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
T = TypeVar("T")


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
    return b"".join(map(str.encode, as_csv(document_of(body))))


def _xlsx(body: bytes) -> bytes:
    try:
        return as_xlsx(document_of(body))
    except ConfigurationError as error:
        raise FormatUnavailable(error.message) from None


FORMATS: Mapping[str, Format] = {
    "json": Format(lambda body: body, JSON, "json"),
    "csv": Format(_csv, b"text/csv; charset=utf-8; header=present", "csv"),
    "csv.json": Format(sidecar, JSON, "csv.json"),
    "xlsx": Format(_xlsx, b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
}
"""Every format by its name; the first one that Accept names is taken, else JSON."""


def available() -> list[str]:
    """The names of the formats that this gateway can make."""
    return [name for name in FORMATS if name != "xlsx" or HAS_XLSX]


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

    async def plan(self, requester: Requester, asked: Order) -> dict[str, Any]:
        """What a report would take; nothing is spent or kept. Raises Forbidden."""
        order = await self._order(requester, asked)
        now, stock = self._means.resolver.clock.now(), Stocktaker(self._means, requester)
        planned = await plan(order.report, stock, order.trust, now)
        items = {"targets": len(order.report.ids or ()), "about": about(order.report)}
        return items | {"plan": plan_view(planned), "notes": order.notes}

    async def job(self, requester: Requester, asked: Order) -> tuple[Job, bytes]:
        """The job that makes a report, and what it wants. Raises Forbidden."""
        order = await self._order(requester, asked)
        wants = await asyncio.to_thread(wanting_report, order)
        job = self._jobs.new(requester, "report", len(order.report.ids or ()))
        return structs.replace(job, max_calls=asked.max_calls, about=about(order.report)), wants

    async def result(self, tenant: Tenant, job: Job, standing: Standing) -> bytes:
        """A report as JSON, for its tenant.

        Raises NotFound, ReportNotReady; Forbidden where the tenant may not read it any more.
        """
        if job.kind != "report":
            raise gone()
        if standing.state is not State.DONE:
            raise ReportNotReady(f"The report is not made: its job is {standing.state}. {standing.why}".strip())
        kept = await result_of(self._jobs.store, job, standing)
        if kept is None:
            raise gone()
        if not self._means.may_read(tenant, kept):
            raise Forbidden("The institution's credential is not this tenant's any more")
        if await is_purged(self._jobs.store, self._means, job, standing):
            raise AnswerPurged("Answers that the report rests on were purged; order it again")
        return kept.body

    async def made_of(self, body: bytes, make: Callable[[bytes], T]) -> T:
        """What is made of a report's JSON, off the event loop, not too many at once."""
        async with self._rendering:
            return await asyncio.to_thread(make, body)

    async def _make(self, request: Request, _: Mapping[str, str]) -> Answer:
        asked = await asyncio.to_thread(_asked, await self._jobs.body(request))
        if asked.dry_run:
            return in_json(await self.plan(request, asked))
        return await self._jobs.ordered(request, *await self.job(request, asked))

    async def _order(self, requester: Requester, asked: Order) -> ReportOrder:
        report, scope = asked.report, self._authorised(requester, asked.report)
        trusted = trust_name(report.institution, scope, report.item)
        return ReportOrder(report, asked.notes, trusted, await self._trusts.of(trusted))

    def _authorised(self, requester: Requester, report: ReportRequest) -> str:
        """The scope that the report's answers are in. Raises Forbidden where the tenant may not ask for some."""
        column = Column(report.counters[0], report.window)
        targets = ranking_target(report, column, FIRST_COUNT), item_target(report, column.counter, 1)
        lookups = [self._means.lookup(requester, target) for target in targets]
        access = lookups[0].access
        return (access.own or access).scope

    async def _read(self, request: Request, path: Mapping[str, str]) -> Answer:
        chosen = _format(request)
        job, standing = await self._jobs.own(request, path["id"])
        kept = await self.result(request.tenant, job, standing)
        body = await self.made_of(kept, chosen.render)
        return Response(200, [*FIXED, *file_headers(job.about, chosen)], body, Outcome.BYPASS, "job")


def _asked(body: bytes) -> Order:
    """The order in a body. Raises InvalidInput, ReportImpossible."""
    if id_within(body.decode("latin-1")) is not None:
        raise InvalidInput("The body holds a gateway key; a key belongs in a header")  # what is wanted is kept
    return possible(read_order(body))


def possible(order: Order) -> Order:
    """The order. Raises ReportImpossible where it is for more than a report may hold."""
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


def file_headers(about: str, form: Format) -> Headers:
    """The headers of a report as a file."""
    name = NOT_IN_NAMES.sub("-", about)[:LONGEST_NAME].strip("-") or "report"
    as_file = f"attachment; filename={name}.{form.ending}".encode()
    return [(b"content-type", form.content_type), (b"content-disposition", as_file)]
