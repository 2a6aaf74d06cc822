"""One upstream call for a thousand callers in four processes; whatever becomes of that call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.crowd import Client, Reply
from tests.integration.stage import Stage, staged, until
from tests.redis_server import RedisServer

CALLERS = 1_000
PROCESSES = 4
TARGET = "/lboro/timeline/day/views/article/77?start_date=2014-01-01&end_date=2014-03-01"


@pytest.fixture
def stage(shared_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    with staged(redis_url=shared_redis.url, redis_prefix=prefix, budget="unlimited", log_level="warning") as stage:
        stage.tenant("reports", "lboro")
        stage.serve_several(PROCESSES)
        yield stage


def crowd(stage: Stage) -> list[asyncio.Task[Reply]]:
    ports = [gateway.port for gateway in stage.gateways]
    clients = [Client(ports[i % len(ports)], TARGET, stage.keys["reports"]) for i in range(CALLERS)]
    return [asyncio.create_task(client.ask()) for client in clients]


async def all_waiting(stage: Stage, callers: int = CALLERS) -> None:
    def waiting() -> bool:
        return sum(g.metric("stats_gateway_flight_waiters") for g in stage.gateways) == callers

    await asyncio.to_thread(until, waiting)
    await asyncio.to_thread(until, lambda: stage.calls()["in_flight"] == 1)


async def test_a_thousand_identical_cold_requests_make_one_call(stage: Stage) -> None:
    stage.close_gate()
    tasks = crowd(stage)
    await all_waiting(stage)
    stage.open_gate()
    replies = await asyncio.gather(*tasks)
    assert stage.calls()["total"] == 1
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    again = await Client(stage.gateways[0].port, TARGET, stage.keys["reports"]).ask()
    assert "; hit" in again.headers["cache-status"]
    assert again.body == replies[0].body


async def test_when_that_call_fails_everyone_gets_that_failure(stage: Stage) -> None:
    stage.plan(status=500, body='{"message": "down", "code": "Internal", "data": null}', times=1)
    stage.close_gate()
    tasks = crowd(stage)
    await all_waiting(stage)
    stage.open_gate()
    replies = await asyncio.gather(*tasks)
    assert stage.calls()["total"] == 1
    assert {(reply.status, reply.body) for reply in replies} == {
        (500, b'{"message": "down", "code": "Internal", "data": null}')
    }


async def test_when_the_leading_process_is_killed_one_more_call_answers_everyone_else(stage: Stage) -> None:
    stage.close_gate()
    tasks = crowd(stage)
    await all_waiting(stage)
    leader = next(g for g in stage.gateways if leads(g.port, stage))
    survivors = [task for i, task in enumerate(tasks) if stage.gateways[i % PROCESSES] is not leader]
    leader.kill()
    await asyncio.to_thread(until, lambda: stage.calls()["total"] == 2)
    stage.open_gate()
    replies = await asyncio.gather(*survivors)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(replies) == CALLERS * (PROCESSES - 1) / PROCESSES
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert stage.calls()["total"] == 2


async def test_when_the_first_caller_disconnects_nothing_is_cancelled(stage: Stage) -> None:
    stage.close_gate()
    first = asyncio.create_task(
        Client(stage.gateways[0].port, TARGET, stage.keys["reports"]).ask(resets_early=True)
    )
    await all_waiting(stage, 1)
    tasks = crowd(stage)
    await all_waiting(stage, CALLERS + 1)
    first.cancel()
    await all_waiting(stage, CALLERS)
    stage.open_gate()
    replies = await asyncio.gather(*tasks)
    assert {reply.status for reply in replies} == {200}
    assert stage.calls()["total"] == 1


def leads(port: int, stage: Stage) -> bool:
    """Whether the gateway on this port wrote the one call that is in flight."""
    gateway = next(g for g in stage.gateways if g.port == port)
    return gateway.metric("stats_gateway_flights_led") == 1
