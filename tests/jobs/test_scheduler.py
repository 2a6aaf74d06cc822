"""Scheduled warmings by a clock that the test steps, in a real Redis and in the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.app import Composition
from gateway.errors import CacheUnavailable
from gateway.jobs.job import Job, Standing, State, wanting
from gateway.jobs.runs import LEASE_SECONDS, Runs, Verdict
from gateway.jobs.schedule import Schedule, Scheduled, scheduled
from gateway.jobs.scheduler import GRACE_SECONDS, LOOK_SECONDS, Scheduler
from gateway.lifecycle import Lifecycle
from gateway.redis import Clock
from gateway.settings import Settings
from gateway.tenants.registry import open_registry

DAY = 86_400.0
DUE = 1_700_000_000.0 // DAY * DAY + 2.5 * 3_600
"""Half past two in the morning."""
TARGETS = ["/../1", "/../2"]
"""Refused, so that nothing is asked."""


@dataclass
class Night:
    """One gateway, and schedulers of a fleet on its Redis; ``now`` is their clock."""

    parts: Composition
    registry: Any
    now: float = DUE - 3_600
    lifecycle: Lifecycle = field(default_factory=Lifecycle)

    @property
    def runs(self) -> Runs:
        return Runs(self.parts.redis, self.parts.prefix)

    @property
    def entry(self) -> Scheduled:
        return scheduled(self.parts.settings)[0]

    def process(self, *entries: Scheduled) -> Scheduler:
        """One more process of the fleet."""
        known = entries or scheduled(self.parts.settings)
        return Scheduler(known, self.runs, self.parts.runner, self.lifecycle, lambda: self.now)

    async def jobs(self) -> list[tuple[str, State]]:
        """The tenant's jobs that have ended, the newest first."""
        async with asyncio.timeout(20):
            while self.parts.runner._led:
                await asyncio.sleep(0.01)
        return [(job.id, standing.state) for job, standing in await self.parts.runner.store.of("lib")]

    def counted(self) -> dict[str, float]:
        """The runs of the warming by what became of them."""
        samples = [each for metric in self.parts.metrics.jobs._runs.collect() for each in metric.samples]
        return {each.labels["result"]: each.value for each in samples if each.value and "_total" in each.name}

    async def expire(self) -> None:
        """Whoever begins a run has been silent for as long as its lease."""
        key = f"{self.parts.prefix}:warming:nightly"
        for name, value in (await self.parts.redis.hgetall(key)).items():
            if value.isdigit() and b":" in name:
                await self.parts.redis.hset(key, name, int(value) - int(LEASE_SECONDS * 1_000) - 1)


