"""The benchmarks run, and count right; how long anything takes is nobody's affair here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.simulation import World, simulate
from gateway.upstream.pacing import Budget
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


@pytest.mark.serial
def test_scale_counts_what_each_outcome_costs(shared_redis: RedisServer) -> None:
    told = json.loads(run("scale", "--processes", "2", "--size", "40", "--json"))
    rows = {(row["outcome"]): row for row in told["rows"]}
    assert {name: row["calls"] for name, row in rows.items()} == {
        "miss": 40, "hit, shared": 0, "hit, near": 0, "crowd": 5,
    }  # fmt: skip
    assert rows["miss"]["commands_each"] == pytest.approx(4, abs=1)
    assert rows["hit, shared"]["commands_each"] == pytest.approx(1, abs=0.3)
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


def test_the_simulation_tells_its_figures() -> None:
    told = run("simulation", "--requests", "2000", "--queries", "500", "--budgets", "1,unlimited")
    assert len([line for line in told.splitlines() if line.endswith(tuple("0123456789"))]) >= 2
