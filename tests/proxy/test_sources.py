"""Sources are read once, and are worth asking for once several questions miss them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec import structs

from gateway.cache.entry import Entry
from gateway.proxy.sources import APART_FROM, ENOUGH, MOST_READ, MOST_WANTED, Demand, SourceReader
from tests.derivation.oracle import query
from tests.integration.house import housed
from tests.integration.stage import Stage, staged

RANKING = query("/lboro/top/views/article?count=10000")
BODY = b'{"top": {"1": 5%s}}' % b"".join(b', "%d": 4' % id for id in range(2, 3_000))


def entry(number: int = 0, status: int = 200, body: bytes = BODY) -> Entry:
    return Entry(f"key{number}", status, [], body, b"", 1.0, 2.0, 3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


@pytest.fixture
async def reader(stage: Stage) -> AsyncIterator[SourceReader]:
    async with housed(stage) as house:
        yield SourceReader(house.resolver)


async def test_a_source_is_read_once_however_many_ask(reader: SourceReader) -> None:
    assert len(BODY) >= APART_FROM
    found = await asyncio.gather(*[reader.read([RANKING], [entry()]) for _ in range(20)])
    assert len({id(each.read[0]) for each in found if each is not None}) == 1
    newer = await reader.read([RANKING], [structs.replace(entry(), dispatched=2.0)])
    assert newer is not None
    assert newer.read[0] is not found[0].read[0]  # type: ignore[union-attr]


async def test_few_are_kept(reader: SourceReader) -> None:
    for number in range(3 * MOST_READ):
        await reader.read([RANKING], [entry(number, body=b'{"top": {"1": 5}}')])
    assert repr(reader) == f"<SourceReader {MOST_READ} read>"


@pytest.mark.parametrize(
    ("status", "body"), [(404, BODY), (200, b"[]"), (200, b'{"top": {"1": -5}}'), (200, b"\xff")], ids=str
)
async def test_what_is_no_source_is_read_as_none(reader: SourceReader, status: int, body: bytes) -> None:
    assert await reader.read([RANKING], [entry(status=status, body=body)]) is None


def test_several_different_questions_make_a_source_worth_asking_for() -> None:
    demand = Demand()
    assert [demand.noted("source", each, 600.0) for each in ("a", "a", "b", "a", "c", "a")] == [False] * 4 + [
        True
    ] * 2
    assert not demand.noted("another", "a", 600.0)
    assert not demand.noted("source", "d", 0.0)


def test_demand_is_bounded() -> None:
    demand = Demand()
    for number in range(MOST_WANTED + 10):
        demand.noted(f"source{number}", "a", 600.0)
    assert repr(demand) == f"<Demand for {MOST_WANTED} sources>"
    assert ENOUGH == 3
