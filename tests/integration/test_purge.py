"""A purge while things are under way, in one gateway whose clock is at hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.cache.purges import EVERYTHING, PurgeScope
from gateway.redis import Clock
from tests.integration.house import House, housed
from tests.integration.stage import Stage, staged, until

TARGET = "/lboro/timeline/total/views/collection/15?start_date=2014-01-02&end_date=2014-03-05"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as stage:
        stage.tenant("reports", "lboro")
        yield stage


@pytest.fixture
async def house(stage: Stage) -> AsyncIterator[House]:
    async with housed(stage) as house:
        yield house


async def in_flight(stage: Stage, calls: int) -> None:
    await asyncio.to_thread(until, lambda: stage.calls()["in_flight"] == calls)


async def test_who_asks_after_a_purge_does_not_join_a_flight_from_before(stage: Stage, house: House) -> None:
    key = stage.keys["reports"]
    stage.close_gate()
    before = asyncio.create_task(house.get(TARGET, key))
    await in_flight(stage, 1)
    await house.resolver.purges.purge(PurgeScope.institution("lboro"), hard=True)
    after = asyncio.create_task(house.get(TARGET, key))
    await in_flight(stage, 2)
    stage.open_gate()
    assert [answer.status_code for answer in await asyncio.gather(before, after)] == [200, 200]
    assert stage.calls()["total"] == 2
    # What set out after the purge is what is kept, whichever landed last.
    assert "; hit" in (await house.get(TARGET, key)).headers["cache-status"]


@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
async def test_an_error_record_is_asked_for_anew(stage: Stage, house: House, hard: bool) -> None:
    wrong = "/total/hugs/article/215"
    key = stage.keys["reports"]
    assert (await house.get(wrong, key)).status_code == 400
    assert "; hit" in (await house.get(wrong, key)).headers["cache-status"]
    await house.resolver.purges.purge(EVERYTHING, hard=hard)
    assert "fwd=uri-miss" in (await house.get(wrong, key)).headers["cache-status"]


async def test_what_was_purged_hard_stands_in_for_no_failure(stage: Stage, house: House) -> None:
    key = stage.keys["reports"]
    assert (await house.get(TARGET, key)).status_code == 200
    await house.resolver.purges.purge(EVERYTHING, hard=True)
    stage.plan(status=503, body='{"message": "down", "code": "Down", "data": null}', times=5)
    assert (await house.get(TARGET, key)).status_code == 503


async def test_what_was_purged_softly_does(stage: Stage, house: House) -> None:
    key = stage.keys["reports"]
    assert (await house.get(TARGET, key)).status_code == 200
    await house.resolver.purges.purge(EVERYTHING)
    stage.plan(status=503, body='{"message": "down", "code": "Down", "data": null}', times=5)
    answer = await house.get(TARGET, key)
    assert answer.status_code == 200
    assert "detail=refreshing" in answer.headers["cache-status"]


class Late(Clock):
    """Hears of Redis's time by replies that take a while."""

    def sync(self, fleet: float, skew: float) -> bool:
        return super().sync(fleet - 0.5, skew)


@pytest.mark.parametrize(
    ("hard", "told"), [(True, ["fwd=uri-miss", "; hit"]), (False, ["detail=refreshing"])], ids=["hard", "soft"]
)
async def test_a_purge_counts_at_once_where_redis_answers_late(stage: Stage, hard: bool, told: list[str]) -> None:
    key = stage.keys["reports"]
    async with housed(stage, Late()) as house:
        assert (await house.get(TARGET, key)).status_code == 200
        await house.resolver.purges.purge(EVERYTHING, hard=hard)
        for each in told:
            assert each in (await house.get(TARGET, key)).headers["cache-status"]
