"""Which combinations of parameters ``make test`` runs: as many as it takes to try each value once."""

from __future__ import annotations

import pytest

from tests.selection import needed, parameters


@pytest.mark.parametrize("alone", ["one", "two"])
@pytest.mark.parametrize(("name", "value"), [("a", "first"), ("b", "second")])
def test_a_value_is_the_same_parameter_whatever_it_is_combined_with(
    request: pytest.FixtureRequest, alone: str, name: str, value: str
) -> None:
    assert isinstance(request.node, pytest.Function)
    assert {*parameters(request.node)} == {("alone", id(alone)), ("name", "value", id(name), id(value))}


def test_each_value_is_tried_in_as_few_combinations_as_it_takes() -> None:
    combinations = {(number, letter): {number, letter} for number in (1, 2, 3) for letter in "ab"}
    chosen = needed(combinations)
    assert len(chosen) == 3
    assert {value for each in chosen for value in each} == {1, 2, 3, "a", "b"}
