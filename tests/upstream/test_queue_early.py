"""An answer that may go out before Redis has it: who gets it then, who does not, and who comes after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import redis.asyncio
from pydantic import SecretStr

from gateway.caching.store import PUT
from gateway.redis_client import connect
from gateway.scripts import Invocation
from gateway.settings import Settings
from gateway.upstream.flight import Band, Confirm, Result
from gateway.upstream.landing import Landing
from gateway.upstream.payer import Payer
from gateway.upstream.queue import Queue
from gateway.upstream.signs import Kind, Sign, Verdict
from tests.redis_server import RedisServer
from tests.upstream.test_queue import LONG, entry_of, fleet, nothing, until

STORED = Result(Landing("x", entry_of("a"), stored=True))


@dataclass
class Service:
    """The work of flights: each call ends with ``result`` once ``answers`` is set; ``told`` is in what order."""

    result: Result
    calls: int = 0
    told: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, confirm: Confirm) -> Result:
        await confirm()
        self.calls += 1
        self.asked.set()
        await self.answers.wait()
        return replace(self.result, tell=lambda: self.told.append("call"))

    def ask(self, queue: Queue) -> asyncio.Task[Landing]:
        async def landed() -> Landing:
            landing, _ = await queue.land("a", "x", Payer("t"), Band.PEOPLE, self, nothing, LONG)
            self.told.append("caller")
            return landing

        return asyncio.create_task(landed())


@asynccontextmanager
async def paused(server: RedisServer) -> AsyncIterator[None]:
    """A Redis that takes everything and answers nothing."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


async def test_a_stored_answer_does_not_wait_for_redis(
    redis_client: redis.asyncio.Redis, shared_redis: RedisServer, prefix: str
) -> None:
    service = Service(STORED)
    async with fleet(redis_client, prefix, 1) as (queue,):
        asked = [service.ask(queue) for _ in range(3)]
        await service.asked.wait()
        async with paused(shared_redis):
            service.answers.set()
            landings = await asyncio.wait_for(asyncio.gather(*asked), LONG)
            assert queue.flights == 1  # Redis does not have it yet
        await queue.stop(grace=LONG)
    assert [landing.entry for landing in landings] == [STORED.landing.entry] * 3
    assert service.told == ["caller", "caller", "caller", "call"]
    assert await redis_client.exists(f"{prefix}:{{queue}}:done:a") == 1


async def test_whoever_has_an_answer_finds_it_in_redis(shared_redis: RedisServer, prefix: str) -> None:
    client, other = (connect(Settings(redis_url=SecretStr(shared_redis.url))) for _ in range(2))
    stored = Invocation(PUT, f"{prefix}:a", (b"frame", 10_000))
    service = Service(replace(STORED, stores=[stored]))
    service.answers.set()
    async with fleet(client, prefix, 1) as (queue,):
        for _ in range(100):
            await service.ask(queue)
            assert await other.exists(f"{prefix}:a", f"{prefix}:{{queue}}:done:a") == 2
            await until(lambda: not queue.flights)
            await other.delete(f"{prefix}:a", f"{prefix}:{{queue}}:done:a")
    await asyncio.gather(client.aclose(), other.aclose())


@pytest.mark.parametrize(
    "result",
    [
        replace(STORED, landing=replace(STORED.landing, stored=False)),
        replace(STORED, sign=Sign(Kind.BLOCKED, 0.01)),
        replace(STORED, verdict=Verdict("fp", refused=True)),
    ],
    ids=["unstored", "blocked", "refused"],
)
async def test_what_others_have_to_know_first_waits_for_redis(
    redis_client: redis.asyncio.Redis, shared_redis: RedisServer, prefix: str, result: Result
) -> None:
    service = Service(result)
    async with fleet(redis_client, prefix, 1) as (queue,):
        asked = service.ask(queue)
        await service.asked.wait()
        async with paused(shared_redis):
            service.answers.set()
            assert not (await asyncio.wait({asked}, timeout=0.2))[0]
        await asyncio.wait_for(asked, LONG)


async def test_who_asks_after_an_answer_went_out_does_not_get_that(
    redis_client: redis.asyncio.Redis, shared_redis: RedisServer, prefix: str
) -> None:
    service = Service(STORED)
    async with fleet(redis_client, prefix, 1) as (queue,):
        first = service.ask(queue)
        await service.asked.wait()
        async with paused(shared_redis):
            service.answers.set()
            await asyncio.wait_for(first, LONG)
            later = service.ask(queue)
            assert not (await asyncio.wait({later}, timeout=0.2))[0]
        await asyncio.wait_for(later, LONG)
    assert service.calls == 2


async def test_a_refresh_after_an_answer_went_out_is_not_left_out(
    redis_client: redis.asyncio.Redis, shared_redis: RedisServer, prefix: str
) -> None:
    service = Service(STORED)
    async with fleet(redis_client, prefix, 1) as (queue,):
        first = service.ask(queue)
        await service.asked.wait()
        async with paused(shared_redis):
            service.answers.set()
            await asyncio.wait_for(first, LONG)
            for _ in range(3):
                queue.refresh("a", "x", Payer("t"), service, nothing)
        await until(lambda: service.calls == 2 and not queue.flights)


async def test_one_who_leaves_while_an_earlier_answer_is_told_of_costs_nothing(
    redis_client: redis.asyncio.Redis, shared_redis: RedisServer, prefix: str
) -> None:
    service = Service(STORED)
    async with fleet(redis_client, prefix, 1) as (queue,):
        first = service.ask(queue)
        await service.asked.wait()
        async with paused(shared_redis):
            service.answers.set()
            await asyncio.wait_for(first, LONG)
            later = service.ask(queue)
            await asyncio.wait({later}, timeout=0.05)
            later.cancel()
            assert (await asyncio.wait({later}, timeout=LONG))[0]
        await asyncio.wait_for(service.ask(queue), LONG)
    assert service.calls == 2
