"""Midnight: what rests on today goes stale at 00:00 UTC, and never lies about its day."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.integration.house import FakeClock, House, housed
from tests.integration.stage import Stage, staged

TARGET = "/lboro/timeline/day/views/article/5"
EVENING = datetime(2026, 3, 10, 23, 55, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2026, 3, 11, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Stage]:
    with staged() as stage:
        stage.tenant("reports", "lboro")
        yield stage


@pytest.fixture
def stage(sandbox: Stage) -> Stage:
    sandbox.reset_calls()
    return sandbox


async def landed(house: House) -> None:
    async with asyncio.timeout(20):
        while house.resolver.queue.flights:
            await asyncio.sleep(0.01)


async def test_a_default_window_is_stale_from_midnight_on_and_refreshed(stage: Stage) -> None:
    clock = FakeClock(EVENING)
    async with housed(stage, clock, lifetime_empty=900.0) as house:  # as the real day is empty when it is young
        first = await house.get(TARGET, stage.keys["reports"])
        assert first.headers["cache-control"] == "private, max-age=300"
        clock.time = MIDNIGHT - 1
        assert "; hit; ttl=1" in (await house.get(TARGET, stage.keys["reports"])).headers["cache-status"]
        clock.time = MIDNIGHT + 1
        stale = await house.get(TARGET, stage.keys["reports"])
        assert stale.headers["cache-status"] == "stats-gateway; hit; ttl=-1; detail=refreshing"
        assert stale.headers["cache-control"] == "private, max-age=0"
        await landed(house)
        fresh = await house.get(TARGET, stage.keys["reports"])
        assert fresh.headers["cache-status"] == "stats-gateway; hit; ttl=900"
    assert stage.calls()["total"] == 2


async def test_an_answer_that_straddled_midnight_is_never_served_as_fresh(stage: Stage) -> None:
    clock = FakeClock(MIDNIGHT - 0.5)
    async with housed(stage, clock) as house:
        stage.close_gate()
        asked = asyncio.create_task(house.get(TARGET, stage.keys["reports"]))
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(stage.calls))["in_flight"] == 0:
                await asyncio.sleep(0.01)
        clock.time = MIDNIGHT + 0.5
        stage.open_gate()
        assert (await asked).headers["cache-control"] == "private, max-age=0"
        again = await house.get(TARGET, stage.keys["reports"])
        assert "detail=refreshing" in again.headers["cache-status"]
        await landed(house)
    assert stage.calls()["total"] == 2


async def test_a_closed_window_does_not_care_about_midnight(stage: Stage) -> None:
    clock = FakeClock(EVENING)
    async with housed(stage, clock) as house:
        target = f"{TARGET}?start_date=2026-01-01&end_date=2026-01-31"
        await house.get(target, stage.keys["reports"])
        clock.time = MIDNIGHT + 3 * 86_400
        assert "; hit; ttl=" in (await house.get(target, stage.keys["reports"])).headers["cache-status"]
    assert stage.calls()["total"] == 1
