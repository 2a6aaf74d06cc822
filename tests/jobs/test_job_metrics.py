"""What jobs did, as their metrics count it: each job once, by the process that sees its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.app import Composition
from gateway.jobs.asker import JobAsker
from gateway.jobs.asking import CallsExceeded
from gateway.jobs.drivers import KINDS, Driver, Kind
from gateway.jobs.job import Job, Standing, wanting
from gateway.jobs.report_job import count
from gateway.jobs.runner import JobRunner
from gateway.lifecycle import Lifecycle
from gateway.observe.metrics import Metrics
from gateway.redis import Clock
from gateway.settings import Settings
from gateway.tenants.registry import open_registry
from tests.jobs.sandboxed import Sandboxed, reported, wish

JOB = Job("j1", "lib", "batch", 2, 5.0)
TARGETS = ["/../1", "/../2"]
"""Refused, so that nothing is asked."""


def counted(metrics: Metrics) -> dict[str, float]:
    """All numbers of jobs but zeros, by name and labels."""
    found = {}
    for line in metrics.render().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if "_created" not in name and any(f"stats_gateway_{each}" in name for each in ("job", "report")):
            found[name.removeprefix("stats_gateway_").replace('"', "")] = float(value) if name[0] != "#" else 0.0
    return {name: value for name, value in found.items() if value}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Composition]:
    settings = Settings(registry=str(tmp_path / "tenants.toml"), upstream="http://127.0.0.1:1")
    registry = open_registry(settings)
    registry.add("lib", "lib")
    found = Composition(settings, Clock())
    yield found
    await found.redis.aclose()


def runner(parts: Composition, kinds: Mapping[str, Kind] = KINDS) -> JobRunner:
    return JobRunner(parts.runner.store, parts.runner.means, kinds, Lifecycle())


async def ends(runner: JobRunner) -> None:
    async with asyncio.timeout(20):
        await asyncio.wait([led.task for led in runner._led.values()])


async def endless(wants: bytes, asker: JobAsker) -> None:
    await asyncio.Event().wait()


async def spent(wants: bytes, asker: JobAsker) -> None:
    raise CallsExceeded


async def faulty(wants: bytes, asker: JobAsker) -> None:
    raise LookupError


async def test_a_job_counts_its_answers_and_its_end(parts: Composition) -> None:
    leader = runner(parts)
    await leader.order(JOB, wanting(TARGETS))
    assert counted(parts.metrics) == {"jobs_running{kind=batch}": 1}
    await ends(leader)
    answers = {"job_answers_total{how=refused,kind=batch}": 2.0}
    assert counted(parts.metrics) == {"jobs_ended_total{kind=batch,state=done}": 1, **answers}


@pytest.mark.parametrize(("driver", "state"), [(spent, "paused"), (faulty, "failed")])
async def test_any_other_end_is_counted_as_what_it_is(parts: Composition, driver: Driver, state: str) -> None:
    leader = runner(parts, {"batch": Kind(driver)})
    await leader.order(JOB, wanting(TARGETS))
    await ends(leader)
    assert counted(parts.metrics) == {f"jobs_ended_total{{kind=batch,state={state}}}": 1}


async def test_a_job_that_a_client_ends_is_cancelled(parts: Composition) -> None:
    leader = runner(parts, {"batch": Kind(endless)})
    await leader.order(JOB, wanting(TARGETS))
    await leader.store.cancel(JOB, Standing())
    await ends(leader)
    assert counted(parts.metrics) == {"jobs_ended_total{kind=batch,state=cancelled}": 1}


async def test_a_job_that_another_process_takes_is_counted_by_that_one(parts: Composition) -> None:
    former, later = runner(parts, {"batch": Kind(endless)}), runner(parts)
    await former.order(JOB, wanting(TARGETS))
    await former.store.lease(JOB.id, 0)
    assert await later._carry_on()
    await ends(later)
    await ends(former)
    assert counted(parts.metrics) == {
        "jobs_carried_on_total{kind=batch}": 1,
        "jobs_ended_total{kind=batch,state=done}": 1,
        "job_answers_total{how=refused,kind=batch}": 2,
    }


async def test_a_run_of_a_warming_that_a_client_ends_is_no_failure(parts: Composition) -> None:
    leader = runner(parts, {"warm": Kind(endless)})
    await leader.order(structs.replace(JOB, kind="warm", schedule="nightly"), wanting(TARGETS))
    await leader.store.cancel(JOB, Standing())
    await ends(leader)
    assert (
        'stats_gateway_warming_runs_total{result="cancelled",warming="nightly"} 1.0' in parts.render(True).decode()
    )


@pytest.mark.parametrize(
    ("habits", "expected"),
    [
        ({}, {"columns_total{method=ranking}": 3, "checks_total{result=agreed}": 3}),
        ({"top_error": 0.5}, {"columns_total{method=each}": 3, "checks_total{result=differed}": 3}),
    ],
)
async def test_a_report_counts_its_columns_and_its_checks(
    habits: dict[str, Any], expected: dict[str, float]
) -> None:
    metrics = Metrics()
    count(await reported(Sandboxed(habits), wish()), metrics.jobs)
    assert counted(metrics) == {f"report_{name}": value for name, value in expected.items()}
