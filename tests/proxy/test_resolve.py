"""Answers are found for anybody who asks, without an HTTP request or a connection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.errors import DeadlineExceeded, Unauthenticated
from gateway.observe.outcome import Outcome
from gateway.proxy.callers import Requester
from gateway.proxy.lookup import Lookup
from gateway.tenants.tenant import Tenant
from tests.integration.house import House, housed
from tests.integration.stage import Stage, staged

REQUESTER = Requester(b"report", Tenant(id="reports", name="Reports"))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        yield stage


@pytest.fixture
async def house(stage: Stage) -> AsyncIterator[House]:
    async with housed(stage) as house:
        yield house


def lookup(house: House, item: int, requester: Requester = REQUESTER) -> Lookup:
    query = house.resolver.profile.recognise(b"/total/views/article/%d" % item, b"")
    return house.resolver.lookup(requester, query, [])


async def test_a_miss_is_fetched_and_then_a_hit_that_may_be_given_again(house: House) -> None:
    deadline = time.monotonic() + 30
    first = await house.resolver.resolve(lookup(house, 23), deadline)
    assert (first.outcome, first.entry.status, first.validity) == (Outcome.MISS, 200, None)
    assert first.forwarded is not None
    again = await house.resolver.resolve(lookup(house, 23), deadline)
    assert (again.outcome, again.entry.body, again.forwarded) == (Outcome.HIT, first.entry.body, None)
    assert again.validity is not None
    assert again.validity.entry is again.entry


async def test_to_explain_asks_nobody(house: House) -> None:
    explanation = await house.resolver.explain(lookup(house, 24))
    assert (type(explanation.decision).__name__, explanation.standing) == ("Fetch", None)
    assert house.resolver.queue.flights == 0


async def test_nobody_waits_beyond_the_deadline(house: House) -> None:
    with pytest.raises(DeadlineExceeded):
        await house.resolver.resolve(lookup(house, 25), time.monotonic())


async def test_a_query_that_is_not_the_requesters_is_refused_before_anything_is_looked_up(house: House) -> None:
    path, window = b"/lboro/timeline/month/views/article/23", b"start_date=2014-01-01&end_date=2014-03-31"
    with pytest.raises(Unauthenticated):
        house.resolver.lookup(Requester(b"1"), house.resolver.profile.recognise(path, window), [])
