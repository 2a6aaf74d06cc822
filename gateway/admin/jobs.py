"""The admin API's operations on jobs: those of all tenants, and reports that are ordered and read as a tenant."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from gateway.admin.operations import Call, Operation, Parameter
from gateway.errors import Forbidden, InvalidInput, NoSuchRecord, Refusal
from gateway.jobs.api import ID, JobsApi
from gateway.jobs.job import Job, Standing, State
from gateway.jobs.means import Withdrawn
from gateway.jobs.report_api import ReportsApi, possible
from gateway.jobs.request import Order, ReportBody, checked_order
from gateway.jobs.stream import gone
from gateway.proxy.callers import Callers
from gateway.proxy.request import Request
from gateway.tenants.registry import Registry
from gateway.tenants.tenant import Tenant, id_within

ORDERED_AT = b"/-/reports"
"""What a tenant's own client would ask."""
SHOWN, SHOWN_MOST = 100, 500
NUMBER = re.compile("[1-9][0-9]{0,3}")


class TenantReportBody(ReportBody, forbid_unknown_fields=True, kw_only=True):
    """A report as a tenant would order it."""

    tenant: Annotated[str, msgspec.Meta(max_length=63)]


class ContinueBody(msgspec.Struct, forbid_unknown_fields=True):
    """Within how many calls in all a job goes on; null for any number."""

    max_calls: int | None = None


class JobEnded(Refusal, status=409, code="GatewayJobEnded"):
    """A job that has ended cannot be cancelled."""


class JobsAdminApi:
    """Operations on jobs. A report spends what the tenant's own would: its limit, and its share of the budget.

    What a job keeps is authorised at each read, as for the tenant itself.
    """

    def __init__(self, jobs: JobsApi, reports: ReportsApi, registry: Registry, callers: Callers) -> None:
        self._jobs = jobs
        self._reports = reports
        self._registry = registry
        self._callers = callers

    @property
    def operations(self) -> list[Operation]:
        one, preview = "/api/jobs/{job}", "/api/reports/preview"
        listed = {
            "tenant": Parameter("only this tenant's"),
            "limit": Parameter(f"how many, the newest; {SHOWN} by default, {SHOWN_MOST} at most"),
        }
        plan, order = "What a report would take; nothing is asked", "Order a report as a tenant"
        report = "A report that is made, for its tenant"
        return [
            Operation("GET", "/api/jobs", "Jobs of the last day", self.list, listed),
            Operation("GET", one, "How far a job is", self.show),
            Operation("POST", f"{one}/cancel", "End a job that runs or pauses", self.cancel),
            Operation("POST", f"{one}/continue", "Go on with a job that pauses", self.resume, body=ContinueBody),
            Operation("GET", f"{one}/report", report, self.report, reveals=True),
            Operation("POST", preview, plan, self.plan, body=TenantReportBody),
            Operation("POST", "/api/reports", order, self.order, body=TenantReportBody, status=202),
        ]

    async def list(self, call: Call) -> Any:
        limit = call.query.get("limit", str(SHOWN))
        if not NUMBER.fullmatch(limit) or int(limit) > SHOWN_MOST:
            raise InvalidInput(f"limit must be from 1 to {SHOWN_MOST}")
        found = await self._jobs.store.newest(int(limit), call.query.get("tenant"))
        return {"jobs": [self._view(job, standing) for job, standing in found]}

    async def show(self, call: Call) -> Any:
        return self._view(*await self._found(call))

    async def cancel(self, call: Call) -> Any:
        job, standing = await self._found(call)
        call.facts["tenant"] = job.tenant
        if not await self._jobs.store.cancel(job, standing, forget=False):
            raise JobEnded("The job has ended already")
        return self._view(job, msgspec.structs.replace(standing, state=State.CANCELLED))

    async def resume(self, call: Call) -> Any:
        job, standing = await self._found(call)
        call.facts.update({"tenant": job.tenant, "max_calls": call.body.max_calls})
        self._tenant(job.tenant)
        return self._view(*await self._jobs.continued(job, standing, call.body.max_calls))

    async def report(self, call: Call) -> Any:
        """A report as JSON. Raises ReportNotReady; Forbidden where its tenant may not read it any more."""
        job, standing = await self._found(call)
        call.facts["tenant"] = job.tenant
        try:
            tenant = self._jobs.means.tenant(job.tenant)
        except Withdrawn:
            raise Forbidden("The tenant whose report this is is disabled, or there is no such tenant") from None
        return msgspec.Raw(await self._reports.result(tenant, job, standing))

    async def plan(self, call: Call) -> Any:
        asked = await asyncio.to_thread(_asked, call.body)
        return await self._reports.plan(self._requester(call.body.tenant), asked)

    async def order(self, call: Call) -> Any:
        asked = await asyncio.to_thread(_asked, call.body)
        requester = self._requester(call.body.tenant)
        call.facts.update({"tenant": requester.tenant.id, "institution": asked.report.institution})
        await self._callers.admit(requester)
        if asked.dry_run:
            return await self._reports.plan(requester, asked)
        job, wants = await self._reports.job(requester, asked)
        call.facts.update({"job": job.id, "max_calls": job.max_calls})
        await self._jobs.runner.order(job, wants)
        return self._view(job, Standing())

    def _requester(self, tenant: str) -> Request:
        """A request as the tenant's client would send it."""
        request = Request.get(ORDERED_AT)
        self._callers.impersonate(request, self._tenant(tenant))
        return request

    def _tenant(self, id: str) -> Tenant:
        tenant = self._registry.directory.tenants.get(id)
        if tenant is None:
            raise NoSuchRecord("there is no such tenant")
        if not tenant.enabled:
            raise InvalidInput("tenant: it is disabled")
        return tenant

    async def _found(self, call: Call) -> tuple[Job, Standing]:
        id = call.path["job"]
        found = await self._jobs.store.find(id) if ID.fullmatch(id) else None
        if found is None:
            raise gone()
        return found

    def _view(self, job: Job, standing: Standing) -> Mapping[str, Any]:
        """A job as its tenant sees it; whose it is, and for how many seconds it has been there."""
        over = standing.state is not State.RUNNING and standing.ended
        elapsed = (over or self._jobs.means.resolver.clock.now()) - job.created
        own = {"tenant": job.tenant, "max_calls": job.max_calls, "elapsed": round(max(0.0, elapsed), 1)}
        return {"about": "", "why": ""} | self._jobs.view(job, standing) | own


def _asked(body: TenantReportBody) -> Order:
    """The order in a body. Raises InvalidInput, ReportImpossible."""
    if id_within(msgspec.json.encode(body).decode()) is not None:
        raise InvalidInput("The body holds a gateway key; a key belongs in a header")  # what is wanted is kept
    return possible(checked_order(body))
