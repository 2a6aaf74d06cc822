"""JobRunner: leads jobs, those that were ordered here and those whose leader is gone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import ERROR, INFO
from time import monotonic

import structlog
from msgspec import structs

from gateway.errors import CacheUnavailable, Refusal
from gateway.jobs.asker import JobAsker
from gateway.jobs.asking import CallsExceeded, Ended
from gateway.jobs.drivers import Kind
from gateway.jobs.job import Job, Standing, State
from gateway.jobs.log import JobLog
from gateway.jobs.means import Means, Withdrawn
from gateway.jobs.store import LEASE_SECONDS, JobStore
from gateway.lifecycle import Lifecycle
from gateway.upstream.tasks import jittered, signalled

MOST_LED = 64
"""Jobs that one process leads at once."""
POLL_SECONDS = 1.0
TEND_SECONDS = LEASE_SECONDS / 4
"""Between two looks at a job that is led: a lease outlasts three that fail."""
LOOK_SECONDS = 0.5
"""Between two looks at a job that another process leads."""
GRACE_SECONDS = 2.0
"""For the last words to Redis when the process ends."""

log = structlog.get_logger("gateway")

Outcome = tuple[State, str]
"""What becomes of a job, and why; running: another process carries on with it."""
LEFT: Outcome = (State.RUNNING, "")


@dataclass(slots=True, eq=False)
class Led:
    """A job that this process leads."""

    asker: JobAsker
    task: asyncio.Task[None] = field(init=False)


class JobRunner:
    """Leads jobs by a lease. A job is led by one process at a time: what another writes of it is not taken.

    While the process drains, no further calls begin; once those outstanding have ended, the job is left to the
    process that takes it next.
    """

    def __init__(self, store: JobStore, means: Means, kinds: Mapping[str, Kind], lifecycle: Lifecycle) -> None:
        self.store = store
        self.means = means
        self._kinds = kinds
        self._lifecycle = lifecycle
        self._led: dict[str, Led] = {}

    def __repr__(self) -> str:
        return f"<JobRunner {len(self._led)} led>"

    async def order(self, job: Job, wants: bytes) -> None:
        """Keep a new job and lead it. Raises TooManyJobs, CacheUnavailable, and Ended where there is one of its id
        already."""
        token = secrets.token_hex(8)
        await self.store.create(job, wants, token)
        log.info("job_ordered", job=job.id, tenant=job.tenant, kind=job.kind, targets=job.targets)
        self._lead(JobLog(self.store, job, wants, token, Standing()))

    async def resume(self, job: Job, standing: Standing) -> bool:
        """Lead a paused job, with the ``max_calls`` that it has now; False where it does not pause any more.

        Raises CacheUnavailable.
        """
        led = self._led.get(job.id)
        if led is not None and led.asker.log.standing.state is State.PAUSED:
            await asyncio.wait({led.task})  # its last words may be under way
        wants, token = await self.store.wants(job.id), secrets.token_hex(8)
        if wants is None or not await self.store.resume(job, token):
            return False
        log.info("job_resumed", job=job.id, tenant=job.tenant, kind=job.kind, max_calls=job.max_calls)
        running = structs.replace(standing, state=State.RUNNING, why="")
        self._lead(JobLog(self.store, job, wants, token, running))
        return True

    async def progressed(self, id: str, seconds: float = LOOK_SECONDS) -> None:
        """Return when a job has made progress, or so many seconds have passed."""
        led = self._led.get(id)
        if led is None:
            await asyncio.sleep(seconds)
        else:
            await signalled(led.asker.log.progressed, seconds)

    async def run(self) -> None:
        """Carry on with jobs whose leader is gone, until cancelled."""
        while True:
            await asyncio.sleep(jittered(POLL_SECONDS))
            try:
                while len(self._led) < MOST_LED and not self._lifecycle.draining and await self._carry_on():
                    pass
            except CacheUnavailable:
                continue

    async def stop(self) -> None:
        """Leave all jobs to other processes."""
        tasks = [led.task for led in self._led.values()]
        for led in self._led.values():
            led.asker.outstanding.closed = True
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)

    async def _carry_on(self) -> bool:
        """Take one job that nobody leads; False where there is none for this process."""
        id = await self.store.claim()
        if id is None:
            return False
        if id in self._led:
            return True  # its lease could not be renewed in time, and nobody else has taken it
        found, wants, token = await self.store.find(id), await self.store.wants(id), secrets.token_hex(8)
        if found is not None and found[0].kind not in self._kinds:
            return False  # a newer version's: its own processes take it
        if found is None or wants is None or not await self.store.take(id, token):
            await self.store.release(id)
            return True
        job, standing = found
        kept = JobLog(self.store, job, wants, token, standing)
        log.info("job_carried_on", job=id, tenant=job.tenant, kind=job.kind, answered=standing.answered)
        self.means.metrics.carried_on(job.kind)
        self._lead(kept)
        return True

    def _lead(self, kept: JobLog) -> None:
        id, kind = kept.job.id, self._kinds[kept.job.kind]
        led = Led(JobAsker(self.means, kept, kind.priority, bodies=kind.answers))
        self._led[id] = led
        self.means.metrics.led(kept.job.kind, 1)
        led.task = asyncio.create_task(self._led_to_its_end(led, kind))
        led.task.add_done_callback(lambda _: self._let_go(led))

    def _let_go(self, led: Led) -> None:
        """Lead a job no more, unless it has been taken anew meanwhile."""
        job = led.asker.log.job
        self.means.metrics.led(job.kind, -1)
        if self._led.get(job.id) is led:
            del self._led[job.id]

    async def _led_to_its_end(self, led: Led, kind: Kind) -> None:
        """Drive a job, write what it keeps, and look after it, until it ends or is somebody else's."""
        kept = led.asker.log
        keeping = asyncio.create_task(kept.run())
        driving = asyncio.create_task(self._driven(led, kind))
        tending = asyncio.create_task(self._tended(led))
        try:
            await asyncio.wait({keeping, driving, tending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            state, why = next((each.result() for each in (driving, tending) if each.done()), LEFT)
            await _cancelled(driving, tending)
            kept.close(state, why, now=self.means.resolver.clock.now())
            await asyncio.wait({keeping})
            await self._ended(kept, keeping.exception())

    async def _driven(self, led: Led, kind: Kind) -> Outcome:
        """What becomes of a job by its driver."""
        outcome, job = (State.DONE, ""), led.asker.log.job
        try:
            await led.asker.log.read(bodies=kind.answers)
            await kind.drive(led.asker.log.wants, led.asker)
        except* Withdrawn:
            outcome = State.FAILED, "its tenant is gone or disabled"
        except* CallsExceeded:
            outcome = State.PAUSED, "it would make more calls than it may"
        except* Refusal as refusals:
            outcome = State.FAILED, str(refusals.exceptions[0])
        except* Exception:
            log.exception("job_failed", job=job.id, tenant=job.tenant, kind=job.kind)
            outcome = State.FAILED, "the gateway failed on it; its log says why"
        return outcome

    async def _tended(self, led: Led) -> Outcome:
        """Renew a job's lease and count what it keeps, until it keeps too much or the process drains."""
        kept, tend_at = led.asker.log, 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            led.asker.outstanding.closed = self._lifecycle.draining
            if self._lifecycle.draining and not led.asker.outstanding.count:
                return LEFT
            if monotonic() < tend_at:
                continue
            tend_at = monotonic() + TEND_SECONDS
            kept.touch()
            try:
                await self.store.lease(kept.job.id)
                if not await self.store.count(kept.job, kept.standing):
                    return State.FAILED, "the tenant's jobs keep more than jobs_max_bytes allows"
            except CacheUnavailable:
                continue

    async def _ended(self, kept: JobLog, fault: BaseException | None) -> None:
        """Take a job that this process does not lead any more from those to be led, or leave it to another."""
        job, standing = kept.job, kept.standing
        facts = {"job": job.id, "tenant": job.tenant, "kind": job.kind}
        if fault is not None:
            taken = isinstance(fault, Ended)
            log.log(INFO if taken else ERROR, "job_lost", **facts, exc_info=None if taken else fault)
        else:
            log.info("job_left" if standing.state is State.RUNNING else "job_ended", **facts, **_summary(standing))
        try:
            if fault is not None:
                await self.store.settle(job)  # what looked after it may have counted it as running meanwhile
                if isinstance(fault, Ended) and await self._is_cancelled(job):
                    self._count(job, Standing(State.CANCELLED))
            elif standing.state is State.RUNNING:
                await self.store.lease(job.id, 0)
            else:
                self._count(job, standing)
                await self.store.release(job.id)
                await self.store.count(job, standing)
        except CacheUnavailable:
            return

    async def _is_cancelled(self, job: Job) -> bool:
        """Whether a client has ended a job, rather than another process taken it."""
        standing = await self.store.standing(job.id)
        return standing is None or standing.state is State.CANCELLED

    def _count(self, job: Job, standing: Standing) -> None:
        """Count a job that has ended or pauses."""
        state = standing.state
        self.means.metrics.ended(job.kind, state)
        if job.schedule:
            incomplete = state is State.DONE and standing.errors
            self.means.metrics.warming_ran(job.schedule, "incomplete" if incomplete else state)


def _summary(standing: Standing) -> dict[str, object]:
    counts = {"answered": standing.answered, "errors": standing.errors, "calls": standing.calls}
    return {
        "state": standing.state.value,
        **counts,
        "bytes": standing.bytes,
        **({"why": standing.why} if standing.why else {}),
    }


async def _cancelled(*tasks: asyncio.Task[Outcome]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
