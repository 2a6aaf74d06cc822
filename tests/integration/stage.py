"""The stage of the integration tests: sandbox and gateways as real processes on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2 as httpx

from gateway.setting_values import PREFIX
from gateway.settings import load_settings
from gateway.tenants.registry import Registry, open_registry
from gateway.tenants.tenant import Pair
from tests.forked import Forked
from tests.loopback import LOOPBACK
from tests.redis_server import free_port

STARTUP_SECONDS = 40.0
QUIET_SECONDS = 0.15
INSTITUTIONS = ("lboro", "monash", "melbourne")


def get(url: str, **options: Any) -> httpx.Response:
    """One GET of the tests' own."""
    return httpx.get(url, timeout=40, **LOOPBACK, **options)


@dataclass
class Process:
    """One of the project's commands, running; its output is kept in ``log``."""

    running: subprocess.Popen[bytes] | Forked
    log: Path
    port: int
    admin_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def settled(self) -> str:
        """Its output, once it has written nothing for a moment: lines are written behind its requests' backs."""
        size = -1
        while size != (size := self.log.stat().st_size):
            time.sleep(QUIET_SECONDS)
        return self.output

    def metric(self, name: str) -> float:
        """The sum of a metric's samples on this process's admin listener; 0 where there is none."""
        text = get(f"http://127.0.0.1:{self.admin_port}/metrics").text
        found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in found)

    def kill(self) -> None:
        """SIGKILL, as a machine's failure would."""
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()


@dataclass
class Stage:
    """Everything that a test runs, and the keys of its tenants."""

    folder: Path
    environment: dict[str, str]
    sandbox: Process
    stack: ExitStack
    keys: dict[str, str] = field(default_factory=dict)
    gateways: list[Process] = field(default_factory=list)

    def calls(self) -> dict[str, Any]:
        """What the sandbox was asked."""
        return dict(get(f"{self.sandbox.url}/-/calls").json())

    def reset_calls(self) -> None:
        httpx.delete(f"{self.sandbox.url}/-/calls", **LOOPBACK)

    def reset_plan(self) -> None:
        httpx.delete(f"{self.sandbox.url}/-/plan", **LOOPBACK)

    def close_gate(self) -> None:
        """The sandbox holds what arrives from now on."""
        httpx.put(f"{self.sandbox.url}/-/gate", **LOOPBACK)

    def open_gate(self) -> None:
        httpx.delete(f"{self.sandbox.url}/-/gate", **LOOPBACK)

    def plan(self, **answer: Any) -> None:
        """The sandbox's next answers."""
        httpx.put(f"{self.sandbox.url}/-/plan", json=answer, **LOOPBACK)

    def tenant(self, name: str, *institutions: str, password: str = "") -> str:
        """Adds a tenant with the sandbox's pairs (or a wrong password); answers its key."""
        registry = self.registry()
        registry.add(name, name)
        for institution in institutions:
            registry.add(name, None, Pair(institution, institution, password or f"sandbox-{institution}"))
        self.keys[name] = registry.add_key(name)
        return self.keys[name]

    def registry(self) -> Registry:
        """The registry that the gateways follow."""
        named: Any = {
            name: self.environment.get(PREFIX + name.upper()) for name in ("registry", "encryption_keys")
        }
        prefix = self.environment.get(f"{PREFIX}REDIS_PREFIX")
        return open_registry(load_settings(**named, redis_prefix=prefix))

    def serve(self, gone: Process | None = None, /, **settings: Any) -> Process:
        """Starts a gateway, with settings on top of the stage's, and waits until it is ready."""
        gateway = self.start_gateway(gone, **settings)
        await_answer(f"{gateway.url}/-/health/ready", gateway)
        return gateway

    def serve_several(self, count: int, **settings: Any) -> list[Process]:
        """So many gateways, which start at once."""
        started = [self.start_gateway(**settings) for _ in range(count)]
        for gateway in started:
            await_answer(f"{gateway.url}/-/health/ready", gateway)
        return started

    def start_gateway(
        self, gone: Process | None = None, /, module: str = "gateway", shell: str = "", **settings: object
    ) -> Process:
        """On free ports, or on those of one that is ``gone``; by a ``shell``'s line, where there is one."""
        extra = {f"STATS_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
        ports = (gone.port, gone.admin_port) if gone else (free_port(), free_port())
        words = ["serve", "--port", str(ports[0]), "--admin-port", str(ports[1])]
        name = f"gateway{len(self.gateways)}"
        log = self.folder / f"{name}.log"
        gateway = self.stack.enter_context(spawned(words, self.environment | extra, log, module, shell))
        gateway.admin_port = ports[1]
        self.gateways.append(gateway)
        return gateway


@contextmanager
def staged(*sandbox: str, **settings: object) -> Iterator[Stage]:
    """A sandbox with these arguments, and an environment with these settings for everything else."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}
        words = ["sandbox", "--port", str(free_port()), *sandbox]
        process = stack.enter_context(spawned(words, kept, folder / "sandbox.log"))
        await_answer(f"{process.url}/-/calls", process)
        environment = kept | {
            "STATS_GATEWAY_UPSTREAM": process.url,
            "STATS_GATEWAY_REGISTRY": str(folder / "tenants.toml"),
            "STATS_GATEWAY_DRAIN_SECONDS": "0",
            "STATS_GATEWAY_DERIVE": "off",  # it asks for a ranking by itself, where tests count their own calls
            **{f"STATS_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()},
        }
        yield Stage(folder, environment, process, stack)


@contextmanager
def spawned(
    words: list[str], environment: dict[str, str], log: Path, module: str = "gateway", shell: str = ""
) -> Iterator[Process]:
    """One of the project's commands in the background; its port ends the word after ``--port`` or ``--bind``."""
    log.write_bytes(b"")
    if module == "gateway" and not shell:
        running: subprocess.Popen[bytes] | Forked = Forked(words, environment, log)
    else:
        running = _started(module, words, environment, log, shell)
    try:
        place = next(after for word, after in pairwise(words) if word in ("--port", "--bind"))
        yield Process(running, log, int(place.rpartition(":")[2]))
    finally:
        running.terminate()
        try:
            running.wait(timeout=15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _started(
    module: str, words: list[str], environment: dict[str, str], log: Path, shell: str
) -> subprocess.Popen[bytes]:
    command = ["sh", "-c", shell or 'exec "$@"', "sh", sys.executable, "-m", module, *words]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def await_answer(url: str, process: Process) -> None:
    """Waits until a URL answers 200."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        assert process.running.poll() is None, process.output
        try:
            if get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} did not answer:\n{process.output}")


def until(condition: Any, seconds: float = 30.0, pause: float = 0.02) -> None:
    """Waits until a condition that only other processes can bring about holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(pause)
