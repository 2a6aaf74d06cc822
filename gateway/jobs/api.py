"""JobsApi: batches, warming and jobs at the public listener, under ``/-/``."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.errors import GatewayError, Headers, InvalidInput, Refusal, Unauthenticated
from gateway.jobs.drivers import groups
from gateway.jobs.job import Job, Plan, Standing, State, wanting
from gateway.jobs.request import MOST_CALLS
from gateway.jobs.runner import JobRunner
from gateway.jobs.stream import JobStream, gone, job_view, ndjson, server_sent
from gateway.jobs.wanted import MOST_BYTES, Wanted, wanted
from gateway.lifecycle import Lifecycle
from gateway.observe.outcome import Outcome
from gateway.proxy.callers import Callers, Requester, in_time
from gateway.proxy.request import ClientGone, Request
from gateway.proxy.response import Response, preflight, refusal_of
from gateway.tenants.tenant import Tenant

log = structlog.get_logger("gateway")

JSON, LINES, EVENTS = b"application/json", b"application/x-ndjson", b"text/event-stream"
YES = frozenset({"1", "true", "yes"})
FIXED: Headers = [(b"cache-control", b"no-store"), (b"vary", b"X-API-Key, Authorization, Origin, Accept")]

ID_BYTES = 16
ID = re.compile(f"[0-9a-f]{{{2 * ID_BYTES}}}")
NUMBER = re.compile("[1-9][0-9]{0,8}")

Answer = Response | JobStream
Handler = Callable[[Request, Mapping[str, str]], Awaitable[Answer]]
"""Answers a request whose caller is identified and admitted; the mapping has what the path says."""


class NotPaused(Refusal, status=409, code="GatewayNotPaused"):
    """A job that does not pause cannot be continued."""


class JobsApi:
    """Orders jobs, streams them, lists and ends them. A job is its tenant's: for all others there is none.

    A body may take ``body_seconds``.
    """

    def __init__(self, runner: JobRunner, callers: Callers, lifecycle: Lifecycle, body_seconds: float) -> None:
        self.store = runner.store
        self.means = runner.means
        self.runner = runner
        self._callers = callers
        self._lifecycle = lifecycle
        self._body_seconds = body_seconds

    @property
    def paths(self) -> dict[str, dict[str, Handler]]:
        """What is answered at which path."""
        return {
            "/-/batch": {"POST": self._batch},
            "/-/warm": {"POST": self._warm},
            "/-/jobs": {"GET": self._list},
            "/-/jobs/{id}": {"GET": self._read, "DELETE": self._end},
            "/-/jobs/{id}/continue": {"POST": self._continue},
        }

    async def body(self, request: Request) -> bytes:
        """What a job is ordered by. Raises BodyTooLarge, DeadlineExceeded."""
        return await in_time(request.body(MOST_BYTES), request.arrived + self._body_seconds)

    def new(self, requester: Requester, kind: str, targets: int) -> Job:
        """A job of the requester's tenant."""
        id, now = secrets.token_hex(ID_BYTES), self.means.resolver.clock.now()
        return Job(id, requester.tenant.id, kind, targets, now)

    async def ordered(self, request: Request, job: Job, wants: bytes) -> Answer:
        """Lead the job; its stream, or a view of it for a client that wants JSON. Raises TooManyJobs."""
        await self.runner.order(job, wants)
        return self._begun(request, job, Standing())

    async def continued(self, job: Job, standing: Standing, max_calls: int | None) -> tuple[Job, Standing]:
        """Go on with a job that pauses, within so many calls in all, or any number.

        Raises InvalidInput, NotPaused.
        """
        if max_calls is not None and not standing.calls < max_calls <= MOST_CALLS:
            made = standing.calls
            raise InvalidInput(f'"max_calls" is a whole number, more than the {made} calls that were made')
        job = msgspec.structs.replace(job, max_calls=max_calls)
        if standing.state is not State.PAUSED:
            raise NotPaused(f"The job does not pause; it is {standing.state}")
        if not await self.runner.resume(job, standing):
            raise NotPaused("The job does not pause any more; somebody else continued or ended it")
        return job, msgspec.structs.replace(standing, state=State.RUNNING, why="")

    async def own(self, request: Request, id: str) -> tuple[Job, Standing]:
        """The tenant's job with this id. Raises NotFound for any other."""
        found = await self.store.find(id) if ID.fullmatch(id) else None
        if found is None or found[0].tenant != request.tenant.id:
            raise gone()
        return found

    async def _batch(self, request: Request, _: Mapping[str, str]) -> Answer:
        asked = await self._wanted(request)
        if asked.dry_run:
            return await self._plan(request, asked.targets)
        wants = await asyncio.to_thread(wanting, asked.targets)
        return await self.ordered(request, self.new(request, "batch", len(asked.targets)), wants)

    async def _warm(self, request: Request, _: Mapping[str, str]) -> Answer:
        asked = await self._wanted(request)
        if asked.dry_run:
            return await self._plan(request, asked.targets)
        job, wants = self.new(request, "warm", len(asked.targets)), await asyncio.to_thread(wanting, asked.targets)
        await self.runner.order(job, wants)
        return in_json({"job": job.id, "kind": job.kind, "targets": job.targets}, 202, [location(job)])

    async def _list(self, request: Request, _: Mapping[str, str]) -> Answer:
        jobs = await self.store.of(request.tenant.id)
        return in_json({"jobs": [self.view(job, standing) for job, standing in jobs]})

    async def _read(self, request: Request, path: Mapping[str, str]) -> Answer:
        job, standing = await self.own(request, path["id"])
        if _wants_view(request):
            return in_json(self.view(job, standing))
        return self._stream(request, job, _start(request))

    async def _continue(self, request: Request, path: Mapping[str, str]) -> Answer:
        job, standing = await self.own(request, path["id"])
        return self._begun(request, *await self.continued(job, standing, _most_calls(request)))

    def _begun(self, request: Request, job: Job, standing: Standing) -> Answer:
        if _wants_view(request):
            return in_json(self.view(job, standing), 202, [location(job)])
        return self._stream(request, job, 1)

    def view(self, job: Job, standing: Standing) -> dict[str, Any]:
        """A job and how far it is, as shown to its tenant."""
        return job_view(job, standing, self.means.resolver.queue.budget.spacing)

    async def _end(self, request: Request, path: Mapping[str, str]) -> Answer:
        job, standing = await self.own(request, path["id"])
        await self.store.cancel(job, standing)
        return Response(204, FIXED, b"", Outcome.BYPASS, "job")

    async def _wanted(self, request: Request) -> Wanted:
        """What the body asks for. Raises InvalidInput, BodyTooLarge, DeadlineExceeded."""
        asked = await asyncio.to_thread(wanted, await self.body(request), request.header(b"content-type"))
        dry_run = asked.dry_run or parameter(request, "dry_run").lower() in YES
        return msgspec.structs.replace(asked, dry_run=dry_run)

    async def _plan(self, request: Request, targets: list[str]) -> Response:
        """What a list would take; nothing is spent or kept."""
        requester, known, missing = Requester(request.id, request.tenant), Counter[str](), set[str]()
        for group in groups(targets):
            found = await asyncio.gather(*[self.means.stored(requester, target) for target in group])
            known.update([each.how for each in found if each is not None])
            missing.update([target for target, each in zip(group, found, strict=True) if each is None])
        seconds = len(missing) * self.means.resolver.queue.budget.spacing
        plan = Plan(known["cached"], known["refused"], len(missing), round(seconds, 1))
        return in_json({"targets": len(targets), "plan": plan})

    def _stream(self, request: Request, job: Job, start: int) -> JobStream:
        frame = server_sent if EVENTS in request.header(b"accept") else ndjson

        def identify() -> Tenant:
            tenant = self._callers.present(request)
            if tenant.id != job.tenant:
                raise gone()
            return tenant

        return JobStream(self.runner, job, identify, lambda: self._lifecycle.draining, frame, start)


