"""The Reports pages: a form, the plan before anything is asked, progress, the table, and the day's jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.responses import Response
from starlette.routing import Route

from gateway.admin.web.explore import tenants_of
from gateway.admin.web.format import span
from gateway.admin.web.pages import HEADERS, PageRequest, Web
from gateway.admin.web.report_form import CHOICES, Fields, Ordered, fields_of, order_of, problem_of
from gateway.admin.web.report_view import ReportView, progress_of, sort_of, view_of
from gateway.errors import CacheUnavailable, GatewayError, InvalidInput
from gateway.jobs.render import document_of
from gateway.jobs.report_api import FORMATS, available, file_headers

T = TypeVar("T")

ONE = "/api/jobs/{job}"
MOST_JOBS = 50
STATES = {
    "running": ("", "running"),
    "paused": ("warn", "paused"),
    "done": ("", "done"),
    "cancelled": ("off", "cancelled"),
    "failed": ("bad", "failed"),
}
"""Of each state of a job, a class of the style sheet, and a word."""
KINDS = {"report": "Report", "batch": "Batch", "warm": "Warming"}
METHODS = {"ranking": "rankings", "each": "each item by itself", "stored": "stored answers"}
LABELS = {
    "tenant": "As whose request",
    "institution": "Institution",
    "item": "Items",
    "ids": "Ids",
    "file": "The file",
    "counters": "Counters",
    "window": "Window",
    "start": "From",
    "end": "To",
    "max_calls": "The most calls",
}
"""The fields that can be wrong, as a message names them."""
FILES = {"csv": "CSV", "csv.json": "What it rests on", "xlsx": "Workbook", "json": "JSON"}
"""The formats in the order of their buttons."""


class MadeOf(Protocol):
    """Makes something of a report's JSON, off the event loop."""

    async def __call__(self, body: bytes, make: Callable[[bytes], T]) -> T: ...


