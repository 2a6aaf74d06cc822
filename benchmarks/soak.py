"""The soak: two workers under steady load while Redis, the service and the process's own means are broken in turn.

Run with ``make soak`` (``ARGS="--minutes 0.5"`` for a taste; Ctrl-C ends it early, with its table). It exits 1
when a request failed whose target had an entry, when an answer was altered, late, or another institution's,
when a neighbour's trouble became somebody else's, or when memory, descriptors, flights, queue records or
connections did not come back to what they were. Loopback only; reads /proc, so it wants Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import signal
import statistics
import sys
import time
from bisect import bisect_left
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache, partial

from benchmarks.processes import children, descriptors, resident
from benchmarks.troubles import Scene, Trouble, piped, troubles
from gateway.sandbox.service import Service
from tests.chaos_redis import chaos_proxy
from tests.chaos_service import chaos_service
from tests.clock_shim import clock_shim
from tests.integration.load import Answer, Connection, Load
from tests.integration.stage import get, staged
from tests.redis_server import RedisServer, redis_server

PREFIX = "soak"
RATE = 100
MOST_CALLS = 2 * RATE
"""In any one second: while Redis is being lost, its last slots and the processes' own shares come together."""
CALLER_SECONDS, LATE = 3.0, 0.25
"""The time that a caller waits at most, and what a busy machine may add to it."""
SETTINGS: dict[str, object] = {
    "workers": 2,
    "budget": f"{RATE}/s",
    "redis_prefix": PREFIX,
    "redis_connections": 10,
    "near_max_bytes": 1024 * 1024,  # both soon full, so that what grows after that is a leak
    "prepared_max_bytes": 1024 * 1024,
    "lifetime_closed": 5,
    "upstream_timeout": 2,
    "read_timeout": 2,
    "caller_timeout": CALLER_SECONDS,
    "gate_pause": 0.5,
    "gate_longest": 2,
    "log_hits": 1,
    "log_format": "json",
}
HOT, FRESH = 40, 0.15
BROKEN, WELL = 2.5, 1.0
"""Seconds that something is broken, and that all is well after it has settled."""
SAMPLE_SECONDS = 1.0
MEMORY_SLACK, DESCRIPTOR_SLACK = 1.10, 40
GAUGES = tuple(f"stats_gateway_{name}" for name in ("flights", "flight_waiters", "flights_led", "queue_depth"))
PAIRS = {"lboro": b"Basic bGJvcm86c2FuZGJveC1sYm9ybw==", "monash": b"Basic bW9uYXNoOnNhbmRib3gtbW9uYXNo"}


def target(institution: str, name: str, number: int) -> str:
    path = f"/{institution}/timeline/month/views/article/{number}"
    return f"{path}?start_date=2014-01-01&end_date=2014-06-30&{name}=1"


@lru_cache(100_000)
def expected(asked: str) -> bytes:
    """The service's own answer for a target, computed beside it."""
    path, _, query = asked.partition("?")
    return SERVICE.answer("GET", path, query, PAIRS[path.split("/")[1]]).body


SERVICE = Service(1, today=lambda: date(2014, 12, 31))


@dataclass
class Sample:
    """The workers together: resident bytes and open descriptors."""

    at: float
    memory: int
    descriptors: int


