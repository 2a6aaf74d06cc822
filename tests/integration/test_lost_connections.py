"""Connections to the service that end, or bring one answer too many, through the whole app and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import httpx2 as httpx
import pytest
from pydantic import SecretStr

from tests.integration.house import House, housed
from tests.integration.scripted_origin import Reply
from tests.integration.stage import Stage, staged
from tests.redis_server import RedisServer, redis_server
from tests.upstream.origin import Behaviour, Peer, serving
from tests.upstream.troubles import FLOODS, dripped, ending_on_reuse, watched_turns

WINDOW = "start_date=2014-03-01&end_date=2014-03-31"


def target(number: int) -> str:
    return f"/timeline/day/views/article/{number}?{WINDOW}"


def body(number: int) -> str:
    return f'{{"timeline": {{"2014-03-01": {number}}}}}'


def answer(number: int) -> bytes:
    return Reply(200, body(number)).wire


def number_of(head: bytes) -> int:
    return int(head.split(b"?")[0].rsplit(b"/", 1)[1])


async def well(peer: Peer) -> None:
    while True:
        await peer.say(answer(number_of(await peer.head())))


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        stage.tenant("reports", "lboro")
        yield stage


@asynccontextmanager
async def fleet_of_two(
    stage: Stage, redis: RedisServer, prefix: str, upstream: str, **settings: Any
) -> AsyncIterator[list[House]]:
    gateway = partial(
        housed,
        stage,
        upstream=upstream,
        redis_url=SecretStr(redis.url),
        redis_prefix=prefix,
        allow_anonymous=True,
        anonymous_requests_per_second=0,
        redis_timeout=0.5,
        **settings,
    )
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(gateway()) for _ in range(2)]


def status_of(answer: httpx.Response) -> str:
    return answer.headers["cache-status"].removeprefix("stats-gateway; ")


class OneTooMany:
    """Its first connection gives number 2 an answer that belongs to nobody, and owes the right one until told."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def behave(self, peer: Peer) -> None:
        while True:
            number = number_of(await peer.head())
            if (peer.number, number) != (1, 2):
                await peer.say(answer(number))
                continue
            await peer.say(answer(666))
            await self.told.wait()
            await peer.say(answer(number))


@pytest.mark.parametrize("redis_is", ["there", "gone meanwhile"])
async def test_an_answer_too_many_is_forgotten_by_the_whole_fleet(
    stage: Stage, prefix: str, redis_is: str
) -> None:
    origin_says = OneTooMany()
    with redis_server(remembers=True) as redis:
        async with (
            serving(origin_says.behave) as origin,
            fleet_of_two(stage, redis, prefix, origin.url) as (here, there),
        ):
            assert [(await here.get(target(n))).text for n in (1, 2)] == [body(1), body(666)]
            assert [(await there.get(target(n))).text for n in (1, 2)] == [
                body(1),
                body(666),
            ]
            assert len(there.resolver.store.near) == 2
            if redis_is != "there":
                redis.stop()
            origin_says.told.set()
            await until(lambda: here.resolver.store.recalled == 2)
            if redis_is != "there":
                redis.start()
            near = there.resolver.store.near
            await until(lambda: len(near) == 0)
            for house in (there, here):
                for number in (1, 2):
                    fresh = await house.get(target(number))
                    assert (fresh.status_code, fresh.text) == (200, body(number))
            assert len(origin.heads) == 4


ENDS = {"fin": ending_on_reuse(answer(1)), "reset": ending_on_reuse(answer(1), reset=True)}


@pytest.mark.parametrize("ending", ENDS.values(), ids=ENDS)
async def test_connections_that_all_end_on_reuse_cost_nobody_an_answer_and_close_no_gate(
    stage: Stage, shared_redis: RedisServer, prefix: str, ending: Behaviour
) -> None:
    async with serving(ending) as origin, fleet_of_two(stage, shared_redis, prefix, origin.url) as (here, there):
        for number in range(8):
            assert (await (here, there)[number % 2].get(target(number))).status_code == 200
        assert here.resolver.queue.gate.closings == there.resolver.queue.gate.closings == 0


async def test_what_is_asked_once_more_keeps_to_the_budget(
    stage: Stage, shared_redis: RedisServer, prefix: str
) -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def end_on_reuse(peer: Peer) -> None:
        number = number_of(await peer.head())
        times.append(loop.time())
        await peer.say(answer(number))
        await peer.head()
        times.append(loop.time())

    async with (
        serving(end_on_reuse) as origin,
        fleet_of_two(stage, shared_redis, prefix, origin.url, budget="5/s", budget_burst=1) as houses,
    ):
        answers = await asyncio.gather(*(houses[n % 2].get(target(n)) for n in range(8)))
        assert [each.text for each in answers] == [body(n) for n in range(8)]
    assert len(times) > 8
    # Written 0.2 s apart; a busy machine may read them closer together, but not as close as one slot has them.
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.1


async def test_an_origin_that_restarts_is_no_block(stage: Stage, shared_redis: RedisServer, prefix: str) -> None:
    """Kept connections are reset, new ones refused for a while, then it is there again, on the same port."""
    meet = asyncio.Barrier(4)

    async def meeting(peer: Peer) -> None:
        number = number_of(await peer.head())
        await meet.wait()
        await peer.say(answer(number))
        await peer.head()
        peer.reset()

    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(serving(meeting))
        here, there = await stack.enter_async_context(fleet_of_two(stage, shared_redis, prefix, origin.url))
        houses = (here, here, there, there)
        answers = await asyncio.gather(*(house.get(target(n)) for n, house in enumerate(houses)))
        assert [each.status_code for each in answers] == [200] * 4
        origin.stop_listening()
        answers = await asyncio.gather(*(house.get(target(10 + n)) for n, house in enumerate(houses)))
        assert {each.json()["code"] for each in answers} == {"GatewayUpstreamUnreachable"}
        async with serving(well, port=origin.port):
            for n, house in enumerate(houses):
                fresh = await house.get(target(20 + n))
                assert (fresh.status_code, fresh.text) == (200, body(20 + n))


SEVERAL = ("interim answers", "fields", "chunks of a byte", "a body to the connection's end", "a gzip of zeros")


async def test_an_origin_that_floods_holds_up_nobody(stage: Stage, shared_redis: RedisServer, prefix: str) -> None:
    long = '{"timeline": {' + ", ".join(f'"2014-03-{day:02}": {day}' for day in range(1, 32)) * 150 + "}}"

    async def flood(peer: Peer) -> None:
        number = number_of(head := await peer.head())
        peer.reader.feed_data(head)
        if number < len(SEVERAL):
            await FLOODS[SEVERAL[number]](peer)
        else:
            await peer.head()
            await peer.say(dripped(long.encode()))

    async with (
        serving(flood) as origin,
        fleet_of_two(stage, shared_redis, prefix, origin.url, body_max_bytes=1 << 20) as (here, _),
        watched_turns() as turns,
    ):
        asked = [asyncio.create_task(here.get(target(number))) for number in range(len(SEVERAL))]
        dripping = await here.get(target(100))
        assert (dripping.status_code, dripping.text) == (200, long)
        for task in asked:
            assert (await task).status_code in (502, 504)
    assert turns.longest < 0.25
