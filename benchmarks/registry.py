"""What many tenants cost: starting, following one change, finding out whose a key is, beside the same with ten.

Run with ``make bench-registry``: 10,000 tenants with 3 keys and a credential each in a real Redis, 500 in a file.
Figures are for comparison within one run; machines differ and are noisy.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import tomlkit
from cryptography.fernet import Fernet

from gateway.settings import Settings
from gateway.tenants.directory import Directory, identify
from gateway.tenants.registry import Registry, open_registry
from gateway.tenants.schema import TenantTables
from gateway.tenants.tenant import Pair, mint_key
from tests.redis_server import redis_server

KEYS_EACH = 3
ROUNDS, REPEAT = 15, 2_000


def taken(act: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def populated(registry: Registry, count: int) -> tuple[str, TenantTables]:
    """A key that works, and ``count`` tenants' tables, of which the first is in the registry already."""
    registry.add("tenant-0", pair=Pair("lboro", "lboro", "some password"))
    key, *_ = [registry.add_key("tenant-0") for _ in range(KEYS_EACH)]
    first = registry.store.read()["tenant-0"]
    tables = {"tenant-0": first}
    for number in range(1, count):
        own = {mint_key().id: each for each in first.keys.values()}
        tables[f"tenant-{number}"] = msgspec.structs.replace(first, keys=own)
    return key, tables


@dataclass(frozen=True)
class Asked:
    """A directory, and a key that is in it."""

    directory: Directory
    key: str

    def cost(self) -> float:
        """Microseconds to find out whose request it is."""
        headers, now = [(b"x-api-key", self.key.encode())], time.time()
        return taken(lambda: [identify(headers, self.directory, None, now) for _ in range(REPEAT)]) / REPEAT * 1e6


def side_by_side(few: Asked, many: Asked) -> tuple[float, float]:
    """What it costs among many, and how many times of what it costs among few: medians of rounds in turns."""
    rounds = [(few.cost(), many.cost()) for _ in range(ROUNDS)]
    return statistics.median(many for _, many in rounds), statistics.median(many / few for few, many in rounds)


def memory_of(registry: Registry) -> float:
    """Megabytes that its tenants hold once they are loaded."""
    tracemalloc.start()
    registry.load()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / 1e6


def measure(place: str, count: int, secret: str, ten: Asked) -> None:
    """Prints the figures of a registry that holds ``count`` tenants already."""

    def opened() -> Registry:
        return open_registry(Settings(registry=place, encryption_keys=secret))

    follower, editor = opened(), opened()
    print(f"  start-up, all read        {taken(follower.load) * 1e3:9.1f} ms")
    print(f"  one edit                  {taken(lambda: editor.change('tenant-1', name='New')) * 1e3:9.1f} ms")
    print(f"  one look that finds it    {taken(follower.refresh) * 1e3:9.1f} ms")
    print(f"  one look that finds none  {taken(follower.refresh) * 1e3:9.1f} ms")
    assert follower.directory.tenants["tenant-1"].name == "New"
    assert len(follower.directory.tenants) == count
    key = editor.add_key("tenant-0")
    follower.refresh()
    cost, ratio = side_by_side(ten, Asked(follower.directory, key))
    print(f"  identify                  {cost:9.2f} us, {ratio:.2f} of what it costs with ten")
    print(f"  memory                    {memory_of(opened()):9.1f} MB")


def of_ten(secret: str, folder: str) -> Asked:
    registry = open_registry(Settings(registry=f"{folder}/ten.toml", encryption_keys=secret))
    key, tables = populated(registry, 10)
    registry.import_tables(tables, replace=True)
    return Asked(registry.load(), key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in-redis", type=int, default=10_000, help="tenants in Redis")
    parser.add_argument("--in-file", type=int, default=500, help="tenants in the file")
    arguments = parser.parse_args()
    secret = Fernet.generate_key().decode()
    with tempfile.TemporaryDirectory() as folder, redis_server() as server:
        ten = of_ten(secret, folder)
        registry = open_registry(Settings(registry=server.url, encryption_keys=secret))
        _, tables = populated(registry, arguments.in_redis)
        spent = taken(lambda: registry.import_tables(tables, replace=True))
        print(f"{arguments.in_redis} tenants, {KEYS_EACH} keys each, in Redis (imported in {spent:.1f} s)")
        measure(server.url, arguments.in_redis, secret, ten)
        some = dict(list(tables.items())[: arguments.in_file])
        text = tomlkit.dumps({"tenants": msgspec.to_builtins(some, builtin_types=(datetime,))})
        path = Path(folder) / "tenants.toml"
        path.write_text(text)
        print(f"{arguments.in_file} tenants, {KEYS_EACH} keys each, in a file of {len(text) / 1e3:.0f} kB")
        measure(str(path), arguments.in_file, secret, ten)


if __name__ == "__main__":
    main()
