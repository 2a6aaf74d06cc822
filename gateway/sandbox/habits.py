"""How the sandbox's service is known, or feared, to behave where the documentation leaves it open."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ORDERS = ("rank", "time", "arbitrary")
EMPTIES = ("null", "{}")
ITEMS = 400
MOST_ITEMS = 200_000


@dataclass(frozen=True, slots=True)
class Habits:
    """The switches of the sandbox; docs/service.md, The sandbox, has each with its reason.

    ``examples``: the documented examples are answered word for word. ``items``: articles in each institution.
    ``order``: that of the keys in an answer. ``count_limit``: the most that a top lists, whatever is asked for.
    ``top_error``: the share of a top, from its lowest place on, whose numbers are too low. ``lag``: the latest
    days that totals and overviews count already, and all others do not. ``zone``: the time zone of a day.
    ``revise``: the share of the events of past days that is missing, another share every day. ``empty``: what
    stands for an empty timeline, breakdown or top; each has its own where it is None.

    Raises ValueError for a value outside its range.
    """

    examples: bool = True
    items: int = ITEMS
    order: str = "rank"
    count_limit: int | None = None
    top_error: float = 0.0
    lag: int = 0
    zone: str = "UTC"
    revise: float = 0.0
    empty: str | None = None

    def __post_init__(self) -> None:
        _check(1 <= self.items <= MOST_ITEMS, f"items must be from 1 to {MOST_ITEMS}")
        _check(self.order in ORDERS, f"order must be one of {', '.join(ORDERS)}")
        _check(self.count_limit is None or self.count_limit >= 1, "count limit must be at least 1")
        _check(0 <= self.top_error <= 1, "top error must be a fraction from 0 to 1")
        _check(self.lag >= 0, "lag must not be negative")
        _check(0 <= self.revise <= 0.5, "revise must be a fraction from 0 to 0.5")
        _check(self.empty is None or self.empty in EMPTIES, f"empty must be one of {', '.join(EMPTIES)}")
        self.time_zone()

    def time_zone(self) -> ZoneInfo:
        """The zone in which a day begins and ends."""
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"zone must be the name of a time zone, not {self.zone!r}") from None

    def listed(self, ranked: list[tuple[str, int]], count: int) -> dict[str, int]:
        """What a top of ``count`` lists of all that there are, the highest first; nothing that is 0."""
        exact = len(ranked) - round(len(ranked) * self.top_error)
        told = ranked[:exact] + [(name, number - max(1, number // 10)) for name, number in ranked[exact:]]
        best = [each for each in told if each[1] > 0][: min(count, self.count_limit or count)]
        return dict(sorted(best, key=_age) if self.order == "time" else best)

    def arranged(self, value: Any, draw: Random) -> Any:
        """An answer with its keys in an order that means nothing, where that is the habit."""
        if self.order != "arbitrary" or not isinstance(value, dict):
            return value
        pairs = [(name, self.arranged(each, draw)) for name, each in value.items()]
        draw.shuffle(pairs)
        return dict(pairs)

    def nothing(self, otherwise: dict[str, int] | None) -> dict[str, int] | None:
        """What stands where there is nothing to tell."""
        match self.empty:
            case "null":
                return None
            case "{}":
                return {}
        return otherwise


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _age(place: tuple[str, int]) -> tuple[int, str]:
    """Items are numbered as they came."""
    return (int(place[0]) if place[0].isdecimal() else 0, place[0])