def routes_of(callers: Callers, paths: Mapping[str, Mapping[str, Handler]]) -> list[Route]:
    """The routes of these handlers, by path and method."""
    return [
        Route(path, Endpoint(callers, methods), methods=[*methods, "OPTIONS"]) for path, methods in paths.items()
    ]


class Endpoint:
    """An ASGI app that answers the methods of one path, each by its handler."""

    def __init__(self, callers: Callers, methods: Mapping[str, Handler]) -> None:
        self._callers = callers
        self._methods = {"HEAD": methods["GET"], **methods} if "GET" in methods else methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error is one in the service's shape."""
        request = Request.of(scope, receive)
        try:
            answer = await self._answered(request, scope["path_params"])
        except ClientGone:
            return
        except GatewayError as error:
            answer = refusal_of(error)
        except Exception:
            log.exception("internal_error", request_id=request.id.decode())
            answer = refusal_of(GatewayError("The gateway failed on this request; its log says why."))
        if request.method != "OPTIONS":
            request.extra_headers += self._callers.page_headers(request)
        if isinstance(answer, Response):
            await answer.send(scope, send, request.extra_headers)
        else:
            await _streamed(answer, request, scope, send)

    async def _answered(self, request: Request, path: Mapping[str, str]) -> Answer:
        if request.method == "OPTIONS":
            methods = b", ".join(sorted(each.encode() for each in self._methods))
            granted = preflight(request.method, request.headers, methods=methods)
            return Response(204, [(b"allow", methods)] if granted is None else granted, b"", Outcome.BYPASS)
        await self._callers.identify(request)
        if request.tenant.anonymous:
            raise Unauthenticated("A job belongs to a tenant: this needs a gateway key")
        await self._callers.admit(request)
        return await self._methods[request.method](request, path)


