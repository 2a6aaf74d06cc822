"""A rolling update: versions side by side on one Redis, and processes that end while clients go on asking.

The second prints its figures with ``-s``.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from tests.integration.balancer import balancing
from tests.integration.load import Load
from tests.integration.stage import Process, Stage, get, staged, until
from tests.redis_server import RedisServer

pytestmark = pytest.mark.serial

HOT = [f"/total/views/article/{number}" for number in range(1, 13)]
DRAIN = 1.5


@pytest.fixture
def stage(shared_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    with staged(
        "--no-examples",
        redis_url=shared_redis.url,
        redis_prefix=prefix,
        budget="unlimited",
        drain_seconds=DRAIN,
        log_level="warning",
    ) as stage:
        stage.tenant("reports", "lboro")
        yield stage


def asked(stage: Stage, gateway: Process, target: str = HOT[0]) -> tuple[str, bytes]:
    answer = get(gateway.url + target, headers={"X-API-Key": stage.keys["reports"]})
    assert answer.status_code == 200
    return answer.headers["cache-status"].partition("; ")[2], answer.content


def test_an_older_version_takes_a_newer_ones_records_for_misses_and_the_other_way_round(stage: Stage) -> None:
    older, newer = stage.serve(module="tests.integration.older"), stage.serve()
    told = [asked(stage, each) for each in (newer, older, newer, older)]
    assert [how.partition("; ttl")[0] for how, _ in told] == [
        "fwd=uri-miss; stored", "fwd=uri-miss; stored", "hit", "hit",
    ]  # fmt: skip
    assert len({body for _, body in told}) == 1
    assert stage.calls()["total"] == 2
    until(lambda: {each.metric("stats_gateway_fleet_processes") for each in (older, newer)} == {2})
    assert {each.metric("stats_gateway_undecodable_records_total") for each in (older, newer)} == {0}


async def test_processes_that_end_one_after_another_fail_no_request(stage: Stage) -> None:
    """Behind a balancer that holds its clients' keep-alive connections: SIGTERM, and a new process for each."""
    old = [await asyncio.to_thread(stage.serve) for _ in range(2)]
    new: list[Process] = []
    async with balancing(*(gateway.port for gateway in old)) as balancer:
        load = Load(balancer.port, stage.keys["reports"], HOT, partial(fresh, stage), rate=120.0, clients=20)
        async with load.running():
            await asyncio.sleep(0.5)
            for gateway in old:
                new.append(await asyncio.to_thread(stage.serve))
                balancer.backends.append(new[-1].port)
                gateway.running.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(gateway.running.wait, 30) == 0
                balancer.backends.remove(gateway.port)
            await asyncio.sleep(0.5)
    answered = [gateway.metric("stats_gateway_requests_total") for gateway in new]
    print(
        f"\nrolling update: {len(load.answers)} requests while two gateways gave way to two others, "
        f"{load.statuses()}, slowest {max(answer.seconds for answer in load.answers):.2f} s",
        flush=True,
    )
    assert load.failures == []
    assert all(answered)
    bodies: dict[str, set[bytes]] = {}
    for answer in load.answers:
        bodies.setdefault(answer.target, set()).add(answer.body)
    assert all(len(found) == 1 for found in bodies.values())


def fresh(stage: Stage, number: int) -> str:
    return f"/lboro/timeline/day/views/article/{number}?start_date=2014-01-01&end_date=2014-03-01"
