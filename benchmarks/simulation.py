"""A day of a large fleet, simulated: what it takes of Redis, and what a budget makes people wait.

Run with ``make simulate``. Plain Python and one seed: the same figures on every machine. Nothing is measured here
but counted; what one request costs in Redis commands is what ``make scale`` measures.

The model: requests come by day and night in a sine, from tenants by Zipf's law, to replicas at random. Every query
is asked for once in the day, at some time (reports walk over everything); all other requests are for queries by
Zipf's law. A query is about a closed window, an open one, or totals, and its answer lives as the defaults say.
What is not stored is asked for by one queue with the budget's spacing and burst, fair between tenants and bounded
for each as the gateway's is. People wait up to their deadline, and a job keeps its place when its callers were
sent away; refreshes go when nobody else waits and the whole burst is there. Near caches are followed in a few of
the replicas alone.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from gateway.cache.lifetimes import Lifetimes
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import QueueRules

DAY = 86_400.0
KINDS = ("closed", "open", "totals")
SHARES = (0.6, 0.25, 0.15)
"""What dashboards ask for: mostly months that are over."""
WATCHED = 5
"""Replicas whose near cache is followed."""
DEADLINE = 30.0
BUSY = 0.1
"""The share of tenants that are not quiet."""
SIGNS = 1.0 + 1.0 + 0.5 + 0.2
"""Commands a second that each process sends without any request: sign of life, purge marks, pulse, usage."""


@dataclass(frozen=True)
class World:
    """How large it is. ``entry_bytes`` is what one takes in Redis: ``make scale`` shows what small ones do."""

    replicas: int = 100
    tenants: int = 1_000
    queries: int = 1_000_000
    requests: int = 3_000_000
    queued: int = QueueRules().max_per_tenant
    entry_bytes: int = 1_000
    seed: int = 1


@dataclass
class Day:
    """What came of it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    quiet: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    calls: int = 0
    refreshes: int = 0
    near: Counter[bool] = field(default_factory=Counter)
    entries: int = 0

    def tell(self, outcome: str, *, quiet: bool) -> None:
        self.outcomes[outcome] += 1
        self.quiet[outcome] += quiet

    def wait(self, share: float) -> float:
        """Seconds that this share of those who waited waited at most."""
        waits = sorted(self.waits) or [0.0]
        return waits[min(len(waits) - 1, int(share * len(waits)))]


class Job(NamedTuple):
    """What waits in the line, in its order."""

    start: float
    number: int
    query: int
    tenant: int
    since: float


class Line:
    """The paced queue, as the scripts keep it: start-time fair between tenants, people before refreshes."""

    def __init__(self, budget: Budget, rules: QueueRules) -> None:
        self._spacing, self._burst = budget.spacing, budget.burst
        self._rules = rules
        self._tat = self._now = 0.0
        self._numbers = itertools.count()
        self._bands: tuple[list[Job], list[Job]] = ([], [])
        self._virtual = [0.0, 0.0]
        self._finish: tuple[dict[int, float], dict[int, float]] = ({}, {})
        self._pending: Counter[int] = Counter()

    def join(self, now: float, query: int, tenant: int, *, people: bool) -> bool:
        """Whether there was room for the job."""
        ahead = len(self._bands[0]) + len(self._bands[1])
        if self._pending[tenant] >= self._rules.max_per_tenant:
            return False
        if not people and ahead * 2 >= self._rules.max_queued:
            return False
        if ahead >= self._rules.max_queued and not self._dropped():
            return False
        band = 0 if people else 1
        start = max(self._virtual[band], self._finish[band].get(tenant, 0.0))
        self._finish[band][tenant] = start + 1.0
        self._pending[tenant] += 1
        heappush(self._bands[band], Job(start, next(self._numbers), query, tenant, now))
        self._now = now
        return True

    def promote(self, now: float, query: int) -> None:
        """People ask for what waits as a refresh, if it does."""
        for job in self._bands[1]:
            if job.query == query:
                self._remove(job)
                self.join(now, query, job.tenant, people=True)
                return

    def dispatched(self, now: float) -> Iterator[tuple[float, Job]]:
        """The jobs whose turn came until now, and when it did."""
        while band := self._bands[0] or self._bands[1]:
            ahead = self._burst - 1 if band is self._bands[0] else 0
            at = max(self._now, self._tat - ahead * self._spacing)
            if at > now:
                return
            job = heappop(band)
            self._pending[job.tenant] -= 1
            self._tat = max(self._tat, at) + self._spacing
            if self._bands[0] or self._bands[1]:
                self._virtual[band is self._bands[1]] = job.start
            else:
                self._virtual = [0.0, 0.0]
                self._finish = ({}, {})
            yield at, job

    def _dropped(self) -> bool:
        """Whether a refresh made room for people."""
        if not (band := self._bands[1]):
            return False
        self._remove(max(band))
        return True

    def _remove(self, refresh: Job) -> None:
        self._bands[1].remove(refresh)
        heapify(self._bands[1])
        self._pending[refresh.tenant] -= 1


def cumulated(count: int, exponent: float) -> array[float]:
    """Zipf's law over so many ranks, cumulated."""
    weights = (rank**-exponent for rank in range(1, count + 1))
    sums = array("d", itertools.accumulate(weights))
    return array("d", (each / sums[-1] for each in sums))


