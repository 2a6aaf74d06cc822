"""Troubles: what the soak breaks in turn, and mends again."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.processes import children, descriptors
from tests.chaos_redis import ChaosProxy
from tests.chaos_service import ChaosService
from tests.clock_shim import ClockShim
from tests.integration.load import Connection
from tests.integration.stage import Process, Stage, await_answer, spawned
from tests.redis_server import RedisServer

CLOCK_STEP = 600.0
"""Seconds by which Redis's clock jumps."""
SPARE_DESCRIPTORS = 2


@dataclass
class Scene:
    """Everything that can be broken, until it is ``over``."""

    stage: Stage
    server: RedisServer
    redis: ChaosProxy
    service: ChaosService
    clock: ClockShim
    gateway: Process
    reader: PipeReader
    sandboxes: ExitStack
    over: asyncio.Event

    async def pause(self, seconds: float) -> None:
        """Waits, but not after the end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)


@dataclass(frozen=True)
class Trouble:
    """``neighbourly`` says that only whoever causes it may notice: the others' new targets are answered too.

    ``settling`` is the time in seconds after which nothing may fail any more.
    """

    befall: Callable[[float], Awaitable[None]]
    neighbourly: bool = False
    settling: float = 3.5


def troubles(scene: Scene) -> dict[str, Trouble]:
    """All of them by name, in the order in which they come."""
    server, redis, service = scene.server, scene.redis, scene.service
    registry = Path(scene.stage.environment["STATS_GATEWAY_REGISTRY"])
    tenants = registry.read_bytes()
    full = partial(server.call, "CONFIG", "SET", "maxmemory")
    broken = partial(_broken, scene)
    flag = partial(setattr, service)
    return {
        "redis stopped": Trouble(broken(server.stop, server.start)),
        "service drips": Trouble(broken(partial(flag, "drips", True), service.behave), neighbourly=True),
        "sandbox restarted": Trouble(partial(_restart_sandbox, scene, signal.SIGTERM)),
        "redis killed": Trouble(broken(server.kill, server.start)),
        "service floods": Trouble(broken(partial(flag, "floods", True), service.behave)),
        "sandbox killed": Trouble(partial(_restart_sandbox, scene, signal.SIGKILL)),
        "redis paused": Trouble(broken(server.pause, server.resume)),
        "ends on reuse": Trouble(broken(partial(flag, "ends_on_reuse", True), service.behave), neighbourly=True),
        "sandbox paused": Trouble(partial(_pause_sandbox, scene)),
        "redis slow": Trouble(broken(partial(setattr, redis, "delay", 0.2), redis.behave)),
        "refused targets": Trouble(partial(_refused_targets, scene), neighbourly=True),
        "redis full": Trouble(broken(partial(full, 1_000), partial(full, 0))),
        "clock steps back": Trouble(partial(_clock_steps, scene, -CLOCK_STEP), settling=6.0),
        "redis babbling": Trouble(broken(partial(setattr, redis, "nonsense", "not-text"), redis.behave)),
        "clock steps ahead": Trouble(partial(_clock_steps, scene, CLOCK_STEP), settling=6.0),
        "stderr unread": Trouble(broken(scene.reader.pause, scene.reader.resume), neighbourly=True),
        "no descriptors": Trouble(partial(_no_descriptors, scene)),
        "registry emptied": Trouble(
            broken(partial(registry.write_bytes, b""), partial(registry.write_bytes, tenants)), neighbourly=True
        ),
    }


def _broken(
    scene: Scene, breaks: Callable[[], object], mends: Callable[[], object]
) -> Callable[[float], Awaitable[None]]:
    async def befall(seconds: float) -> None:
        await asyncio.to_thread(breaks)
        await scene.pause(seconds)
        await asyncio.to_thread(mends)

    return befall


async def _restart_sandbox(scene: Scene, number: signal.Signals, seconds: float) -> None:
    stage = scene.stage
    stage.sandbox.running.send_signal(number)
    await asyncio.to_thread(stage.sandbox.running.wait)
    await scene.pause(seconds)
    words = ["sandbox", "--port", str(stage.sandbox.port)]
    log = stage.folder / "sandbox.log"
    stage.sandbox = scene.sandboxes.enter_context(spawned(words, stage.environment, log))
    await asyncio.to_thread(await_answer, f"{stage.sandbox.url}/-/calls", stage.sandbox)


async def _pause_sandbox(scene: Scene, seconds: float) -> None:
    scene.stage.sandbox.running.send_signal(signal.SIGSTOP)
    await scene.pause(seconds)
    scene.stage.sandbox.running.send_signal(signal.SIGCONT)


async def _refused_targets(scene: Scene, seconds: float) -> None:
    """A neighbour asks for ever new targets that a firewall before the service refuses."""
    scene.service.refuses = "firewalled"

    async def neighbour(number: int) -> None:
        connection = Connection(scene.gateway.port, scene.stage.keys["noisy"])
        try:
            for n in range(number, 1_000_000, 4):
                await connection.get(f"/lboro/timeline/month/views/article/{n}?firewalled={os.urandom(4).hex()}")
                await asyncio.sleep(0.02)
        finally:
            connection.close()

    neighbours = [asyncio.create_task(neighbour(number)) for number in range(4)]
    await scene.pause(seconds)
    for task in neighbours:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*neighbours)
    scene.service.behave()


async def _clock_steps(scene: Scene, step: float, seconds: float) -> None:
    """Redis's clock jumps, and back again."""
    scene.clock.step(step)
    await scene.pause(seconds)
    scene.clock.step(-step)


async def _no_descriptors(scene: Scene, seconds: float) -> None:
    """The workers may open nothing any more."""
    workers = children(scene.gateway.running.pid)
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + SPARE_DESCRIPTORS, hard))
    await scene.pause(seconds)
    for pid, limits in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


class PipeReader:
    """Copies a pipe into a file, until it is paused: whoever writes then finds the pipe full."""

    def __init__(self, pipe: Path, log: Path) -> None:
        self._pipe = os.open(pipe, os.O_RDWR)  # both ends, so that it opens at once and never ends
        self._log = log
        self._reads = threading.Event()
        self._reads.set()
        threading.Thread(target=self._copy, daemon=True).start()

    def pause(self) -> None:
        self._reads.clear()

    def resume(self) -> None:
        self._reads.set()

    def _copy(self) -> None:
        with self._log.open("ab", buffering=0) as log:
            while self._reads.wait():
                log.write(os.read(self._pipe, 65_536))


@contextmanager
def piped(stage: Stage) -> Iterator[PipeReader]:
    """The stage's next gateway writes its log into a pipe; what was read of it is in ``gateway.log``."""
    pipe = stage.folder / f"gateway{len(stage.gateways)}.log"
    os.mkfifo(pipe)
    log = stage.folder / "gateway.log"
    log.touch()
    yield PipeReader(pipe, log)
