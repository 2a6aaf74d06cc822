"""Hold and resume across real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.upstream.test_queue import LONG

ROOT = Path(__file__).parents[2]


class Steward:
    """A process of the fleet, see ``steward.py``."""

    def __init__(self, url: str, prefix: str) -> None:
        command = [sys.executable, "-m", "tests.upstream.steward", url, prefix]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        # Whoever reads from a process that says nothing reads its end.
        self._limit = threading.Timer(3 * LONG, self.process.kill)
        self._limit.start()

    def told(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """Ends it; what it said that nobody has read."""
        return self.process.communicate("\n", timeout=LONG)[0]

    def kill(self) -> None:
        self._limit.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def stewards(shared_redis: RedisServer, prefix: str) -> Iterator[list[Steward]]:
    both = [Steward(shared_redis.url, prefix) for _ in range(2)]
    yield both
    for steward in both:
        steward.kill()


def test_what_one_process_holds_no_other_asks_for(stewards: list[Steward]) -> None:
    one, two = stewards
    assert [one.says(), two.says()] == ["started"] * 2
    one.told("hold")
    assert [one.says(), two.says()] == ["now held"] * 2
    for steward in stewards:
        steward.told("ask early")
        assert steward.says() == "landed early GateClosed"
    two.told("census")
    assert two.says() == "census 2 held"
    two.told("resume")
    assert [one.says(), two.says()] == ["now open"] * 2
    one.told("ask late")
    assert [one.says(), one.says()] == ["called late", "landed late answer"]
    assert [steward.end() for steward in stewards] == ["", ""]


def test_a_credential_that_one_process_holds_no_other_uses(stewards: list[Steward]) -> None:
    one, two = stewards
    assert [one.says(), two.says()] == ["started"] * 2
    two.told("hold fp")
    assert [one.says(), two.says()] == ["now withheld"] * 2
    one.told("resume fp")
    assert [one.says(), two.says()] == ["now good"] * 2
    assert [steward.end() for steward in stewards] == ["", ""]
