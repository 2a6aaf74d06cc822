"""Misses: what they cost over asking the service directly."""

from __future__ import annotations

import statistics
import time

import httpx2 as httpx

from benchmarks.load import LoadFailed, fill, quantile
from benchmarks.origin import origin
from benchmarks.results import Column, Table
from benchmarks.rig import ASGI, GATEWAY, NGINX, VARNISH, Rig, Samples, dashboard_targets

WARMING = 50
REST = 0.005
"""Seconds for what a contender still does once it has answered: the next call would bear it."""
ABOUT = (
    "One request at a time for {misses} new targets, each first from the origin and then from the contender. The "
    "same httpx2 client on the other core sends both, 5 ms after the last answer. The budget is unlimited, and "
    "the origin answers at once. *Overhead* is the difference of the two medians; the CPU is the contender's own, "
    "without Redis."
)


def measure(rig: Rig) -> list[Table]:
    """The table. Raises LoadFailed where an answer was no 200."""
    samples = Samples()
    contenders = rig.among(NGINX, VARNISH, GATEWAY, ASGI)
    with origin(rig.folder) as service:
        for turn, contender in rig.turns(contenders):
            with rig.started(contender, service) as running:
                fill(rig.client(running, dashboard_targets(WARMING, first=10_000_000)))
                service.reset()
                spent = running.cpu
                direct, through = _both(rig, service.port, running.port)
                spent = running.cpu - spent
                figures = {
                    "direct": statistics.median(direct) * 1e3,
                    "through": statistics.median(through) * 1e3,
                    "overhead": (statistics.median(through) - statistics.median(direct)) * 1e3,
                    "p99": quantile(sorted(through), 0.99) * 1e3,
                    "cpu": spent / rig.misses * 1e3,
                    "calls": service.calls() - rig.misses,
                }
                samples.add(contender, figures)
            rig.say(f"misses, round {turn + 1}, {contender.name}: {figures['overhead']:.2f} ms over a direct call")
    columns = [
        Column("direct", "direct, ms", 2),
        Column("through", "through it, ms", 2),
        Column("overhead", "overhead, ms", 2),
        Column("p99", "p99 through it, ms", 2),
        Column("cpu", "CPU of a miss, ms", 2),
        Column("calls", "calls"),
    ]
    return [samples.table("misses", "A miss", ABOUT.format(misses=rig.misses), columns)]


def _both(rig: Rig, origin_port: int, port: int) -> tuple[list[float], list[float]]:
    """Seconds that each call took, directly and through the contender."""
    direct, through = [], []
    with httpx.Client(trust_env=False, timeout=20, headers={"X-API-Key": rig.holder.key}) as client:
        for target in dashboard_targets(rig.misses):
            direct.append(_timed(client, f"http://127.0.0.1:{origin_port}{target}"))
            through.append(_timed(client, f"http://127.0.0.1:{port}{target}"))
    return direct, through


def _timed(client: httpx.Client, url: str) -> float:
    time.sleep(REST)
    begun = time.perf_counter()
    answer = client.get(url)
    took = time.perf_counter() - begun
    if answer.status_code != 200:
        raise LoadFailed(f"an answer was {answer.status_code}: {answer.text[:200]}")
    return took
