"""The benchmarks run, and count right; how long anything takes is nobody's affair here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.simulation import Line, World, simulate
from gateway.upstream.pacing import Budget
from gateway.upstream.queue_state import QueueRules
from tests.redis_server import RedisServer

SMALL = World(replicas=10, tenants=20, queries=3_000, requests=8_000)
PER_DAY = 86_400


def run(module: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scale_counts_what_each_outcome_costs(shared_redis: RedisServer) -> None:
    told = json.loads(run("scale", "--processes", "2", "--size", "40", "--json"))
    rows = {(row["outcome"]): row for row in told["rows"]}
    assert {name: row["calls"] for name, row in rows.items()} == {
        "miss": 40, "hit, shared": 0, "hit, near": 0, "crowd": 5,
    }  # fmt: skip
    assert rows["miss"]["commands_each"] == pytest.approx(4, abs=1)
    assert 1 / 8 <= rows["hit, shared"]["commands_each"] <= 1.3, "look-ups share commands, up to eight of them one"
    assert 100 < told["entry_bytes"] < 5_000


def test_a_simulated_day_is_the_same_each_time() -> None:
    budget = Budget(1.0, 5)
    first, second = simulate(SMALL, budget), simulate(SMALL, budget)
    assert (first.outcomes, first.calls, first.waits) == (second.outcomes, second.calls, second.waits)
    assert sum(first.outcomes.values()) == SMALL.requests


def test_a_simulated_day_never_exceeds_its_budget_and_an_unlimited_one_makes_nobody_wait() -> None:
    poor, rich = simulate(SMALL, Budget(40.0, 5)), simulate(SMALL, Budget(None, 5))
    assert poor.calls <= PER_DAY / Budget(40.0, 5).spacing + 5 + 1_000
    assert poor.outcomes["refused"] > 0
    assert rich.outcomes["refused"] == 0
    assert max(rich.waits) == 0


def test_every_query_of_a_simulated_day_is_asked_for() -> None:
    assert simulate(SMALL, Budget(None, 5)).entries == SMALL.queries


def queries(line: Line, until: float = 1e6) -> list[int]:
    return [job.query for _, job in line.dispatched(until)]


def test_the_simulated_queue_is_fair_and_bounded_as_the_gateways_is() -> None:
    line = Line(Budget(1.0, 1), QueueRules(max_queued=8, max_per_tenant=5))
    assert line.join(0.0, 0, tenant=1, people=True)
    assert queries(line, 0.0) == [0]
    assert [line.join(0.0, query, 1, people=True) for query in range(1, 7)] == [True] * 5 + [False]
    assert line.join(0.0, 10, tenant=2, people=True)
    assert queries(line, 3.5) == [1, 10, 2], "one of theirs, one of ours"
    assert queries(line) == [3, 4, 5]


def test_people_go_before_refreshes_in_the_simulated_queue_too() -> None:
    line = Line(Budget(1.0, 1), QueueRules(max_queued=6))
    line.join(0.0, 0, 1, people=True)
    assert queries(line, 0.0) == [0]
    assert [line.join(0.0, query, 1, people=False) for query in (1, 2, 3, 4)] == [True] * 3 + [False]
    line.promote(0.0, 3)
    assert [line.join(0.0, query, 2, people=True) for query in (5, 6, 7, 8, 9, 10)] == [True] * 5 + [False]
    assert queries(line) == [3, 5, 6, 7, 8, 9]


def test_the_simulation_tells_its_figures() -> None:
    told = run("simulation", "--requests", "2000", "--queries", "500", "--budgets", "1,unlimited")
    assert len([line for line in told.splitlines() if line.endswith(tuple("0123456789"))]) >= 2
