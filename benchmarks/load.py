"""Load: heads in turn, as much as a contender takes or at a steady rate (``load.c``), and each target once.

Asking again as soon as one is answered tells what a contender can do, and nothing about how soon it answers: that
is for a rate below it. What else makes load either sends the same bytes over and over, or spends more on making
others than a contender on answering them, or keeps no rate: h2load's clients, once they were held up together, go
on asking together, and its p50 is then that of its own bursts. So there is a small one of ours.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.contender import lacking
from benchmarks.machine import Watch
from tests.integration.load import Answer, Connection

CONNECTIONS = 32
SOURCE = Path(__file__).parent / "load.c"
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
    """What a generator found. Times in microseconds; ``answers`` counts all of them, those while it warmed up
    included, ``unchanged`` the 304s among them; ``idle`` is its core's unused share, ``busy`` what it used itself
    of one core."""

    per_second: float
    p50: float
    p99: float
    answers: int
    unchanged: int
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
    """Who asks for what: the address, the key, and the targets."""

    port: int
    key: str
    targets: Sequence[str]


def lacks() -> str:
    """What is missing for making load."""
    return lacking("cc", "gcc libc6-dev")


@dataclass(frozen=True, slots=True)
class Generator:
    """The compiled ``load.c``; it runs where its caller does, which is ``core`` where that is known."""

    program: Path
    core: int | None = None

    @classmethod
    def compiled(cls, folder: Path, core: int | None = None) -> Generator:
        """Compiles it into the folder. Raises LoadFailed."""
        program = folder / "load"
        _run(["cc", "-O2", "-o", str(program), str(SOURCE), "-lm"])
        return cls(program, core)

    def saturating(
        self, port: int, heads: Path, seconds: float, connections: int = CONNECTIONS, warming: float = 0.0
    ) -> Load:
        """As many requests as are answered. Raises LoadFailed where an answer was neither a 200 nor a 304."""
        return self._load(port, heads, connections, 0.0, warming, seconds)

    def steady(self, port: int, heads: Path, rate: float, seconds: float) -> Load:
        """``rate`` requests a second. Raises LoadFailed."""
        return self._load(port, heads, STEADY_CONNECTIONS, rate, WARMING_SECONDS, seconds)

    def _load(self, port: int, heads: Path, *numbers: float) -> Load:
        with Watch(self.core) as watch:
            said = _run([str(self.program), str(port), str(heads), *map(str, numbers)])
        found: dict[str, float] = json.loads(said)
        if found["refused"] or found["broken"]:
            raise LoadFailed(
                f"{found['refused']} answers were neither 200 nor 304, {found['broken']} requests failed"
            )
        answers, unchanged = int(found["whole"] + found["unchanged"]), int(found["unchanged"])
        rate = found["requests"] / found["seconds"]
        return Load(rate, found["p50"], found["p99"], answers, unchanged, watch.idle, watch.busy)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least of them that this share does not exceed."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


async def each_once(client: Client, connections: int = 16) -> list[Answer]:
    """Asks for each target once; the answers."""
    waiting = list(reversed(client.targets))
    answers: list[Answer] = []

    async def ask() -> None:
        connection = Connection(client.port, client.key)
        while waiting:
            answers.append(await connection.get(waiting.pop()))
        connection.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return answers


def fill(client: Client) -> dict[str, str]:
    """Each target once, so that the next time is a hit; the entity tags by target. Raises LoadFailed where an
    answer is no 200."""
    answers = asyncio.run(each_once(client))
    statuses = Counter(answer.status for answer in answers)
    if set(statuses) != {200}:
        raise LoadFailed(f"answers were {dict(statuses)}")
    return {answer.target: answer.etag for answer in answers}


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"{words[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout
