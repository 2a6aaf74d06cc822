"""Scheduler: begins the warmings of the settings when they are due, each run in one process of the fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

import structlog
from msgspec import structs

from gateway.errors import CacheUnavailable, ConfigurationError, GatewayError, TooManyJobs
from gateway.jobs.asking import Ended
from gateway.jobs.job import Job, wanting
from gateway.jobs.means import Withdrawn
from gateway.jobs.runner import JobRunner
from gateway.jobs.runs import Runs, Verdict
from gateway.jobs.schedule import Scheduled
from gateway.lifecycle import Lifecycle
from gateway.tenants.files import LIMIT, aside

GRACE_SECONDS = 3_600.0
"""After which a run that nobody could begin is skipped."""
LOOK_SECONDS = 15.0
"""Between two looks at the most: what could not be begun is tried again, and a clock may step."""

log = structlog.get_logger("gateway")


@dataclass(slots=True)
class Watched:
    """A scheduled warming: when it was due last, and is due next; and the last run that needs nothing more."""

    entry: Scheduled
    due: float = inf
    following: float = -inf
    settled: float = -inf

    def look(self, now: float) -> None:
        """Work out both times, unless they still hold."""
        if not self.due <= now < self.following:
            last, following = self.entry.schedule.last(now), self.entry.schedule.following(now)
            self.due = -inf if last is None else last
            self.following = inf if following is None else following


class Scheduler:
    """Begins scheduled warmings as jobs of their tenants. ``now`` is the time of the fleet, in Unix seconds.

    A run that is due while Redis is away, or while no process is there, begins late, within an hour; after that it
    is skipped. So is one that is due while the run before it still goes on.
    """

    def __init__(
        self,
        entries: Iterable[Scheduled],
        runs: Runs,
        runner: JobRunner,
        lifecycle: Lifecycle,
        now: Callable[[], float],
    ) -> None:
        self._watched = [Watched(entry) for entry in entries]
        self._runs = runs
        self._runner = runner
        self._lifecycle = lifecycle
        self._now = now
        self._metrics = runner.means.metrics
        self._since: float | None = None
        for each in self._watched:
            self._metrics.warming_known(each.entry.name)

    def __repr__(self) -> str:
        return f"<Scheduler of {len(self._watched)}>"

    async def run(self) -> None:
        """Begin what is due, until cancelled."""
        while True:
            await self.look()
            upcoming = min((each.following for each in self._watched), default=inf) - self._now()
            await asyncio.sleep(min(max(upcoming, 0.0) + 0.1, LOOK_SECONDS))

    async def look(self) -> None:
        """Begin what is due now, and nobody has begun."""
        now = self._now()
        self._since = now if self._since is None else self._since
        for each in self._watched:
            each.look(now)
            if self._lifecycle.draining or each.due in (-inf, each.settled):
                continue
            try:
                if await self._settled(
                    each.entry, each.due, since=self._since, late=now - each.due > GRACE_SECONDS
                ):
                    each.settled = each.due
            except CacheUnavailable:
                continue

    async def _settled(self, entry: Scheduled, due: float, *, since: float, late: bool) -> bool:
        """Begin a run where that is this process's turn; whether it needs nothing more."""
        verdict, before = await self._runs.turn(entry, due, since=since, late=late)
        if verdict is Verdict.BEGIN:
            return await self._begun(entry, due, before)
        if verdict is Verdict.MISSED:
            return await self._not_begun(entry, due, "skipped", "no process could begin it in time")
        return verdict is Verdict.SETTLED

    async def _begun(self, entry: Scheduled, due: float, before: str) -> bool:
        """Begin a run, unless the job of the run ``before`` goes on; False where that has to be tried again."""
        job = Job(entry.job_id(due), entry.warming.tenant, "warm", 0, self._now(), about=entry.about(due))
        if before not in ("", job.id) and await self._goes_on(before):
            return await self._not_begun(entry, due, "skipped", "the run before it still goes on")
        try:
            wants = await self._wants(entry)
            job = structs.replace(job, targets=len(wants), schedule=entry.name)
            await self._ordered(job, await asyncio.to_thread(wanting, wants))
        except CacheUnavailable:
            raise
        except TooManyJobs as error:
            log.warning("warming_waits", warming=entry.name, due=int(due), reason=error.message)
            return False
        except GatewayError as error:
            return await self._not_begun(entry, due, "failed", error.message)
        await self._runs.settle(entry, due, "begun", job.id)
        log.info("warming_begun", warming=entry.name, due=int(due), job=job.id)
        return True

    async def _goes_on(self, job: str) -> bool:
        standing = await self._runner.store.standing(job)
        return standing is not None and not standing.state.is_over

    async def _wants(self, entry: Scheduled) -> list[str]:
        """The targets of a warming whose tenant may ask. Raises ConfigurationError, and as ``targets`` does."""
        try:
            self._runner.means.tenant(entry.warming.tenant)
            async with asyncio.timeout(LIMIT):
                return await asyncio.wrap_future(aside(entry.targets))
        except Withdrawn:
            raise ConfigurationError(f"there is no tenant {entry.warming.tenant!r}, or it is disabled") from None
        except TimeoutError:
            raise ConfigurationError(f"{entry.warming.file} cannot be read within {LIMIT:.0f} seconds") from None

    async def _ordered(self, job: Job, wants: bytes) -> None:
        """Order a job that another process may have ordered, and not have come to lead. Raises TooManyJobs,
        CacheUnavailable."""
        try:
            await self._runner.order(job, wants)
        except Ended:
            await self._runner.store.lease(job.id)
            await self._runner.store.settle(job)

    async def _not_begun(self, entry: Scheduled, due: float, result: str, reason: str) -> bool:
        """Note that there is no such run; True, since it needs nothing more."""
        await self._runs.settle(entry, due, result)
        self._metrics.warming_ran(entry.name, result)
        log.error(f"warming_{result}", warming=entry.name, due=int(due), reason=reason)
        return True
