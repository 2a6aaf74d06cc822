"""Drills: what befalls Redis under steady load, and that no request fails because of it (docs/decisions.md, 10).

Each prints its figures with ``-s``. The short forms run with the tests, the long ones with ``make drill``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

import pytest

from tests.chaos_redis import NONSENSE, ChaosProxy, chaos_proxy
from tests.integration.load import Connection, Load
from tests.integration.stage import Process, Stage, staged
from tests.redis_server import RedisServer, free_port, redis_server

pytestmark = pytest.mark.serial

HOT = [f"/total/views/article/{number}" for number in range(1, 13)]
CONNECTIONS = 20
GENEROUS = 5.0
"""Seconds within which Redis must be used again once it is back: two, and a margin for a busy machine."""

SHORT, LONG = 1.5, 9.0
AROUND = 0.7
"""Seconds of load before a drill breaks something, and after all is well again."""
scales = pytest.mark.parametrize(
    "seconds", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.drill)]
)


@dataclass
class Scene:
    """A gateway, its Redis behind a proxy, and the sandbox."""

    stage: Stage
    server: RedisServer
    proxy: ChaosProxy
    prefix: str
    stack: ExitStack

    def serve(self, **settings: object) -> Process:
        """A gateway that ends with the scene."""
        self.stage.reset_calls()
        gateway = self.stage.serve(redis_url=self.proxy.url, redis_prefix=self.prefix, **settings)
        self.stack.callback(gateway.running.wait, 15)
        self.stack.callback(gateway.running.terminate)
        return gateway

    def hot_calls(self) -> int:
        """How often the service was asked for a hot target."""
        calls = self.stage.calls()["by_path"]
        return sum(calls.get(path, 0) for path in HOT)

    def entries(self) -> int:
        """Keys in Redis that are not the queue's."""
        keys = self.server.call("KEYS", f"{self.prefix}:*")
        return sum(b"{queue}" not in key for key in keys)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    settings = {"budget": "unlimited", "redis_connections": CONNECTIONS, "log_level": "warning"}
    with staged(**settings, log_format="json") as stage:
        stage.tenant("reports", "lboro")
        yield stage


@pytest.fixture
def scene(shared_redis: RedisServer, stage: Stage, prefix: str) -> Iterator[Scene]:
    """Depends on the shared Redis only to be skipped where there is none."""
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(remembers=True))
        yield Scene(stage, server, stack.enter_context(chaos_proxy(server.port)), prefix, stack)


async def readiness(gateway: Process) -> str:
    """What the gateway says of itself, to anybody: so it names no host."""
    connection = Connection(gateway.port)
    answer = await connection.get("/-/health/ready")
    connection.close()
    assert answer.status == 200, answer
    assert b"127.0.0.1" not in answer.body
    assert b"redis" not in answer.body.lower()
    return str(json.loads(answer.body)["status"])


async def until_it_says(gateway: Process, status: str, patience: float) -> float:
    """Seconds until readiness says so."""
    begun = time.monotonic()
    while await readiness(gateway) != status:
        assert time.monotonic() - begun < patience, f"not {status} in time: {gateway.output}"
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


def fresh_target(name: str, number: int) -> str:
    return f"/lboro/timeline/day/views/article/{number}?start_date=2014-01-01&end_date=2014-03-01&{quote(name)}=1"


async def drill(
    name: str,
    scene: Scene,
    seconds: float,
    breaks: Callable[[], object],
    mends: Callable[[], object],
    *,
    degrades: bool = True,
) -> None:
    """Load before, while and after Redis is broken; says what it cost."""
    gateway = await asyncio.to_thread(scene.serve)
    load = Load(gateway.port, scene.stage.keys["reports"], HOT, partial(fresh_target, name))
    async with load.running():
        await asyncio.sleep(AROUND)
        before = len(load.answers)
        await asyncio.to_thread(breaks)
        if degrades:
            await until_it_says(gateway, "degraded", GENEROUS)
        await asyncio.sleep(seconds)
        during = load.answers[before:]
        herd = len(load.answers)
        await asyncio.to_thread(mends)
        back = await until_it_says(gateway, "ok", GENEROUS)
        await asyncio.sleep(AROUND)
    clients = int(scene.server.call("INFO", "clients")["connected_clients"])
    hot_calls = scene.hot_calls()
    output = gateway.settled
    lines = [output.count(f'"{event}"') for event in ("redis_lost", "redis_back")]
    slowest = max(answer.seconds for answer in during)
    print(
        f"\n{name}: {len(load.answers)} requests, {load.statuses()}; {len(during)} while broken, "
        f"p50 {1000 * load.quantile(0.5):.1f} ms, slowest {slowest:.2f} s; back after {back:.2f} s; "
        f"{hot_calls} calls for {len(HOT)} hot targets, {len(load.fetched)} others; "
        f"{clients} connections; lost {lines[0]}, back {lines[1]}",
        flush=True,
    )
    assert load.failures == [], gateway.output[-3_000:]
    assert len(load.answers) > herd > before
    assert hot_calls <= len(HOT) + 2
    assert clients <= CONNECTIONS + 10
    assert "Traceback" not in gateway.output
    assert lines == ([1, 1] if degrades else [0, 0])
    await stored(scene, len(HOT) + len(load.fetched))