@dataclass
class Soak:
    """What is seen while everything is broken in turn."""

    scene: Scene
    known: list[str] = field(default_factory=lambda: [target("lboro", "hot", n) for n in range(HOT)])
    samples: list[Sample] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unwell_until: float = float("inf")
    excused: int = 0
    intrusions: int = 0
    violations: list[str] = field(default_factory=list)

    async def chaos(self) -> None:
        """One trouble after another, none overlapping."""
        await self.scene.pause(WELL + 3)
        self.unwell_until = time.monotonic()
        for name, trouble in itertools.cycle(troubles(self.scene).items()):
            if self.scene.over.is_set():
                return
            self.broken.append(name)
            await self._befall(trouble)

    async def _befall(self, trouble: Trouble) -> None:
        if not trouble.neighbourly:
            self.unwell_until = float("inf")
        await trouble.befall(BROKEN)
        if not trouble.neighbourly:
            self.unwell_until = time.monotonic() + trouble.settling
        await self.scene.pause(trouble.settling + WELL)

    # What is seen

    async def judge(self, load: Load) -> None:
        """Sorts answers as they come: what had an entry must not fail, nor anything while all is well."""
        had, seen = set(self.known), 0
        while not self.scene.over.is_set():
            await self.scene.pause(0.2)
            well = time.monotonic() > self.unwell_until
            for answer in load.answers[seen:]:
                self._judge(answer, had, well)
                if answer.status == 200 and well and answer.target not in had:
                    had.add(answer.target)
                    self.known.append(answer.target)
                    del self.known[HOT:-500]
            seen = len(load.answers)

    def _judge(self, answer: Answer, had: set[str], well: bool) -> None:
        trouble = self.broken[-1] if self.broken else "nothing"
        if answer.seconds > CALLER_SECONDS + LATE:
            self.violations.append(f"late by {answer.seconds - CALLER_SECONDS:.2f} s ({trouble}): {answer.target}")
        if answer.status == 200:
            if answer.body != expected(answer.target):
                self.violations.append(f"altered ({trouble}): {answer.target} {answer.body!r}")
        elif answer.target in had or well:
            why = "had an entry" if answer.target in had else "nothing of its own was broken"
            self.violations.append(f"{answer.status} though it {why} ({trouble}): {answer.target} {answer.source}")
        else:
            self.excused += 1

    async def intrude(self) -> None:
        """Another institution's tenant asks for what is hot here, and must never have it."""
        with closing(Connection(self.scene.gateway.port, self.scene.stage.keys["intruder"])) as connection:
            while not self.scene.over.is_set():
                answer = await connection.get(random.choice(self.known))
                self.intrusions += 1
                if answer.status == 200:
                    self.violations.append(f"another institution's answer: {answer.target}")
                await self.scene.pause(0.2)

    async def sample(self) -> None:
        workers = children(self.scene.gateway.running.pid)
        while not self.scene.over.is_set():
            memory, files = sum(map(resident, workers)), sum(map(descriptors, workers))
            self.samples.append(Sample(time.monotonic(), memory, files))
            await self.scene.pause(SAMPLE_SECONDS)
        if children(self.scene.gateway.running.pid) != workers:
            self.violations.append("a worker ended")


def quarter(samples: list[Sample], which: int, of: Callable[[Sample], int]) -> float:
    """The median of a quarter (0 to 3) of the samples."""
    size = max(1, len(samples) // 4)
    return statistics.median(of(s) for s in samples[which * size : (which + 1) * size] or samples[-1:])


def leftovers(server: RedisServer) -> list[str]:
    """Queue records that should not be there once nobody asks."""
    queue = f"{PREFIX}:{{queue}}"
    kinds = ("job", "procs", "held", "band", "running", "pending", "fair")
    return sorted(key.decode() for kind in kinds for key in server.call("KEYS", f"{queue}:{kind}*"))


def without_ttl(server: RedisServer) -> list[str]:
    """Keys that would stay for ever."""
    return [key.decode() for key in server.call("KEYS", "*") if server.call("PTTL", key) == -1]


def busiest(arrivals: list[float]) -> int:
    """The most calls that came within any one second."""
    return max((bisect_left(arrivals, begun + 1.0) - i for i, begun in enumerate(arrivals)), default=0)


async def at_rest(soak: Soak) -> None:
    """After the load: nothing flies, nothing is queued, nothing is left."""
    remains = await asyncio.to_thread(what_remains, soak)
    for _ in range(60):
        if not remains:
            break
        await asyncio.sleep(0.5)
        remains = await asyncio.to_thread(what_remains, soak)
    soak.violations += remains
    soak.violations += [f"a key without an end: {key}" for key in without_ttl(soak.scene.server)]


def what_remains(soak: Soak) -> list[str]:
    """Flights and queue records that are there now."""
    gauges = {name: soak.scene.gateway.metric(name) for name in GAUGES}
    remains = [f"{name} is {value:g} at rest" for name, value in gauges.items() if value]
    return remains + [f"left in the queue: {key}" for key in leftovers(soak.scene.server)]


def check(soak: Soak) -> list[tuple[str, str]]:
    """The table's last rows; adds what is wrong to the violations."""
    early, late = (quarter(soak.samples, n, lambda s: s.memory) / 2**20 for n in (1, 3))
    files, later_files = (quarter(soak.samples, n, lambda s: s.descriptors) for n in (1, 3))
    clients = int(soak.scene.server.call("INFO", "clients")["connected_clients"])
    readiness = get(f"{soak.scene.gateway.url}/-/health/ready").json()["status"]
    if late > early * MEMORY_SLACK:
        soak.violations.append(f"memory grew from {early:.1f} to {late:.1f} MiB")
    if later_files > files + DESCRIPTOR_SLACK:
        soak.violations.append(f"descriptors grew from {files:g} to {later_files:g}")
    if clients > 2 * 10 + 6:
        soak.violations.append(f"{clients} connections to Redis")
    if readiness != "ok":
        soak.violations.append(f"readiness says {readiness}")
    if "Traceback" in soak.scene.gateway.output:
        soak.violations.append(
            "a traceback in the log: " + soak.scene.gateway.output.partition("Traceback")[2][-2_000:]
        )
    calls = busiest(soak.scene.service.arrivals)
    if calls > MOST_CALLS:
        soak.violations.append(f"{calls} calls in a second")
    return [
        ("most calls in any one second", f"{calls} (budget {RATE}/s)"),
        ("asked by another institution's tenant", f"{soak.intrusions}, none answered"),
        ("memory of the workers, 2nd and last quarter", f"{early:.1f} MiB, {late:.1f} MiB"),
        ("their descriptors", f"{files:g}, {later_files:g}"),
        ("connections to Redis at the end", str(clients)),
        ("queue records and flights at rest", "none" if not leftovers(soak.scene.server) else "some"),
    ]


async def run(soak: Soak, minutes: float) -> Load:
    """The soak itself; early over at Ctrl-C."""
    scene = soak.scene
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, scene.over.set)
    with closing(Connection(scene.gateway.port, scene.stage.keys["reports"])) as warm:
        for hot in soak.known:
            assert (await warm.get(hot)).status == 200
    fresh = partial(target, "lboro", f"r{random.randrange(10**9)}")
    load = Load(scene.gateway.port, scene.stage.keys["reports"], soak.known, fresh, miss=FRESH)
    async with load.running():
        watchers = (soak.chaos(), soak.judge(load), soak.sample(), soak.intrude())
        loops = [asyncio.create_task(each) for each in watchers]
        await scene.pause(minutes * 60)
        scene.over.set()
        await asyncio.gather(*loops)
    await at_rest(soak)
    return load


