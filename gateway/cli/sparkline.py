"""Sparkline: a row of numbers as a row of small bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-~=+*#"
"""The same for terminals that know only ASCII."""


def sparkline(values: Sequence[float | None], most: float, *, plain: bool = False) -> str:
    """One character a value: a blank for None, the lowest bar for 0 alone, the highest for ``most`` and above."""
    bars = PLAIN if plain else BARS
    return "".join(" " if value is None else bars[_height(value, most)] for value in values)


def _height(value: float, most: float) -> int:
    if value <= 0 or most <= 0:
        return 0
    return 1 + min(int(value / most * (len(BARS) - 1)), len(BARS) - 2)