async def _streamed(stream: JobStream, request: Request, scope: Scope, send: Send) -> None:
    """Send a stream piece by piece, no faster than its client reads; the job goes on when that has gone."""
    kind = EVENTS if stream.frame is server_sent else LINES
    headers = [*FIXED, (b"content-type", kind), (b"x-accel-buffering", b"no"), location(stream.job)]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, *request.extra_headers]})

    async def pieces() -> None:
        async with aclosing(stream.pieces()) as given:
            async for piece in given:
                await send({"type": "http.response.body", "body": piece, "more_body": True})

    if scope["method"] != "HEAD":
        try:
            await request.while_connected(pieces())
        except ClientGone:
            return
    await send({"type": "http.response.body", "body": b""})


def in_json(value: Any, status: int = 200, more: Headers = []) -> Response:  # noqa: B006 (never changed)
    """A value as JSON."""
    headers = [*FIXED, (b"content-type", JSON), *more]
    return Response(status, headers, msgspec.json.encode(value), Outcome.BYPASS, "job")


def location(job: Job) -> tuple[bytes, bytes]:
    """The header that says where a job is."""
    return (b"location", b"/-/jobs/" + job.id.encode())


def parameter(request: Request, name: str) -> str:
    """The last value of a parameter of the query; empty where there is none."""
    return parse_qs(request.query_string.decode("latin-1")).get(name, [""])[-1]


def _wants_view(request: Request) -> bool:
    """Whether the client takes a job's state as JSON rather than a stream."""
    accepted = request.header(b"accept")
    return JSON in accepted and not any(kind in accepted for kind in (LINES, EVENTS))


def _most_calls(request: Request) -> int | None:
    """The ``max_calls`` to continue with; None for any number. What is no number counts as 0, which is too few."""
    given = parameter(request, "max_calls")
    return (int(given) if NUMBER.fullmatch(given) else 0) if given else None


def _start(request: Request) -> int:
    """The number of the first answer that is asked for: ``from``, or the one after Last-Event-ID. Raises
    InvalidInput."""
    last, first = request.header(b"last-event-id").decode("latin-1"), parameter(request, "from")
    if NUMBER.fullmatch(first):
        return int(first)
    if first:
        raise InvalidInput('"from" is the number of an answer, from 1 on')
    return int(last) + 1 if NUMBER.fullmatch(last) else 1
