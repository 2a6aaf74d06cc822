"""Load: as much as a contender takes (wrk), a steady rate of it (``steady.c``), and each target once.

wrk asks again as soon as it is answered, which tells what a contender can do and nothing about how soon it
answers: that is for a rate below it. Debian has no generator that keeps one: h2load's clients, once they were held
up together, go on asking together, and its p50 is then that of its own bursts. So there is a small one of ours.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.contender import lacking
from benchmarks.machine import Watch
from tests.integration.load import Connection

CONNECTIONS = 32
SCRIPT = Path(__file__).parent / "load.lua"
SOURCE = Path(__file__).parent / "steady.c"
STEADY_CONNECTIONS = 64
WARMING_SECONDS = 1.5
"""Of a steady rate, not counted: a client's first requests teach the contender what it sends."""
SPENT = 0.03
"""A core that was idle for less than this share had more to do than it could."""
LIMITED = "the load generator was the limit"
DISTURBED = "others used up the load generator's core"


class LoadFailed(Exception):
    """Not every answer was a 200, or the generator itself did not run."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator found. Times in microseconds; ``idle`` is its core's unused share, ``busy`` what it used
    itself of one core."""

    per_second: float
    p50: float
    p99: float
    idle: float
    busy: float

    @property
    def note(self) -> str:
        """What is wrong with it, where something is."""
        if self.idle >= SPENT:
            return ""
        return LIMITED if self.busy > 1 - 2 * SPENT else DISTURBED


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks for what: the address, the key, and the targets, one after another, over and over."""

    port: int
    key: str
    targets: Sequence[str]
    core: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def lacks() -> str:
    """What is missing for making load."""
    return lacking("wrk", "wrk") or lacking("cc", "gcc libc6-dev")


def saturating(client: Client, seconds: float, connections: int = CONNECTIONS) -> Load:
    """As many requests as are answered, from one thread. Raises LoadFailed."""
    with tempfile.TemporaryDirectory() as folder, Watch(client.core) as watch:
        words = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "10s"]
        words += ["-H", f"X-API-Key: {client.key}", "-s", str(SCRIPT), client.url]
        said = _run([*words, "--", str(_file(folder, client.targets))])
    found = json.loads(said.partition("RESULT ")[2].splitlines()[0])
    if found["refused"] or found["broken"]:
        raise LoadFailed(f"{found['refused']} answers were no 200, {found['broken']} requests failed")
    return Load(found["requests"] / found["seconds"], found["p50"], found["p99"], watch.idle, watch.busy)


def compiled(folder: Path) -> Path:
    """The program that makes a steady load, compiled into the folder. Raises LoadFailed."""
    program = folder / "steady"
    _run(["cc", "-O2", "-o", str(program), str(SOURCE), "-lm"])
    return program


def steady(program: Path, client: Client, rate: float, seconds: float) -> Load:
    """``rate`` requests a second, by what ``compiled`` made. Raises LoadFailed."""
    with tempfile.TemporaryDirectory() as folder, Watch(client.core) as watch:
        targets = str(_file(folder, client.targets))
        words = [client.port, client.key, targets, STEADY_CONNECTIONS, rate, WARMING_SECONDS, seconds]
        found = _found(_run([str(program), *map(str, words)]))
    return Load(found["requests"] / found["seconds"], found["p50"], found["p99"], watch.idle, watch.busy)


def _found(said: str) -> dict[str, float]:
    """A generator's line of JSON. Raises LoadFailed where not all went well."""
    found: dict[str, float] = json.loads(said[said.index("{") :].splitlines()[0])
    if found["refused"] or found["broken"]:
        raise LoadFailed(f"{found['refused']:.0f} answers were no 200, {found['broken']:.0f} requests failed")
    return found


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least of them that this share does not exceed."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


async def each_once(client: Client, connections: int = 16) -> Counter[int]:
    """Asks for each target once; the answers' statuses."""
    waiting = list(reversed(client.targets))
    statuses: Counter[int] = Counter()

    async def ask() -> None:
        connection = Connection(client.port, client.key)
        while waiting:
            statuses[(await connection.get(waiting.pop())).status] += 1
        connection.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return statuses


def fill(client: Client) -> None:
    """Each target once, so that the next time is a hit. Raises LoadFailed where an answer is no 200."""
    statuses = asyncio.run(each_once(client))
    if set(statuses) != {200}:
        raise LoadFailed(f"answers were {dict(statuses)}")


def _file(folder: str, targets: Sequence[str]) -> Path:
    path = Path(folder) / "targets"
    path.write_text("\n".join(targets) + "\n")
    return path


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"{words[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout
