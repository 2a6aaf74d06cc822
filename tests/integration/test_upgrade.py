"""A rolling update from the commit that ``FROM`` names, and back again, under load: ``make rolling FROM=…``."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.integration.balancer import Balancer, balancing
from tests.integration.load import Load
from tests.integration.stage import Process, Stage, await_answer, staged, until
from tests.integration.test_rolling import HOT, asked, fresh
from tests.redis_server import RedisServer

FROM = os.environ.get("FROM", "")
TOP = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.serial,
    pytest.mark.drill,
    pytest.mark.skipif(not FROM, reason="FROM names no commit to update from"),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was at that commit."""
    archive = subprocess.run(["git", "archive", FROM, "gateway"], cwd=TOP, capture_output=True, check=True).stdout
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture
def stage(shared_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    settings = {"budget": "unlimited", "drain_seconds": 1.5, "log_level": "warning"}
    with staged("--no-examples", redis_url=shared_redis.url, redis_prefix=prefix, **settings) as stage:
        stage.tenant("reports", "lboro")
        yield stage


def serve_older(stage: Stage, checkout: Path) -> Process:
    gateway = stage.start_gateway(shell=f'cd "{checkout}" && exec "$@"')
    await_answer(f"{gateway.url}/-/health/ready", gateway)
    return gateway


def test_either_reads_the_others_records(stage: Stage, checkout: Path) -> None:
    older, newer = serve_older(stage, checkout), stage.serve()
    for number, (first, second) in enumerate([(older, newer), (newer, older)], start=1):
        target = f"/lboro/total/views/article/{number}"
        stored, read = asked(stage, first, target), asked(stage, second, target)
        assert (stored[0].partition(";")[0], read[0].partition(";")[0]) == ("fwd=uri-miss", "hit")
        assert stored[1] == read[1]
    assert stage.calls()["total"] == 2
    until(lambda: {each.metric("stats_gateway_fleet_processes") for each in (older, newer)} == {2})
    assert {each.metric("stats_gateway_undecodable_records_total") for each in (older, newer)} == {0}


async def test_an_update_and_its_rollback_fail_no_request(stage: Stage, checkout: Path) -> None:
    older = [await asyncio.to_thread(serve_older, stage, checkout) for _ in range(2)]
    async with balancing(*(gateway.port for gateway in older)) as balancer:
        load = Load(balancer.port, stage.keys["reports"], HOT, partial(fresh, stage), rate=120.0, clients=20)
        async with load.running():
            newer = [await replaced(balancer, gateway, stage.serve) for gateway in older]
            back = partial(serve_older, stage, checkout)
            for gateway in newer:
                await replaced(balancer, gateway, back)
    slowest = max(answer.seconds for answer in load.answers)
    print(
        f"\nupdate from {FROM} and back: {len(load.answers)} requests, {load.statuses()}, slowest {slowest:.2f} s",
        flush=True,
    )
    assert len(load.answers) > 100
    assert load.failures == []
    bodies: dict[str, set[bytes]] = {}
    for answer in load.answers:
        bodies.setdefault(answer.target, set()).add(answer.body)
    assert all(len(found) == 1 for found in bodies.values())


async def replaced(balancer: Balancer, gateway: Process, serve: Callable[[], Process]) -> Process:
    """Its successor, ready before it ends."""
    successor = await asyncio.to_thread(serve)
    balancer.backends.append(successor.port)
    await asyncio.sleep(0.5)
    gateway.running.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.running.wait, 30) == 0
    balancer.backends.remove(gateway.port)
    return successor
