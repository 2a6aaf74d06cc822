"""The soak: two workers under steady load while Redis and the service are broken in turn, for minutes on end.

Run with ``make soak`` (``ARGS="--minutes 0.5"`` for a taste; Ctrl-C ends it early, with its table). It exits 1
when a request failed whose target had an entry, or when memory, descriptors, flights, queue records or
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
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.chaos_redis import ChaosProxy, chaos_proxy
from tests.integration.load import Answer, Connection, Load
from tests.integration.stage import Process, Stage, await_answer, get, spawned, staged
from tests.redis_server import RedisServer, redis_server

PREFIX = "soak"
SETTINGS: dict[str, object] = {
    "workers": 2,
    "budget": "unlimited",
    "redis_prefix": PREFIX,
    "redis_connections": 10,
    "near_max_bytes": 1024 * 1024,  # soon full, so that what grows after that is a leak
    "lifetime_closed": 5,
    "upstream_timeout": 2,
    "read_timeout": 2,
    "caller_timeout": 3,
    "gate_pause": 0.5,
    "gate_longest": 2,
    "log_level": "warning",
    "log_format": "json",
}
HOT, FRESH = 40, 0.15
BROKEN, WELL, SETTLING = 2.5, 4.5, 3.5
"""Seconds that something is broken, that all is well in between, and after which failures have no excuse."""
SAMPLE_SECONDS = 1.0
MEMORY_SLACK, DESCRIPTOR_SLACK = 1.10, 40
GAUGES = tuple(f"stats_gateway_{name}" for name in ("flights", "flight_waiters", "flights_led", "queue_depth"))


def target(name: str, number: int) -> str:
    return f"/lboro/timeline/month/views/article/{number}?start_date=2014-01-01&end_date=2014-06-30&{name}=1"


@dataclass
class Sample:
    """The workers together: resident bytes and open descriptors."""

    at: float
    memory: int
    descriptors: int


@dataclass
class Soak:
    """Everything that is broken in turn, and what was seen meanwhile."""

    stage: Stage
    server: RedisServer
    proxy: ChaosProxy
    gateway: Process
    sandboxes: ExitStack
    over: asyncio.Event
    known: list[str] = field(default_factory=lambda: [target("hot", n) for n in range(HOT)])
    samples: list[Sample] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unwell_until: float = float("inf")
    excused: int = 0
    violations: list[str] = field(default_factory=list)

    # What can befall them

    async def break_redis(self, breaks: Callable[[], object], mends: Callable[[], object]) -> None:
        await asyncio.to_thread(breaks)
        await self.pause(BROKEN)
        await asyncio.to_thread(mends)

    async def restart_sandbox(self, number: signal.Signals) -> None:
        self.stage.sandbox.running.send_signal(number)
        await asyncio.to_thread(self.stage.sandbox.running.wait)
        await self.pause(BROKEN)
        words = ["sandbox", "--port", str(self.stage.sandbox.port)]
        log = self.stage.folder / "sandbox.log"
        self.stage.sandbox = self.sandboxes.enter_context(spawned(words, self.stage.environment, log))
        await asyncio.to_thread(await_answer, f"{self.stage.sandbox.url}/-/calls", self.stage.sandbox)

    async def pause_sandbox(self) -> None:
        self.stage.sandbox.running.send_signal(signal.SIGSTOP)
        await self.pause(BROKEN)
        self.stage.sandbox.running.send_signal(signal.SIGCONT)

    def troubles(self) -> dict[str, Callable[[], Awaitable[None]]]:
        redis, server, proxy = self.break_redis, self.server, self.proxy
        full = partial(server.call, "CONFIG", "SET", "maxmemory")
        return {
            "redis stopped": partial(redis, server.stop, server.start),
            "sandbox restarted": partial(self.restart_sandbox, signal.SIGTERM),
            "redis killed": partial(redis, server.kill, server.start),
            "sandbox killed": partial(self.restart_sandbox, signal.SIGKILL),
            "redis paused": partial(redis, server.pause, server.resume),
            "sandbox paused": self.pause_sandbox,
            "redis slow": partial(redis, partial(setattr, proxy, "delay", 0.2), proxy.behave),
            "redis full": partial(redis, partial(full, 1_000), partial(full, 0)),
            "redis babbling": partial(redis, partial(setattr, proxy, "nonsense", "not-text"), proxy.behave),
        }

    async def chaos(self) -> None:
        """One trouble after another, none overlapping."""
        await self.pause(WELL)
        for name, befall in itertools.cycle(self.troubles().items()):
            if self.over.is_set():
                return
            self.unwell_until = float("inf")
            self.broken.append(name)
            await befall()
            self.unwell_until = time.monotonic() + SETTLING
            await self.pause(WELL)

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)

    # What is seen

    async def judge(self, load: Load) -> None:
        """Sorts answers as they come: what had an entry must not fail, nor anything while all is well."""
        had, seen = set(self.known), 0
        while not self.over.is_set():
            await self.pause(0.2)
            well = time.monotonic() > self.unwell_until
            for answer in load.answers[seen:]:
                self._judge(answer, had, well)
                if answer.status == 200 and well and answer.target not in had:
                    had.add(answer.target)
                    self.known.append(answer.target)
                    del self.known[HOT:-500]
            seen = len(load.answers)

    def _judge(self, answer: Answer, had: set[str], well: bool) -> None:
        if answer.status == 200:
            return
        trouble = self.broken[-1] if self.broken else "nothing"
        if answer.target in had or well:
            why = "had an entry" if answer.target in had else "nothing was broken"
            self.violations.append(f"{answer.status} though it {why} ({trouble}): {answer.target} {answer.source}")
        else:
            self.excused += 1

    async def sample(self) -> None:
        workers = children(self.gateway.running.pid)
        while not self.over.is_set():
            memory, descriptors = zip(*(usage(pid) for pid in workers), strict=True)
            self.samples.append(Sample(time.monotonic(), sum(memory), sum(descriptors)))
            await self.pause(SAMPLE_SECONDS)
        if children(self.gateway.running.pid) != workers:
            self.violations.append("a worker ended")


def children(pid: int) -> list[int]:
    """The workers of a supervisor; the process itself where it has none."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()] or [pid]


