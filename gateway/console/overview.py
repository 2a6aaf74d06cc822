"""What the admin API tells of the fleet at a glance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gateway import __version__
from gateway.console.operations import Call, Operation
from gateway.errors import CacheUnavailable
from gateway.observe.days import Usage
from gateway.observe.minutes import Pulse
from gateway.observe.overview import Bands, Gate, Overview, Pace, Redis, Tenants, Work
from gateway.tenants.registry import Registry
from gateway.upstream.queue import Queue
from gateway.upstream.snapshot import Census


class OverviewApi:
    """One operation: three round trips, all at once. Without Redis it tells what this process knows."""

    def __init__(
        self,
        pulse: Pulse,
        usage: Usage,
        queue: Queue,
        registry: Registry,
        now: Callable[[], float],
        *,
        embedded: bool,
    ) -> None:
        self._pulse = pulse
        self._usage = usage
        self._queue = queue
        self._registry = registry
        self._now = now
        self._embedded = embedded

    @property
    def operations(self) -> list[Operation]:
        """All of them."""
        return [Operation("GET", "/api/overview", "The whole fleet at a glance", self.overview)]

    async def overview(self, _: Call) -> Any:
        now = self._now()
        moment = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
        report, today, census = await asyncio.gather(
            self._pulse.report(now), self._usage.total(moment.date()), self._census()
        )
        whole = report.whole and census is not None and not self._queue.degraded
        census = census or self._queue.census_here()
        return Overview(
            version=__version__,
            now=moment,
            processes=self._queue.fleet.processes,
            minutes=report.minutes,
            today=today,
            latency=report.latency,
            budget=self._pace(),
            queue=_work(census),
            gate=Gate(census.gate.state, census.gate.closed_for, census.gate.held_for, census.gate.why),
            refused_credentials=census.refused_total,
            redis=Redis("ok" if whole else "degraded", self._embedded),
            registry=Tenants(len(self._registry.directory.tenants)),
            refused_targets=census.gate.targets_refused,
            fleet_size=self._queue.fleet.rules.size,
            differing=self._queue.fleet.differing,
        )

    async def _census(self) -> Census | None:
        try:
            return await self._queue.census()
        except CacheUnavailable:
            return None

    def _pace(self) -> Pace:
        budget = self._queue.budget
        return Pace(None if budget.interval is None else round(1 / budget.interval, 6), budget.burst)


def _work(census: Census) -> Work:
    waits = census.queued
    return Work(waits.total, census.running_total, Bands(waits.people, waits.left, waits.refresh))
