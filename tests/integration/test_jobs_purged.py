"""Purges and what jobs keep: it is shown no more, and asked anew by whoever goes on with the job."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from gateway.cache.purges import EVERYTHING, PurgeScope
from tests.integration.house import House, housed
from tests.integration.stage import Stage, staged

TOTALS = [f"/lboro/total/views/article/{id}" for id in (1, 2, 3)]
VIEWS = {"institution": "lboro", "counters": ["views"], "method": "each"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        stage.tenant("lib", "lboro")
        yield stage


@pytest.fixture
async def house(stage: Stage) -> AsyncIterator[House]:
    stage.reset_calls()
    async with housed(stage) as house:
        yield house


async def send(stage: Stage, house: House, method: str, path: str, **options: Any) -> httpx.Response:
    return await house.client.request(method, path, headers={"X-API-Key": stage.keys["lib"]}, **options)


async def purge(house: House, scope: PurgeScope, *, hard: bool = True) -> None:
    await house.resolver.purges.purge(scope, hard=hard)


async def statuses(stage: Stage, house: House, path: str) -> list[int]:
    """Those of a job's answers."""
    events = [json.loads(line) for line in (await send(stage, house, "GET", path)).text.splitlines()]
    return [event["status"] for event in events if "n" in event]


@pytest.mark.parametrize(
    ("scope", "shown"),
    [
        (PurgeScope.item("article", "2"), [200, 410, 200]),
        (PurgeScope.institution("lboro"), [410, 410, 410]),
        (PurgeScope.institution("monash"), [200, 200, 200]),
        (EVERYTHING, [410, 410, 410]),
    ],
    ids=["item", "institution", "another", "all"],
)
async def test_an_answer_that_was_purged_hard_is_shown_no_more(
    stage: Stage, house: House, scope: PurgeScope, shown: list[int]
) -> None:
    path = (await send(stage, house, "POST", "/-/batch", json={"targets": TOTALS})).headers["location"]
    await purge(house, scope, hard=False)
    assert await statuses(stage, house, path) == [200, 200, 200]
    await purge(house, scope)
    assert await statuses(stage, house, path) == shown
    again = (await send(stage, house, "POST", "/-/batch", json={"targets": TOTALS})).headers["location"]
    assert await statuses(stage, house, again) == [200, 200, 200]


async def test_a_report_that_rests_on_what_was_purged_is_shown_no_more(stage: Stage, house: House) -> None:
    ordered = await send(stage, house, "POST", "/-/reports", json=VIEWS | {"ids": [1, 2, 3]})
    path = ordered.headers["location"] + "/report"
    await purge(house, PurgeScope.item("article", "4"))
    assert (await send(stage, house, "GET", path)).status_code == 200
    await purge(house, PurgeScope.item("article", "3"))
    answer = await send(stage, house, "GET", path)
    assert (answer.status_code, answer.json()["code"]) == (410, "GatewayAnswerPurged")


@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
async def test_a_job_that_goes_on_asks_anew_for_what_was_purged(stage: Stage, house: House, hard: bool) -> None:
    ordered = await send(stage, house, "POST", "/-/reports", json=VIEWS | {"ids": [*range(1, 9)], "max_calls": 4})
    path = ordered.headers["location"]
    assert stage.calls()["total"] == 4
    await purge(house, PurgeScope.item("article", "2"), hard=hard)
    assert (await send(stage, house, "POST", path + "/continue")).status_code == 200
    assert stage.calls()["total"] == 8 + 1
    assert (await send(stage, house, "GET", path + "/report")).status_code == 200