def usage(pid: int) -> tuple[int, int]:
    """A process's resident bytes and open descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096, len(list(Path(f"/proc/{pid}/fd").iterdir()))


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


async def at_rest(soak: Soak) -> None:
    """After the load: nothing flies, nothing is queued, nothing is left."""
    remains = await asyncio.to_thread(what_remains, soak)
    for _ in range(60):
        if not remains:
            break
        await asyncio.sleep(0.5)
        remains = await asyncio.to_thread(what_remains, soak)
    soak.violations += remains
    soak.violations += [f"a key without an end: {key}" for key in without_ttl(soak.server)]


def what_remains(soak: Soak) -> list[str]:
    """Flights and queue records that are there now."""
    gauges = {name: soak.gateway.metric(name) for name in GAUGES}
    remains = [f"{name} is {value:g} at rest" for name, value in gauges.items() if value]
    return remains + [f"left in the queue: {key}" for key in leftovers(soak.server)]


def check(soak: Soak) -> list[tuple[str, str]]:
    """The table's last rows; adds what is wrong to the violations."""
    early, late = (quarter(soak.samples, n, lambda s: s.memory) / 2**20 for n in (1, 3))
    files, later_files = (quarter(soak.samples, n, lambda s: s.descriptors) for n in (1, 3))
    clients = int(soak.server.call("INFO", "clients")["connected_clients"])
    readiness = get(f"{soak.gateway.url}/-/health/ready").json()["status"]
    if late > early * MEMORY_SLACK:
        soak.violations.append(f"memory grew from {early:.1f} to {late:.1f} MiB")
    if later_files > files + DESCRIPTOR_SLACK:
        soak.violations.append(f"descriptors grew from {files:g} to {later_files:g}")
    if clients > 2 * 10 + 6:
        soak.violations.append(f"{clients} connections to Redis")
    if readiness != "ok":
        soak.violations.append(f"readiness says {readiness}")
    if "Traceback" in soak.gateway.output:
        soak.violations.append("a traceback in the log: " + soak.gateway.output.partition("Traceback")[2][-2_000:])
    return [
        ("memory of the workers, 2nd and last quarter", f"{early:.1f} MiB, {late:.1f} MiB"),
        ("their descriptors", f"{files:g}, {later_files:g}"),
        ("connections to Redis at the end", str(clients)),
        ("queue records and flights at rest", "none" if not leftovers(soak.server) else "some"),
    ]


async def run(soak: Soak, minutes: float) -> Load:
    """The soak itself; early over at Ctrl-C."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, soak.over.set)
    warm = Connection(soak.gateway.port, soak.stage.keys["reports"])
    for hot in soak.known:
        assert (await warm.get(hot)).status == 200
    warm.close()
    fresh = partial(target, f"r{random.randrange(10**9)}")
    load = Load(soak.gateway.port, soak.stage.keys["reports"], soak.known, fresh, miss=FRESH)
    async with load.running():
        loops = [asyncio.create_task(each) for each in (soak.chaos(), soak.judge(load), soak.sample())]
        await soak.pause(minutes * 60)
        soak.over.set()
        await asyncio.gather(*loops)
    await at_rest(soak)
    return load


def report(soak: Soak, load: Load, seconds: float, rows: list[tuple[str, str]]) -> None:
    """The summary table."""
    counted = {name: soak.broken.count(name) for name in dict.fromkeys(soak.broken)}
    lost, back = (soak.gateway.output.count(f'"{event}"') for event in ("redis_lost", "redis_back"))
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    minutes = parser.parse_args().minutes
    begun = time.monotonic()
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(remembers=True))
        proxy = stack.enter_context(chaos_proxy(server.port))
        stage = stack.enter_context(staged(redis_url=proxy.url, **SETTINGS))
        stage.tenant("reports", "lboro")
        sandboxes = stack.enter_context(ExitStack())
        soak = Soak(stage, server, proxy, stage.serve(), sandboxes, asyncio.Event())
        load = asyncio.run(run(soak, minutes))
        report(soak, load, time.monotonic() - begun, check(soak))
    sys.exit(1 if soak.violations else 0)


if __name__ == "__main__":
    main()