async def stored(scene: Scene, at_least: int) -> None:
    """What was fetched is stored, without Redis too once it is back: the server remembers what it acknowledged."""
    deadline = time.monotonic() + 2 * GENEROUS
    while (count := scene.entries()) < at_least:
        assert time.monotonic() < deadline, f"only {count} of {at_least} stored"
        await asyncio.sleep(0.1)


@pytest.mark.exhaustive
@scales
async def test_decision_10_stopped(scene: Scene, seconds: float) -> None:
    await drill("stopped", scene, seconds, scene.server.stop, scene.server.start)


@scales
async def test_decision_10_killed(scene: Scene, seconds: float) -> None:
    await drill("killed", scene, seconds, scene.server.kill, scene.server.start)


@scales
async def test_decision_10_paused(scene: Scene, seconds: float) -> None:
    await drill("paused", scene, seconds, scene.server.pause, scene.server.resume)


@pytest.mark.exhaustive
@scales
async def test_decision_10_full(scene: Scene, seconds: float) -> None:
    limit = partial(scene.server.call, "CONFIG", "SET", "maxmemory")
    await drill("full", scene, seconds, partial(limit, 1_000), partial(limit, 0))


@pytest.mark.exhaustive
@scales
async def test_decision_10_read_only_after_failover(scene: Scene, seconds: float) -> None:
    follow = partial(scene.server.call, "REPLICAOF")
    await drill(
        "read-only", scene, seconds, partial(follow, "127.0.0.1", free_port()), partial(follow, "NO", "ONE")
    )


@pytest.mark.exhaustive
@scales
async def test_decision_10_slow(scene: Scene, seconds: float) -> None:
    def slow_down() -> None:
        scene.proxy.delay = 0.2

    await drill("slow by 200 ms", scene, seconds, slow_down, scene.proxy.behave, degrades=False)


@scales
async def test_decision_10_garbage(scene: Scene, seconds: float) -> None:
    loop = asyncio.get_running_loop()

    def babble() -> None:
        for i, kind in enumerate(NONSENSE):
            loop.call_soon_threadsafe(
                loop.call_later, i * seconds / len(NONSENSE), setattr, scene.proxy, "nonsense", kind
            )

    await drill("garbage", scene, seconds + 1, babble, scene.proxy.behave)


@scales
async def test_decision_10_absent_at_the_start(scene: Scene, seconds: float) -> None:
    scene.server.stop()
    await drill("absent at the start", scene, seconds, lambda: None, scene.server.start)


@pytest.mark.parametrize("restarted", [False, True], ids=["paused", "killed"])
async def test_decision_10_no_herd_when_redis_is_back(scene: Scene, restarted: bool) -> None:
    """Without a near cache, so that every hot request needs Redis: what it lost is fetched once, not by all."""
    gateway = await asyncio.to_thread(partial(scene.serve, near_max_bytes=0))
    load = Load(gateway.port, scene.stage.keys["reports"], HOT, partial(fresh_target, "herd"), miss=0.0)
    breaks, mends = scene.server.pause, scene.server.resume
    if restarted:
        breaks, mends = scene.server.kill, scene.server.start
    async with load.running():
        await asyncio.sleep(AROUND)
        await asyncio.to_thread(breaks)
        await until_it_says(gateway, "degraded", GENEROUS)
        await asyncio.to_thread(mends)
        await until_it_says(gateway, "ok", GENEROUS)
        await asyncio.to_thread(scene.stage.reset_calls)
        await asyncio.sleep(AROUND)
    print(
        f"\nafter recovery: {scene.hot_calls()} calls for {len(HOT)} hot targets in {AROUND} s at {load.rate:g}/s"
    )
    assert load.failures == [], gateway.output[-3_000:]
    assert scene.hot_calls() <= len(HOT)