class ReportsPages:
    """Orders reports in two steps, the plan and the start; shows jobs, and what reports came to. ``now`` is in
    seconds since the epoch."""

    def __init__(self, web: Web, made_of: MadeOf, now: Callable[[], float]) -> None:
        self._web = web
        self._made_of = made_of
        self._now = now

    @property
    def routes(self) -> list[Route]:
        page, one = self._web.page, "/reports/{job}"
        return [
            Route("/reports", page(self.look), methods=["GET"]),
            Route("/reports", page(self.order), methods=["POST"]),
            Route(one, page(self.show), methods=["GET"]),
            Route(f"{one}/file", page(self.file), methods=["GET"]),
            Route(f"{one}/cancel", page(self.cancel, changes=True), methods=["POST"]),
            Route(f"{one}/continue", page(self.resume, changes=True), methods=["POST"]),
        ]

    async def look(self, request: PageRequest) -> Response:
        given = request.http.query_params
        fields = Fields(tenant=given.get("tenant", "").strip(), institution=given.get("institution", "").strip())
        return await self._form(request, fields)

    async def order(self, request: PageRequest) -> Response:
        """Show what the report would take; order it once that is confirmed."""
        form, fields = request.form, fields_of(request.form)
        try:
            today = datetime.fromtimestamp(self._now(), UTC).date()
            ordered = await asyncio.to_thread(order_of, fields, request.files.get("file"), today)
            if form.get("confirmed") == "yes":
                job = await self._web.perform(request, "POST", "/api/reports", body=ordered.body)
                return self._web.redirect(request, f"/reports/{job['job']}", "Ordered the report.")
            planned = await self._web.perform(request, "POST", "/api/reports/preview", body=ordered.body)
        except GatewayError as error:
            return await self._form(request, fields, error=error)
        if fields.which == "list":
            fields = replace(fields, ids="\n".join(map(str, ordered.body["ids"])), id_column="")
        return await self._form(request, fields, ordered, planned)

    async def show(self, request: PageRequest) -> Response:
        return await self._show(request)

    async def file(self, request: PageRequest) -> Response:
        form = FORMATS.get(request.http.query_params.get("format", ""))
        if form is None:
            raise InvalidInput(f"format is one of {', '.join(FORMATS)}")
        job, report = await self._job(request), await self._report(request)
        response = Response(await self._made_of(report, form.render), headers=HEADERS)
        response.raw_headers += file_headers(job["about"], form)
        return response

    async def cancel(self, request: PageRequest) -> Response:
        try:
            job = await self._web.perform(request, "POST", f"{ONE}/cancel", job=_id(request))
        except GatewayError as error:
            return await self._show(request, error)
        return self._web.redirect(
            request, f"/reports/{job['job']}", "Cancelled it. What was asked stays in the cache."
        )

    async def resume(self, request: PageRequest) -> Response:
        most = request.form.get("max_calls", "")
        try:
            if most and not (most.isascii() and most.isdecimal() and len(most) < 10):
                raise InvalidInput("The most calls are a whole number, or nothing")
            body = {"max_calls": int(most)} if most else {}
            job = await self._web.perform(request, "POST", f"{ONE}/continue", body=body, job=_id(request))
        except GatewayError as error:
            return await self._show(request, error)
        return self._web.redirect(request, f"/reports/{job['job']}", "It goes on.")

    async def _form(
        self,
        request: PageRequest,
        fields: Fields,
        ordered: Ordered | None = None,
        planned: Mapping[str, Any] | None = None,
        error: GatewayError | None = None,
    ) -> Response:
        """The form, with the plan of what it orders or with what is wrong with it, and the day's jobs."""
        offered = await tenants_of(self._web, request)
        if offered and not fields.tenant:
            own = next(iter(offered[0]["institutions"]), "")
            fields = replace(fields, tenant=offered[0]["id"], institution=fields.institution or own)
        return await asyncio.to_thread(
            self._web.render,
            request,
            "reports.html",
            error=error,
            problem=problem_of(error),
            fields=fields,
            tenants=offered,
            held=sorted({name for each in offered or () for name in each["institutions"]}),
            planned=planned,
            notes=ordered.notes if ordered else [],
            jobs=await self._jobs(request),
            labels=LABELS,
            **self._words(),
        )

    async def _show(self, request: PageRequest, error: GatewayError | None = None) -> Response:
        job = await self._job(request)
        view: ReportView | None = None
        if job["kind"] == "report" and job["state"] == "done":
            try:
                view = await self._view(request)
            except GatewayError as raised:
                error = error or raised
        progress = progress_of(job["calls"], job["left"])
        return await asyncio.to_thread(
            self._web.render,
            request,
            "report.html",
            error=error,
            job=job,
            view=view,
            progress=progress,
            files={name: FILES[name] for name in FILES if name in available()},
            **self._words(),
        )

    async def _view(self, request: PageRequest) -> ReportView:
        given = request.http.query_params
        sort = sort_of(given.get("sort", ""), given.get("order", ""))
        return await self._made_of(await self._report(request), partial(_view, sort=sort))

    async def _job(self, request: PageRequest) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._web.perform(request, "GET", ONE, job=_id(request))
        return found

    async def _report(self, request: PageRequest) -> bytes:
        return bytes(await self._web.perform(request, "GET", f"{ONE}/report", job=_id(request)))

    async def _jobs(self, request: PageRequest) -> list[Mapping[str, Any]] | None:
        """The newest jobs; None where Redis does not answer."""
        try:
            found = await self._web.perform(request, "GET", "/api/jobs", query={"limit": str(MOST_JOBS)})
        except CacheUnavailable:
            return None
        jobs: list[Mapping[str, Any]] = found["jobs"]
        return jobs

    def _words(self) -> dict[str, Any]:
        words = {"choices": CHOICES, "states": STATES, "kinds": KINDS, "methods": METHODS}
        return words | {"span": span, "now": self._now(), "most_jobs": MOST_JOBS}


def _view(body: bytes, sort: Any) -> ReportView:
    return view_of(document_of(body), sort)


def _id(request: PageRequest) -> str:
    id: str = request.http.path_params["job"]
    return id