def simulate(world: World, budget: Budget) -> Day:
    """One day, from an empty cache."""
    dice = random.Random(world.seed)
    lifetimes, rules, day = Lifetimes(), QueueRules(max_per_tenant=world.queued), Day()
    lives = {"closed": lifetimes.closed, "open": lifetimes.open, "totals": lifetimes.totals}
    popular, busy = cumulated(world.queries, 0.9), cumulated(world.tenants, 1.0)
    kinds = array(
        "b", (bisect_left((SHARES[0], SHARES[0] + SHARES[1]), dice.random()) for _ in range(world.queries))
    )
    order = array("l", range(world.queries))
    dice.shuffle(order)
    fresh, serves = array("d", [-1.0]) * world.queries, array("d", [-1.0]) * world.queries
    near: list[dict[int, float]] = [{} for _ in range(WATCHED)]
    line = Line(budget, rules)
    waiting: dict[int, list[tuple[float, bool]]] = {}
    life = [lives[kind] for kind in KINDS]

    def landed(until: float) -> None:
        """What is dispatched until then; its callers are answered, where they still wait."""
        for at, job in line.dispatched(until):
            query = job.query
            callers = waiting.pop(query)
            if at <= DAY:
                day.calls += 1
                day.entries += serves[query] < 0
            if callers:
                day.waits.append(at - job.since)
            else:
                day.refreshes += at <= DAY
            for place, (since, quiet) in enumerate(callers):
                answered = "collapsed" if place else "miss"
                day.tell(answered if at - since <= DEADLINE else "refused", quiet=quiet)
            fresh[query] = at + life[kinds[query]] * (1 + lifetimes.jitter * dice.uniform(-1, 1))
            serves[query] = fresh[query] + life[kinds[query]]

    for number in range(world.requests):
        share = number / world.requests
        now = DAY * (share - math.sin(4 * math.pi * share) / (8 * math.pi))
        if dice.random() * (world.requests - number) < len(order):
            query = order.pop()
        else:
            query = min(bisect_left(popular, dice.random()), world.queries - 1)
        replica, tenant = dice.randrange(world.replicas), bisect_left(busy, dice.random())
        quiet = tenant >= BUSY * world.tenants
        landed(now)
        if serves[query] > now:
            if replica < WATCHED:
                day.near[near[replica].get(query, -1.0) == fresh[query]] += 1
                near[replica][query] = fresh[query]
            stale = fresh[query] <= now
            day.tell("stale" if stale else "hit", quiet=quiet)
            if stale and query not in waiting and line.join(now, query, tenant, people=False):
                waiting[query] = []
        elif query in waiting:
            if not waiting[query]:
                line.promote(now, query)
            waiting[query].append((now, quiet))
        elif line.join(now, query, tenant, people=True):
            waiting[query] = [(now, quiet)]
        else:
            day.tell("refused", quiet=quiet)
    landed(math.inf)
    return day


def told(world: World, budget: Budget, day: Day) -> str:
    """A day in lines."""
    total = sum(day.outcomes.values())
    served = day.outcomes["hit"] + day.outcomes["stale"]
    near = day.near[True] / max(1, sum(day.near.values()))
    looked_up = served * (1 - near) + total - served
    joined = day.outcomes["collapsed"] + day.outcomes["refused"]
    commands = (looked_up + 3 * day.calls + joined) / DAY + SIGNS * world.replicas
    allowed = math.inf if budget.interval is None else DAY / budget.interval
    rate = "unlimited" if budget.interval is None else f"{budget.rate:g}/s"
    return (
        f"{rate:>9} {served / total:7.1%} {near:8.1%} {day.outcomes['miss'] / total:7.1%} "
        f"{day.outcomes['collapsed'] / total:10.1%} {day.outcomes['refused'] / total:8.1%} "
        f"{day.quiet['refused'] / max(1, day.quiet.total()):8.1%} {day.calls:10,} "
        f"{day.calls / allowed:7.0%} {day.wait(0.5):6.1f} {day.wait(0.95):7.1f} "
        f"{day.entries * world.entry_bytes / 1e6:6.0f} {commands:9.0f}"
    )


HEAD = """\
   budget  stored  of them  missed  collapsed  refused    quiet      calls  of the   wait    wait  Redis  commands
                      near                              refused             budget  p50 s   p95 s     MB  a second\
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="A day of a large fleet, simulated; the same figures each time.")
    parser.add_argument("--replicas", type=int, default=World.replicas)
    parser.add_argument("--tenants", type=int, default=World.tenants)
    parser.add_argument("--queries", type=int, default=World.queries, help="distinct queries that are asked")
    parser.add_argument("--requests", type=int, default=World.requests, help="requests in the day")
    parser.add_argument("--queued", type=int, default=World.queued, help="jobs that may wait for one tenant")
    parser.add_argument("--entry-bytes", type=int, default=World.entry_bytes, help="an entry's bytes in Redis")
    parser.add_argument("--seed", type=int, default=World.seed)
    parser.add_argument("--budgets", default="1,5,20,unlimited", help="calls a second, comma-separated")
    given = vars(parser.parse_args())
    rates = given.pop("budgets").split(",")
    world = World(**given)
    if world.requests < world.queries:
        parser.error("every query is asked for: --requests must not be less than --queries")
    print(
        f"{world.requests:,} requests for {world.queries:,} distinct queries of {world.tenants:,} tenants "
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
