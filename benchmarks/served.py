"""What many tenants cost a gateway that serves: beside one with ten, on a real Redis and on a file.

Run with ``make bench-registry``. ``stats-gateway serve`` runs as people run it: how long until it is ready, how
soon a key is refused that the command line revoked, what a keyed hit costs (in turns with the gateway that has
ten), and the resident memory. Figures are for comparison within one run; machines differ and are noisy.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import tomlkit
from cryptography.fernet import Fernet

from benchmarks.registry import KEYS_EACH, populated
from gateway.settings import Settings
from gateway.tenants.opening import open_registry
from gateway.tenants.tables import Tables
from tests.cli.command import command
from tests.integration.stage import Process, Stage, get, staged
from tests.redis_server import redis_server
from tests.wire import Wire
from tests.wire import get as request

TARGET = "/total/views/article/23"
TOKEN = "an-admin-token"  # noqa: S105
FEW = 10
REVOCATIONS = 5
ROUNDS, REPEAT = 20, 250


@dataclass
class Served:
    """A gateway on a registry that holds ``keys``, one for each tenant."""

    gateway: Process
    place: str
    secret: str
    keys: list[str]
    ready: float
    """Seconds from the command to readiness."""

    def __post_init__(self) -> None:
        self._turns: Iterator[str] = itertools.cycle(self.keys)

    @property
    def tenants(self) -> int:
        """How many it knows of, by its own account."""
        url = f"http://127.0.0.1:{self.gateway.admin_port}/api/tenants?limit=1"
        return int(get(url, headers={"Authorization": f"Bearer {TOKEN}"}).json()["total"])

    @property
    def memory(self) -> float:
        """Resident megabytes."""
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(self.gateway.running.pid)], capture_output=True)  # noqa: S603, S607
        return int(told.stdout) / 1e3

    def hit(self, repeat: int) -> float:
        """Microseconds a keyed hit takes at a client, asked one after another, each with the next tenant's key."""
        with Wire(("127.0.0.1", self.gateway.port)) as wire:
            begin = time.perf_counter()
            for key in itertools.islice(self._turns, repeat):
                answer = wire.send(request(TARGET, f"X-API-Key: {key}")).answer()
                assert answer.status == 200, answer
            return (time.perf_counter() - begin) / repeat * 1e6

    def revoked(self) -> float:
        """Seconds from the end of ``key revoke`` until a request with that key is refused."""
        key = self.keys.pop()
        self._turns = itertools.cycle(self.keys)
        done = command(
            "key", "revoke", key[4:14],
            STATS_GATEWAY_REGISTRY=self.place, STATS_GATEWAY_ENCRYPTION_KEYS=self.secret,
        )  # fmt: skip
        assert done.code == 0, done.said
        begin = time.perf_counter()
        while get(self.gateway.url + TARGET, headers={"X-API-Key": key}).status_code != 401:
            assert time.perf_counter() - begin < 30
        return time.perf_counter() - begin


def key_texts(key: str, tables: Tables) -> list[str]:
    """Each tenant's first key: all of them have the secret of the one that was made."""
    secret = key.rpartition("_")[2]
    return [f"sgw_{next(iter(table.keys))}_{secret}" for table in tables.values()]


def served(stage: Stage, place: str, secret: str, count: int) -> Served:
    """Fills a registry and serves it."""
    registry = open_registry(Settings(registry=place, encryption_keys=secret))
    key, tables = populated(registry, count)
    if "://" in place:
        registry.import_tables(tables, replace=True)
    else:
        text = tomlkit.dumps({"tenants": msgspec.to_builtins(tables, builtin_types=(datetime,))})
        Path(place).write_text(text)
    begin = time.perf_counter()
    gateway = stage.serve(registry=place, encryption_keys=secret, admin_token=TOKEN, lifetime_totals=86_400)
    return Served(gateway, place, secret, key_texts(key, tables), time.perf_counter() - begin)


def compare(few: Served, many: Served) -> None:
    """Prints the figures of one beside the other's."""
    turns = [(few.hit(REPEAT), many.hit(REPEAT)) for _ in range(ROUNDS)]
    ratio = statistics.median(two / one for one, two in turns)
    seen = [many.revoked() for _ in range(REVOCATIONS)]
    ten = f"with {few.tenants} tenants"
    cost, soon = statistics.median(each for _, each in turns), statistics.median(seen)
    print(f"  ready                     {many.ready:8.2f} s, {ten} {few.ready:.2f} s")
    print(f"  a revocation is in force  {soon:8.2f} s after the command, at most {max(seen):.2f} s")
    print(f"  a keyed hit               {cost:8.0f} us, {ratio:.2f} of what it costs {ten}")
    print(f"  resident memory           {many.memory:8.0f} MB, {ten} {few.memory:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-redis", type=int, default=10_000, help="tenants in Redis")
    parser.add_argument("--in-file", type=int, default=500, help="tenants in the file")
    given = parser.parse_args()
    secret = Fernet.generate_key().decode()
    with ExitStack() as stack:
        stage = stack.enter_context(staged(budget="unlimited"))
        few_in_redis, many_in_redis = (stack.enter_context(redis_server()) for _ in range(2))
        few = served(stage, few_in_redis.url, secret, FEW)
        many = served(stage, many_in_redis.url, secret, given.in_redis)
        print(f"serve on {many.tenants} tenants, {KEYS_EACH} keys each, in Redis")
        compare(few, many)
        few = served(stage, f"{stage.folder}/few.toml", secret, FEW)
        many = served(stage, f"{stage.folder}/many.toml", secret, given.in_file)
        print(f"serve on {many.tenants} tenants, {KEYS_EACH} keys each, in a file")
        compare(few, many)


if __name__ == "__main__":
    main()
