"""A process's own share without Redis: turns that no two processes have together, whatever their clocks do."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.pacing import Budget, LocalBudget, Turns

BUDGET = Budget(1.0, 5)
SPACING = BUDGET.spacing


def turns(share: int = 1, phase: float = 0, budget: Budget = BUDGET) -> Turns:
    return Turns.of(budget, share, phase)


def writes(start: float, end: float, mine: Turns, step: float = 0.003) -> list[float]:
    """When a process writes that always wants to, and looks each few milliseconds."""
    local, found, now = LocalBudget(), [], start
    while now < end:
        if local.write(now, mine) == 0:
            found.append(now)
        now += step
    return found


def test_a_budget_survives_the_way_to_the_scripts_and_back() -> None:
    for interval in (0.01, 0.05, 0.2, 0.21, 1.0, 60.0):
        there = Budget(interval, 3)
        assert Budget.of(*there.arguments).interval == pytest.approx(interval, abs=2e-6)
    assert Budget.of(*Budget(None, 1).arguments) == Budget(None, 1)


@given(st.floats(0, 1e9), st.integers(1, 8), st.floats(0.02, 5.0))
def test_those_who_know_each_other_never_write_together_and_keep_the_rate(
    start: float, share: int, interval: float
) -> None:
    budget = Budget(interval, 1)
    period = budget.spacing * share
    step = budget.guard / 3
    end = start + 3 * period
    found = sorted(
        at
        for place in range(share)
        for at in writes(start, end, turns(share, place, budget), max(step, period / 2_000))
    )
    assert len(found) <= 3 * share + 1
    slack = max(budget.guard, 0.005, period / 2_000) + 1e-6 * start / 1e3
    assert all(later - earlier >= budget.spacing - slack - 1e-3 for earlier, later in pairwise(found))


def test_idle_time_earns_nothing() -> None:
    local, mine = LocalBudget(), turns(share=2, phase=1)
    first = 100.0 + local.reserve(100.0, mine)
    assert first >= 100.0 + SPACING
    assert first + local.reserve(first + 0.002, mine) + 0.002 == pytest.approx(first + 2 * SPACING)
    assert local.reserve(500.0, mine) >= SPACING


def test_a_turn_that_was_missed_is_lost_and_the_next_one_is_not_a_double() -> None:
    local, mine = LocalBudget(), turns(share=3, phase=2)
    turn = mine.first(100.0)
    late = turn + mine.window + 0.01
    assert late + local.write(late, mine) == pytest.approx(turn + 3 * SPACING)
    assert local.write(turn + 3 * SPACING, mine) == 0
    assert local.write(turn + 3 * SPACING + 0.001, mine) == pytest.approx(3 * SPACING - 0.001)


def test_another_place_in_another_fleet_is_no_second_turn() -> None:
    local = LocalBudget()
    before = turns(share=3, phase=0)
    at = before.first(100.0)
    assert local.write(at, before) == 0
    for after in (turns(share=4, phase=1), turns(share=2, phase=1)):
        assert local.write(at + SPACING, after) > 0


@pytest.mark.parametrize("step", [-3_600.0, -7.0, 3_600.0])
def test_a_machines_clock_that_steps_costs_a_period_at_most(step: float) -> None:
    local, mine = LocalBudget(), turns(share=2, phase=0.5)
    at = 10_000.0 + local.reserve(10_000.0, mine)
    assert local.write(at, mine) == 0
    assert local.write(at + step, mine) <= mine.period
    assert local.reserve(at + step, mine) <= 3 * mine.period