@pytest.fixture(params=["redis", "memory"])
async def night(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> AsyncIterator[Night]:
    """An hour before the warming is due; the fleet knows it."""
    url = request.getfixturevalue("shared_redis").url if request.param == "redis" else "memory://"
    (tmp_path / "list").write_text("\n".join(TARGETS))
    warm = {"nightly": {"tenant": "lib", "file": str(tmp_path / "list")}}
    places = {"registry": str(tmp_path / "tenants.toml"), "upstream": "http://127.0.0.1:1"}
    settings = Settings.model_validate({**places, "redis_url": url, "redis_prefix": prefix, "warm": warm})
    registry = open_registry(settings)
    registry.add("lib", "lib")
    found = Night(Composition(settings, Clock()), registry)
    await found.process().look()
    yield found
    await found.parts.runner.stop()
    await found.parts.redis.aclose()


async def test_one_process_of_the_fleet_begins_each_run(night: Night) -> None:
    fleet = [night.process() for _ in range(3)]
    for day in range(2):
        night.now = DUE + day * DAY + 1
        await asyncio.gather(*[each.look() for each in fleet])
        await night.jobs()
        await asyncio.gather(*[each.look() for each in fleet])
    ids = [night.entry.job_id(DUE + DAY), night.entry.job_id(DUE)]
    assert sorted(await night.jobs()) == sorted((id, State.DONE) for id in ids)
    assert night.counted() == {"incomplete": 2}  # its targets are refused
    found = await night.parts.runner.store.find(ids[0])
    assert found is not None
    assert (found[0].kind, found[0].targets, found[0].schedule) == ("warm", 2, "nightly")
    assert found[1].hows == {"refused": 2}


async def test_a_process_wakes_when_a_run_is_due(night: Night) -> None:
    entry, ahead = night.entry, DUE - 0.2 - monotonic()
    process = Scheduler([entry], night.runs, night.parts.runner, night.lifecycle, lambda: ahead + monotonic())
    running = asyncio.create_task(process.run())
    async with asyncio.timeout(LOOK_SECONDS / 2):
        while await night.parts.runner.store.find(entry.job_id(DUE)) is None:
            await asyncio.sleep(0.01)
    running.cancel()
    assert [id for id, _ in await night.jobs()] == [entry.job_id(DUE)]


async def test_nothing_is_due_before_anybody_knew_the_warming(night: Night) -> None:
    stranger = Scheduled("new", night.entry.warming, night.entry.schedule)
    night.now = DUE + 60
    await night.process(stranger).look()
    assert await night.jobs() == []


async def test_a_changed_schedule_begins_anew(night: Night) -> None:
    moved, due = Scheduled("nightly", night.entry.warming, Schedule("0 2 * * *", "UTC")), DUE - 1_800
    night.now = due + 60
    await night.process(moved).look()
    assert await night.jobs() == []
    night.now += DAY
    await night.process(moved).look()
    assert [id for id, _ in await night.jobs()] == [moved.job_id(due + DAY)]


async def test_a_fleet_that_was_down_begins_late(night: Night) -> None:
    night.now = DUE + GRACE_SECONDS
    await night.process().look()
    assert [id for id, _ in await night.jobs()] == [night.entry.job_id(DUE)]


async def test_a_run_that_was_missed_for_too_long_is_skipped_and_said_once(night: Night) -> None:
    night.now = DUE + GRACE_SECONDS + 1
    with capture_logs() as lines:
        for _ in range(2):
            await night.process().look()
    assert await night.jobs() == []
    assert [line["event"] for line in lines] == ["warming_skipped"]
    assert night.counted() == {"skipped": 1}


async def test_a_redis_that_was_away_delays_the_run(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    process, turn = night.process(), Runs.turn
    night.now = DUE + 1

    async def away(*_: object, **__: object) -> None:
        raise CacheUnavailable("away")

    monkeypatch.setattr(Runs, "turn", away)
    await process.look()
    assert await night.jobs() == []
    monkeypatch.setattr(Runs, "turn", turn)
    night.now += 600
    await process.look()
    assert len(await night.jobs()) == 1


async def test_a_redis_that_forgot_everything_at_the_time_is_told_since_when_the_warming_is_known(
    night: Night,
) -> None:
    process = night.process()
    await process.look()
    await night.parts.redis.delete(f"{night.parts.prefix}:warming:nightly")
    night.now = DUE + 1
    await night.process().look()  # a process that has just started
    assert await night.jobs() == []
    await process.look()
    assert len(await night.jobs()) == 1


async def test_a_run_whose_process_ended_while_it_began_is_begun_by_another(night: Night) -> None:
    night.now = DUE + 1
    turn = await night.runs.turn(night.entry, DUE, since=DUE - 60, late=False)
    assert turn.verdict is Verdict.BEGIN
    process = night.process()
    await process.look()
    assert await night.jobs() == []
    await night.expire()
    await process.look()
    assert len(await night.jobs()) == 1


async def test_a_job_that_was_ordered_and_never_led_is_led_and_no_second_one_made(night: Night) -> None:
    night.now = DUE + 1
    job = await _ordered_by_nobody(night)
    await night.process().look()
    assert await night.jobs() == [(job, State.RUNNING)]
    assert await night.parts.redis.zrange(f"{night.parts.prefix}:jobs:open", 0, -1) == [job.encode()]


async def _ordered_by_nobody(night: Night) -> str:
    """A run's job as it is where its process ended before it could lead it."""
    job = Job(night.entry.job_id(DUE), "lib", "warm", 2, DUE)
    await night.parts.runner.store.restore(job, wanting(TARGETS), "gone", Standing(), [])
    await night.parts.runner.store.count(job, Standing(), new=True)
    return job.id


async def test_a_run_that_still_goes_on_is_not_doubled(night: Night) -> None:
    night.now = DUE + 1
    await _ordered_by_nobody(night)
    await night.process().look()
    night.now = DUE + DAY + 1
    with capture_logs() as lines:
        await night.process().look()
    assert [id for id, _ in await night.jobs()] == [night.entry.job_id(DUE)]
    assert [line["reason"] for line in lines] == ["the run before it still goes on"]
    assert night.counted() == {"skipped": 1}


@pytest.mark.parametrize("trouble", ["no tenant", "disabled", "no file"])
async def test_a_warming_that_cannot_begin_says_why_once(trouble: str, night: Night) -> None:
    if trouble == "no tenant":
        night.registry.remove("lib")
    elif trouble == "disabled":
        night.registry.change("lib", enabled=False)
    else:
        Path(night.entry.warming.file).unlink()
    night.parts.registry.load()
    night.now = DUE + 1
    with capture_logs() as lines:
        for _ in range(2):
            await night.process().look()
            await night.expire()
    assert [line["event"] for line in lines if line["event"].startswith("warming")] == ["warming_failed"]
    assert night.counted() == {"failed": 1}


async def test_a_tenant_with_too_many_jobs_gets_its_warming_when_one_has_ended(night: Night) -> None:
    store, process = night.parts.runner.store, night.process()
    store._limits = store._limits._replace(jobs=0)
    night.now = DUE + 1
    await process.look()
    assert await night.jobs() == []
    store._limits = store._limits._replace(jobs=1)
    await night.expire()
    await process.look()
    assert len(await night.jobs()) == 1


async def test_a_process_that_drains_begins_nothing(night: Night) -> None:
    night.now = DUE + 1
    night.lifecycle.drain()
    await night.process().look()
    assert await night.jobs() == []


async def test_a_clock_that_is_set_back_begins_nothing_twice(night: Night) -> None:
    process = night.process()
    for now in (DUE + 1, DUE - 1_800, DUE + 1):
        night.now = now
        await process.look()
        await night.process().look()
    assert len(await night.jobs()) == 1
