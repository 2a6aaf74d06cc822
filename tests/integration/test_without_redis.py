"""The gateway never fails because its cache did: Redis killed, absent at the start, and back again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from gateway.redis_pool import Pool
from tests.integration.house import housed
from tests.integration.stage import Process, Stage, get, staged, until
from tests.redis_server import RedisServer, free_port, redis_server

SETTINGS = {"budget": "unlimited", "redis_timeout": 0.5, "log_level": "warning"}


@pytest.fixture
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    """Depends on the shared Redis only to be skipped where there is none."""
    with staged(**SETTINGS) as stage:
        stage.tenant("reports", "lboro")
        yield stage


def asked(stage: Stage, gateway: Process, number: int) -> tuple[int, bytes, str]:
    target = f"/lboro/timeline/day/views/article/{number}?start_date=2014-01-01&end_date=2014-03-01"
    answer = get(gateway.url + target, headers={"X-API-Key": stage.keys["reports"]})
    return answer.status_code, answer.content, answer.headers["cache-status"]


def status_of(gateway: Process) -> str:
    answer = get(f"{gateway.url}/-/health/ready")
    assert answer.status_code == 200
    return str(answer.json()["status"])


def test_killed_and_back_again_no_request_fails(stage: Stage) -> None:
    port = free_port()
    with redis_server(port=port) as server:
        gateway = stage.serve(redis_url=server.url)
        before = asked(stage, gateway, 1)
        assert before[0] == 200
    near = asked(stage, gateway, 1)
    assert near[:2] == before[:2]
    assert "; hit" in near[2]
    assert [asked(stage, gateway, number)[0] for number in range(2, 6)] == [200] * 4
    until(lambda: status_of(gateway) == "degraded")
    with redis_server(port=port):
        until(lambda: status_of(gateway) == "ok")
        assert asked(stage, gateway, 7)[0] == 200
    assert "Traceback" not in gateway.output


def test_absent_at_the_start_it_serves_all_the_same(stage: Stage) -> None:
    gateway = stage.serve(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert asked(stage, gateway, 1)[0] == 200
    assert status_of(gateway) == "degraded"


def test_without_redis_the_budget_still_holds(stage: Stage) -> None:
    gateway = stage.serve(redis_url=f"redis://127.0.0.1:{free_port()}/0", budget="5/s", budget_burst=1)
    stage.reset_calls()
    assert [asked(stage, gateway, number)[0] for number in range(1, 6)] == [200] * 5
    assert stage.calls()["min_gap_seconds"] >= 0.95 / 5


async def test_what_landed_here_while_redis_kept_a_look_up_waiting_is_not_asked_for_again(stage: Stage) -> None:
    target, other = (f"/lboro/timeline/day/views/article/{number}" for number in (71, 72))
    with redis_server() as server:
        async with housed(stage, redis_url=SecretStr(server.url), redis_timeout=1.0) as house:
            pool = house.resolver.store.client.connection_pool
            assert isinstance(pool, Pool)
            stage.reset_calls()
            stage.close_gate()
            try:
                first = asyncio.create_task(house.get(target, stage.keys["reports"]))
                await asyncio.to_thread(until, lambda: stage.calls()["in_flight"] == 1)
                server.pause()
                lost = asyncio.create_task(house.get(other, stage.keys["reports"]))
                await asyncio.sleep(0.5)  # so that this look-up outlives the time at which Redis counts as lost
                late = asyncio.create_task(house.get(target, stage.keys["reports"]))
                async with asyncio.timeout(20):
                    while not pool.breaker.is_open:
                        await asyncio.sleep(0.01)
            finally:
                await asyncio.to_thread(stage.open_gate)
            answers = await asyncio.gather(first, late, lost)
            assert [answer.status_code for answer in answers] == [200, 200, 200]
            assert answers[0].content == answers[1].content
            assert stage.calls()["by_path"][target] == 1
            server.resume()
