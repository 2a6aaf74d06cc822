"""What many tenants cost a gateway that serves: beside one with ten, on a real Redis and on a file.

Run with ``make bench-registry``. ``stats-gateway serve`` runs as people run it: how long until it is ready, how
soon a key is refused that the command line revoked, what a keyed hit costs (in turns with the gateway that has
ten), and the resident memory. What the gateway's process spends of the CPU is told beside, since machines are busy
and differ; it is read in /proc, so it wants Linux.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
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
from gateway.tenants.registry import open_registry
from gateway.tenants.schema import TenantTables
from tests.cli.command import command
from tests.integration.stage import Process, Stage, get, staged
from tests.redis_server import RedisServer, redis_server
from tests.wire import Wire
from tests.wire import get as request

TARGET = "/total/views/article/23"
TOKEN = "an-admin-token"  # noqa: S105
FEW = 10
REVOCATIONS = 5
ROUNDS, REPEAT = 20, 500


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
        self.starting = self.spent

    @property
    def tenants(self) -> int:
        """How many it knows of, by its own account."""
        url = f"http://127.0.0.1:{self.gateway.admin_port}/api/tenants?limit=1"
        return int(get(url, headers={"Authorization": f"Bearer {TOKEN}"}).json()["total"])

    @property
    def memory(self) -> float:
        """Resident megabytes."""
        return int(self._stat()[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def spent(self) -> float:
        """Seconds of the CPU that the process has had."""
        user, system = self._stat()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _stat(self) -> list[str]:
        """The fields after the command's name; proc(5) counts them from the third."""
        text = Path(f"/proc/{self.gateway.running.pid}/stat").read_text()
        return text.rpartition(")")[2].split()

    def hit(self, keys: Iterator[str], repeat: int) -> float:
        """Seconds of the CPU that hits cost, one after another, each with the next key."""
        begin = self.spent
        with Wire(("127.0.0.1", self.gateway.port)) as wire:
            for key in itertools.islice(keys, repeat):
                answer = wire.send(request(TARGET, f"X-API-Key: {key}")).answer()
                assert answer.status == 200, answer
        return self.spent - begin

    def revoked(self) -> float:
        """Seconds from the end of ``key revoke`` until a request with that key is refused."""
        key = self.keys.pop()
        done = command(
            "key", "revoke", key[4:14],
            STATS_GATEWAY_REGISTRY=self.place, STATS_GATEWAY_ENCRYPTION_KEYS=self.secret,
        )  # fmt: skip
        assert done.code == 0, done.said
        begin = time.perf_counter()
        while get(self.gateway.url + TARGET, headers={"X-API-Key": key}).status_code != 401:
            assert time.perf_counter() - begin < 30
        return time.perf_counter() - begin


def key_texts(key: str, tables: TenantTables) -> list[str]:
    """Each tenant's first key: all of them have the secret of the one that was made."""
    secret = key.rpartition("_")[2]
    return [f"sgw_{next(iter(table.keys))}_{secret}" for table in tables.values()]


def served(stage: Stage, redis: RedisServer, secret: str, count: int, file: str = "") -> Served:
    """Fills a registry, in a file or else in a Redis, which is the cache too, and serves it."""
    place = file or redis.url
    registry = open_registry(Settings(registry=place, encryption_keys=secret))
    key, tables = populated(registry, count)
    if "://" in place:
        registry.import_tables(tables, replace=True)
    else:
        text = tomlkit.dumps({"tenants": msgspec.to_builtins(tables, builtin_types=(datetime,))})
        Path(place).write_text(text)
    begin = time.perf_counter()
    settings = {"registry": place, "redis_url": redis.url, "encryption_keys": secret, "admin_token": TOKEN}
    gateway = stage.serve(**settings, lifetime_totals=86_400)
    return Served(gateway, place, secret, key_texts(key, tables), time.perf_counter() - begin)


def compare(few: Served, many: Served) -> None:
    """Prints the figures of one beside the other's."""
    ten, some, each = (itertools.cycle(keys) for keys in (few.keys, many.keys[-FEW:], many.keys))
    turns = [(few.hit(ten, REPEAT), many.hit(some, REPEAT), many.hit(each, REPEAT)) for _ in range(ROUNDS)]
    base, same, all_ = (sum(spent) / (ROUNDS * REPEAT) * 1e6 for spent in zip(*turns, strict=True))
    seen = [many.revoked() for _ in range(REVOCATIONS)]
    with_ten = f"with {few.tenants} tenants"
    soon = statistics.median(seen)
    print(f"  ready                     {many.ready:8.2f} s, {with_ten} {few.ready:.2f} s")
    print(f"  of which on the CPU       {many.starting:8.2f} s, {with_ten} {few.starting:.2f} s")
    print(f"  a revocation is in force  {soon:8.2f} s after the command, at most {max(seen):.2f} s")
    print(f"  a keyed hit, on the CPU   {same:8.0f} us, {same / base:.2f} of what it costs {with_ten}")
    print(f"  each with another's key   {all_:8.0f} us, {all_ / base:.2f} of that")
    print(f"  resident memory           {many.memory:8.0f} MB, {with_ten} {few.memory:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-redis", type=int, default=10_000, help="tenants in Redis")
    parser.add_argument("--in-file", type=int, default=500, help="tenants in the file")
    given = parser.parse_args()
    secret = Fernet.generate_key().decode()
    with ExitStack() as stack:
        stage = stack.enter_context(staged(budget="unlimited"))
        one, other = (stack.enter_context(redis_server()) for _ in range(2))
        few = served(stage, one, secret, FEW)
        many = served(stage, other, secret, given.in_redis)
        print(f"serve on {many.tenants} tenants, {KEYS_EACH} keys each, in Redis")
        compare(few, many)
        few = served(stage, one, secret, FEW, f"{stage.folder}/few.toml")
        many = served(stage, other, secret, given.in_file, f"{stage.folder}/many.toml")
        print(f"serve on {many.tenants} tenants, {KEYS_EACH} keys each, in a file")
        compare(few, many)


if __name__ == "__main__":
    main()
