"""A day of a large fleet, simulated: what it takes of Redis, and what a budget makes people wait.

Run with ``make simulate``. Plain Python and one seed: the same figures on every machine. Nothing is measured here
but counted; what one request costs in Redis commands is what ``make scale`` measures.

The model: requests come by day and night in a sine, for queries by Zipf's law, from tenants by Zipf's law, to
replicas at random. A query is about a closed window, an open one, or totals, and its answer lives as the defaults
say. What is not stored is asked for by one queue with the budget's spacing and burst; people wait up to their
deadline, refreshes go when nobody waits. Near caches are followed in a few of the replicas alone.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from gateway.catalogue.lifetimes import Lifetimes
from gateway.upstream.board import QueueRules
from gateway.upstream.pacing import Budget

DAY = 86_400.0
KINDS = ("closed", "open", "totals")
SHARES = (0.6, 0.25, 0.15)
"""What dashboards ask for: mostly months that are over."""
WATCHED = 5
"""Replicas whose near cache is followed."""
DEADLINE = 30.0
SIGNS = 1.0 + 1.0 + 0.5 + 0.2
"""Commands a second that each process sends without any request: sign of life, purge marks, pulse, usage."""


@dataclass(frozen=True)
class World:
    """How large it is. ``entry_bytes`` is what an entry takes in Redis, as ``make scale`` shows."""

    replicas: int = 100
    tenants: int = 1_000
    queries: int = 1_000_000
    requests: int = 3_000_000
    entry_bytes: int = 1_000
    seed: int = 1


@dataclass
class Day:
    """What came of it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    calls: int = 0
    refreshes: int = 0
    near: Counter[bool] = field(default_factory=Counter)
    entries: int = 0
    worst: Counter[int] = field(default_factory=Counter)

    def wait(self, share: float) -> float:
        """Seconds that this share of those who waited waited at most."""
        waits = sorted(self.waits) or [0.0]
        return waits[min(len(waits) - 1, int(share * len(waits)))]


class Line:
    """The paced queue: when a job's turn comes, if it may wait at all."""

    def __init__(self, budget: Budget, rules: QueueRules) -> None:
        self._spacing, self._burst = budget.spacing, budget.burst
        self._rules = rules
        self._tat = 0.0
        self._pending: Counter[int] = Counter()

    def turn(self, now: float, tenant: int, *, people: bool) -> float | None:
        """When the job is dispatched; None where there is no room for it."""
        if not self._spacing:
            return now
        self._tat = max(self._tat, now)
        at = max(now, self._tat - (self._burst - 1) * self._spacing)
        queued = (at - now) / self._spacing
        if queued >= self._rules.max_queued or (not people and queued > 0):
            return None
        self._tat += self._spacing
        return at


def cumulated(count: int, exponent: float) -> array[float]:
    """Zipf's law over so many ranks, cumulated."""
    weights = (rank**-exponent for rank in range(1, count + 1))
    sums = array("d", itertools.accumulate(weights))
    return array("d", (each / sums[-1] for each in sums))


