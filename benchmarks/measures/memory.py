"""Memory: what a hundred thousand entries take, in each place that holds them."""

from __future__ import annotations

from benchmarks.contenders.contender import Contender
from benchmarks.load import fill
from benchmarks.origin import OriginProcess, body_of, origin
from benchmarks.results import Column, Table
from benchmarks.rig import GATEWAY, NGINX, VARNISH, Rig, Samples, dashboard_targets
from tests.redis_server import RedisServer, redis_server

TENTH = 10
"""A tenth of the entries is there before anything is weighed, so that what grows once has grown."""
FAR = 1_000_000
ENOUGH = 2 * 1024**3
ABOUT = (
    "What {entries:,} misses added to the contender's memory (the proportional set size of its processes), for "
    "100,000; an answer has {size} bytes. The gateway keeps an entry in each process's near cache and once in "
    "Redis; nginx keeps answers on disk and their names in memory."
)


def measure(rig: Rig) -> list[Table]:
    """The table; one round, since it hardly varies."""
    samples = Samples()
    with origin(rig.folder) as service:
        for contender in rig.among(NGINX, VARNISH, GATEWAY):
            with redis_server() as redis:
                figures = _grown(rig, contender, service, redis)
            samples.add(contender, figures)
            rig.say(f"memory, {contender.name}: {figures['memory']:.0f} MB for 100,000 entries")
    columns = [
        Column("memory", "memory, MB"),
        Column("redis", "in Redis, MB"),
        Column("calls", "calls"),
    ]
    about = ABOUT.format(entries=rig.entries, size=len(body_of("/")))
    return [samples.table("memory", "Memory for 100,000 entries", about, columns)]


def _grown(rig: Rig, contender: Contender, service: OriginProcess, redis: RedisServer) -> dict[str, float]:
    settings = {"redis_url": redis.url, "near_max_bytes": ENOUGH}
    with rig.started(contender, service, **settings) as running:
        fill(rig.client(running, dashboard_targets(rig.entries // TENTH, first=FAR)))
        memory, shared = running.memory, used(redis)
        service.reset()
        fill(rig.client(running, dashboard_targets(rig.entries)))
        for_all = 100_000 / rig.entries / 1e6
        figures = {"memory": (running.memory - memory) * for_all, "calls": float(service.calls())}
        if contender is GATEWAY:
            figures["redis"] = (used(redis) - shared) * for_all
        return figures


def used(redis: RedisServer) -> int:
    """Bytes that a Redis has in use, without its connections' buffers, which come and go."""
    told = redis.call("INFO", "memory")
    return int(told["used_memory"]) - int(told["mem_clients_normal"])
