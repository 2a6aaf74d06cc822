"""JobStream: a job as its client sees it: the plan, each answer as it comes, progress, and the end.

It reads what the job keeps, wherever the job is led, and never holds more than a chunk: a client that reads slowly
slows its own stream, and nobody else's nor the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import msgspec

from gateway.errors import CacheUnavailable, GatewayError, NotFound
from gateway.jobs.job import Job, Standing, State, answer_line, chunk_of, place_of
from gateway.jobs.runner import JobRunner
from gateway.tenants.tenant import Tenant

PROGRESS_SECONDS = 5.0
AT_ONCE = 64 * 1024
"""Bytes of a chunk that are decompressed on the event loop."""

PATIENCE = 20
"""Looks at a job that Redis does not know, half a second apart, until it counts as gone."""

Frame = Callable[[str, bytes, int], bytes]
"""An event of a kind, as JSON, and the number of the answer that it is (0: none), as bytes of a stream."""


def ndjson(kind: str, data: bytes, number: int) -> bytes:
    """A line of JSON."""
    return data + b"\n"


def server_sent(kind: str, data: bytes, number: int) -> bytes:
    """A server-sent event (HTML Standard, §9.2.5), whose id a browser sends back as Last-Event-ID."""
    id = b"id: %d\n" % number if number else b""
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), id, data)


def job_view(job: Job, standing: Standing, interval: float) -> dict[str, Any]:
    """A job and how far it is, as shown to its tenant."""
    order = {"job": job.id, "kind": job.kind, "targets": job.targets, "created": round(job.created, 3)}
    order |= {"about": job.about} if job.about else {}
    return order | {"plan": standing.plan, **counts_view(standing, interval)}


def counts_view(standing: Standing, interval: float) -> dict[str, Any]:
    """How far a job is; ``left`` counts the calls to come, and ``seconds`` is how long they take at the budget."""
    left = 0 if standing.state.is_over else standing.calls_left
    counts = {"answered": standing.answered, "errors": standing.errors, "calls": standing.calls, "left": left}
    how = {"how": standing.hows, "seconds": round(left * interval, 1)}
    return {"state": standing.state, **counts, **how, **({"why": standing.why} if standing.why else {})}


@dataclass(slots=True)
class JobStream:
    """One client's reading of a job, from the answer of number ``start`` on, counted from 1.

    ``identify`` names the tenant whose client it is, anew for each chunk; it raises Unauthenticated. ``draining``
    says that this process ends, so that the client has to go on elsewhere.
    """

    runner: JobRunner
    job: Job
    identify: Callable[[], Tenant]
    draining: Callable[[], bool]
    frame: Frame = ndjson
    start: int = 1

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The stream's bytes, until the job ends or pauses, or the client has to go on elsewhere."""
        try:
            standing = await self._planned()
            yield self._event("plan", job_view(self.job, standing, self._interval))
            async for piece in self._followed(standing):
                yield piece
        except GatewayError as error:
            yield self._event("error", {"error": {"message": error.message, "code": error.code}})

    async def _followed(self, standing: Standing) -> AsyncGenerator[bytes]:
        number, told = self.start, monotonic()
        while True:
            while lines := await self._lines(standing, number):
                yield b"".join([self.frame("answer", line, number + at) for at, line in enumerate(lines)])
                number += len(lines)
            if standing.state is not State.RUNNING and not self._is_behind(standing, number):
                yield self._event("end", {"end": job_view(self.job, standing, self._interval)})
                return
            if self.draining():
                yield self._event("resume", {"resume": {"job": self.job.id, "from": number}})
                return
            if monotonic() - told >= PROGRESS_SECONDS:
                told = monotonic()
                yield self._event("progress", {"progress": counts_view(standing, self._interval)})
            standing = await self._later(standing)

    def _is_behind(self, standing: Standing, number: int) -> bool:
        """Whether there are answers from this number on."""
        return self.job.kind == "batch" and number <= standing.answered

    @property
    def _interval(self) -> float:
        return self.runner.means.resolver.queue.budget.spacing

    def _event(self, kind: str, view: dict[str, Any]) -> bytes:
        return self.frame(kind, msgspec.json.encode(view), 0)

    async def _planned(self) -> Standing:
        """How far the job is once its plan is known."""
        standing = await self._later(None)
        while standing.plan is None and standing.state is State.RUNNING and not self.draining():
            standing = await self._later(standing)
        return standing

    async def _later(self, before: Standing | None) -> Standing:
        """How far the job is when it has made progress, or a moment later. Raises NotFound where it is gone.

        While Redis does not answer nothing is known that is newer; what it forgot, the leader writes again.
        """
        if before is not None:
            await self.runner.progressed(self.job.id)
        for _ in range(PATIENCE):
            try:
                standing = await self.runner.store.standing(self.job.id)
            except CacheUnavailable:
                return before or Standing()
            if standing is not None:
                return standing
            await self.runner.progressed(self.job.id)
        raise gone()

    async def _lines(self, standing: Standing, number: int) -> list[bytes]:
        """The answers from this number on, as many as one chunk has; none where it cannot be read now. Raises
        NotFound where it never will be."""
        if not self._is_behind(standing, number):
            return []
        index, at = place_of(standing.chunks, number - 1)
        try:
            data = await self.runner.store.chunk(self.job.id, index)
        except CacheUnavailable:
            return []
        if data is None and standing.state is not State.RUNNING:
            raise gone()
        if data is None:
            return []
        chunk = chunk_of(data) if len(data) < AT_ONCE else await asyncio.to_thread(chunk_of, data)
        means, tenant = self.runner.means, self.identify()
        now = means.resolver.clock.now()
        shown = [means.shown(tenant, each) for each in chunk.answers[at:]]
        return [answer_line(number + place, each, now) for place, each in enumerate(shown)]


def gone() -> NotFound:
    """The error for a job that does not exist, is another tenant's, or is kept no longer."""
    return NotFound("There is no such job, or it is kept no longer")