def simulate(world: World, budget: Budget) -> Day:
    """One day, from an empty cache."""
    dice = random.Random(world.seed)
    lifetimes, rules, day = Lifetimes(), QueueRules(), Day()
    lives = {"closed": lifetimes.closed, "open": lifetimes.open, "totals": lifetimes.totals}
    popular, busy = cumulated(world.queries, 0.9), cumulated(world.tenants, 1.0)
    kinds = array(
        "b", (bisect_left((SHARES[0], SHARES[0] + SHARES[1]), dice.random()) for _ in range(world.queries))
    )
    fresh, serves = array("d", [-1.0]) * world.queries, array("d", [-1.0]) * world.queries
    landing = array("d", [-1.0]) * world.queries
    near: list[dict[int, float]] = [{} for _ in range(WATCHED)]
    line = Line(budget, rules)
    life = [lives[kind] for kind in KINDS]

    def fetched(query: int, at: float) -> None:
        fresh[query] = at + life[kinds[query]] * (1 + lifetimes.jitter * dice.uniform(-1, 1))
        serves[query] = fresh[query] + life[kinds[query]]
        landing[query] = at

    for number in range(world.requests):
        share = number / world.requests
        now = DAY * (share - math.sin(4 * math.pi * share) / (8 * math.pi))
        query = min(bisect_left(popular, dice.random()), world.queries - 1)
        replica = dice.randrange(world.replicas)
        if landing[query] > now:
            day.outcomes["collapsed" if landing[query] - now <= DEADLINE else "refused"] += 1
            continue
        if fresh[query] > now or serves[query] > now:
            if replica < WATCHED:
                day.near[near[replica].get(query, -1.0) == fresh[query]] += 1
                near[replica][query] = fresh[query]
            stale = fresh[query] <= now
            day.outcomes["stale" if stale else "hit"] += 1
            if stale and line.turn(now, 0, people=False) is not None:
                day.calls += 1
                day.refreshes += 1
                fetched(query, now)
            continue
        tenant = bisect_left(busy, dice.random())
        at = line.turn(now, tenant, people=True)
        if at is None:
            day.outcomes["refused"] += 1
            continue
        day.entries += serves[query] < 0
        day.calls += 1
        day.waits.append(at - now)
        day.outcomes["miss" if at - now <= DEADLINE else "refused"] += 1
        fetched(query, at)
    return day


def told(world: World, budget: Budget, day: Day) -> str:
    """A day in lines."""
    total = sum(day.outcomes.values())
    served = day.outcomes["hit"] + day.outcomes["stale"]
    near = day.near[True] / max(1, sum(day.near.values()))
    looked_up = served * (1 - near) + total - served
    commands = (looked_up + 3 * day.calls) / DAY + SIGNS * world.replicas
    allowed = math.inf if budget.interval is None else DAY / budget.interval
    rate = "unlimited" if budget.interval is None else f"{budget.rate:g}/s"
    return (
        f"{rate:>10} {served / total:8.1%} {near:8.1%} {day.outcomes['miss'] / total:8.1%} "
        f"{day.outcomes['collapsed'] / total:9.1%} {day.outcomes['refused'] / total:8.1%} {day.calls:9,} "
        f"{day.calls / allowed:7.0%} {day.wait(0.5):7.1f} {day.wait(0.95):7.1f} "
        f"{day.entries * world.entry_bytes / 1e6:9.0f} {commands:8.0f}"
    )


HEAD = """\
    budget   stored  of them   missed collapsed  refused     calls   of the    wait    wait     Redis  commands
                        near                                         budget   p50 s   p95 s        MB  a second"""


def main() -> None:
    parser = argparse.ArgumentParser(description="A day of a large fleet, simulated; the same figures each time.")
    parser.add_argument("--replicas", type=int, default=World.replicas)
    parser.add_argument("--tenants", type=int, default=World.tenants)
    parser.add_argument("--queries", type=int, default=World.queries, help="distinct queries that may be asked")
    parser.add_argument("--requests", type=int, default=World.requests, help="requests in the day")
    parser.add_argument("--entry-bytes", type=int, default=World.entry_bytes, help="an entry's bytes in Redis")
    parser.add_argument("--seed", type=int, default=World.seed)
    parser.add_argument("--budgets", default="1,5,20,unlimited", help="calls a second, comma-separated")
    given = vars(parser.parse_args())
    rates = given.pop("budgets").split(",")
    world = World(**given)
    print(
        f"{world.requests:,} requests for {world.queries:,} queries of {world.tenants:,} tenants "
        f"at {world.replicas} replicas, seed {world.seed}\n\n{HEAD}"
    )
    for rate in rates:
        budget = Budget(None if rate == "unlimited" else 1 / float(rate), 5)
        print(told(world, budget, simulate(world, budget)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