def report(soak: Soak, load: Load, seconds: float, rows: list[tuple[str, str]]) -> None:
    """The summary table."""
    counted = {name: soak.broken.count(name) for name in dict.fromkeys(soak.broken)}
    lost, back = (soak.scene.gateway.output.count(f'"{event}"') for event in ("redis_lost", "redis_back"))
    rows = [
        ("length", f"{seconds:.0f} s"),
        ("broken", ", ".join(f"{name} {times}" for name, times in counted.items())),
        ("requests", f"{len(load.answers)}, {dict(sorted(load.statuses().items()))}"),
        ("answered within", f"{1000 * load.quantile(0.5):.1f} ms (half), {load.quantile(0.99):.2f} s (99 %)"),
        ("slowest", f"{load.quantile(1.0):.2f} s"),
        ("failed without an entry, service broken", str(soak.excused)),
        ("redis_lost, redis_back in the log", f"{lost}, {back} (two workers)"),
        *rows,
        ("violations", str(len(soak.violations))),
    ]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows), flush=True)
    for violation in soak.violations[:20]:
        print(f"  {violation}")


def main() -> None:
    """Sets the stage, soaks, and says what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="length (default: %(default)s)")
    minutes = parser.parse_args().minutes
    begun = time.monotonic()
    with ExitStack() as stack:
        clock = stack.enter_context(clock_shim())
        server = stack.enter_context(redis_server(remembers=True, environment=clock.environment))
        redis = stack.enter_context(chaos_proxy(server.port))
        stage = stack.enter_context(staged(redis_url=redis.url, **SETTINGS))
        service = stack.enter_context(chaos_service(stage.sandbox.port))
        stage.environment["STATS_GATEWAY_UPSTREAM"] = service.url
        stage.tenant("reports", "lboro")
        stage.tenant("noisy", "lboro")
        stage.tenant("intruder", "monash")
        reader = stack.enter_context(piped(stage))
        sandboxes = stack.enter_context(ExitStack())
        gateway = stage.serve()
        gateway.log = stage.folder / "gateway.log"
        scene = Scene(stage, server, redis, service, clock, gateway, reader, sandboxes, asyncio.Event())
        soak = Soak(scene)
        load = asyncio.run(run(soak, minutes))
        report(soak, load, time.monotonic() - begun, check(soak))
    sys.exit(1 if soak.violations else 0)


if __name__ == "__main__":
    main()
