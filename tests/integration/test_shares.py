"""What several processes ask together while Redis is gone, and while they do not agree on what they may ask."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.integration.crowd import Client
from tests.integration.stage import Process, Stage, get, staged, until
from tests.redis_server import RedisServer, free_port, redis_server

pytestmark = pytest.mark.serial

RATE, PROCESSES, WATCHED = 2, 4, 5.0
INTERVAL = 1 / RATE


@pytest.fixture
def stage(shared_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    """Depends on the shared Redis only to be skipped where there is none."""
    settings: dict[str, Any] = {
        "budget": f"{RATE}/s",
        "budget_burst": 1,
        "caller_timeout": 60,
        "redis_prefix": prefix,
    }
    with staged(log_level="warning", **settings) as stage:
        stage.tenant("reports", "lboro")
        yield stage
        for gateway in stage.gateways:  # which would wait for the calls that they still owe
            with suppress(ProcessLookupError):  # a test may have ended one itself
                os.killpg(gateway.running.pid, signal.SIGKILL)


async def arrivals(stage: Stage, seconds: float, *only: Process) -> list[float]:
    """When the service was asked while these gateways, or all, had more to ask than they may, in seconds."""
    key, prefix = ("", "") if only else (stage.keys["reports"], "/lboro")
    clients = [
        Client(gateway.port, f"{prefix}/timeline/day/views/article/{number}{at}", key)
        for number, gateway in enumerate(only or stage.gateways)
        for at in range(100, 100 + round(2 * RATE * seconds))
    ]
    tasks = [asyncio.create_task(client.ask(90, resets_early=True)) for client in clients]
    await asyncio.sleep(seconds)
    found = sorted((await asyncio.to_thread(stage.calls))["arrivals"])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def metric(gateway: Process, line: str) -> float:
    text = get(f"http://127.0.0.1:{gateway.admin_port}/metrics").text
    return float(next(each for each in text.splitlines() if each.startswith(line)).rpartition(" ")[2])


async def test_those_who_start_without_redis_keep_the_rate_together(stage: Stage) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    await asyncio.to_thread(partial(stage.serve_several, PROCESSES, redis_url=nowhere, fleet_size=PROCESSES))
    found = await arrivals(stage, WATCHED)
    assert found
    assert len(found) <= RATE * WATCHED + PROCESSES


@pytest.mark.exhaustive
async def test_workers_that_start_without_redis_have_turns_of_their_own(stage: Stage) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    await asyncio.to_thread(stage.serve, redis_url=nowhere, workers=PROCESSES)
    found = await arrivals(stage, WATCHED)
    assert found
    assert len(found) <= RATE * WATCHED + PROCESSES
    assert min(later - earlier for earlier, later in pairwise(found)) >= 0.8 * INTERVAL


async def test_those_who_lose_redis_never_write_together(stage: Stage) -> None:
    with redis_server() as server:
        await asyncio.to_thread(partial(stage.serve_several, PROCESSES, redis_url=server.url))
        everybody = lambda: all(  # noqa: E731 (short)
            metric(each, "stats_gateway_fleet_processes") == PROCESSES for each in stage.gateways
        )
        await asyncio.to_thread(until, everybody)
        assert all("fleet_size_too_small" in gateway.output for gateway in stage.gateways)
    stage.reset_calls()
    found = await arrivals(stage, WATCHED)
    assert len(found) >= WATCHED * RATE / 4
    assert len(found) <= RATE * WATCHED + PROCESSES
    assert min(later - earlier for earlier, later in pairwise(found)) >= 0.8 * INTERVAL


def told(gateway: Process) -> dict[str, float]:
    name = "stats_gateway_fleet_disagreement"
    settings = ("budget", "budget_burst", "encryption_keys")
    return {setting: metric(gateway, f'{name}{{setting="{setting}"}}') for setting in settings}


async def test_those_who_disagree_say_so_and_keep_to_the_lowest_budget(stage: Stage) -> None:
    with redis_server() as server:
        other: dict[str, Any] = {
            "budget": "20/s",
            "budget_burst": 5,
            "encryption_keys": Fernet.generate_key().decode(),
        }
        other |= {"allow_anonymous": True, "registry": stage.folder / "more.toml"}
        slow = await asyncio.to_thread(stage.serve, redis_url=server.url)
        quick = await asyncio.to_thread(stage.serve, redis_url=server.url, **other)
        everything = {"budget": 1.0, "budget_burst": 1.0, "encryption_keys": 1.0}
        await asyncio.to_thread(until, lambda: told(slow) == told(quick) == everything)
        for gateway in (slow, quick):
            assert "fleet_disagrees" in gateway.output
            assert metric(gateway, "stats_gateway_budget_calls_per_second") == pytest.approx(RATE)
        stage.reset_calls()
        found = await arrivals(stage, WATCHED / 2, quick)
        assert found
        assert len(found) <= RATE * WATCHED / 2 + 2
        slow.kill()
        await asyncio.to_thread(until, lambda: set(told(quick).values()) == {0.0})
        assert metric(quick, "stats_gateway_budget_calls_per_second") == pytest.approx(20)
