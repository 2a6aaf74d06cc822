"""Rankings: a top that lists every item of an institution, read as a table from item to count. Pure."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice, pairwise
from typing import Annotated, TypeAlias

import msgspec

FIRST_COUNT, MOST_COUNT, GROWTH = 10_000, 160_000, 4
"""How many places are asked for: at first, at most, and how much more each time."""
MOST_GROWTHS = 2
MOST_BYTES = 8 * 1024 * 1024
"""160,000 items take about 2.5 MiB."""

HEAD = 1_001
"""Places that are kept in the order of the answer."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
"""What the service counts; the sum of a report's columns stays within 64 bits."""
Row: TypeAlias = "array[int]"
"""The counts of a column, in the order of a report's items."""


_ID = re.compile(r"0|[1-9][0-9]{0,17}")


def is_id(text: str) -> bool:
    """Whether a text is the id of an item, as the service writes it."""
    return _ID.fullmatch(text) is not None


class NotARanking(ValueError):
    """The answer is no top of items, or longer than may be read."""


class _Top(msgspec.Struct):
    top: dict[str, Count] | None


_TOP = msgspec.json.Decoder(_Top)


class Ranking:
    """What a top lists: ``length`` places, of which those of items are kept as two compact arrays by item.

    ``head`` has the first places in the order of the answer; ``by_rank``: no place counts more than one before it.
    """

    def __init__(self, places: Mapping[str, int]) -> None:
        self.length = len(places)
        self.head = tuple(islice(places.items(), HEAD))
        self.by_rank = all(first >= second for first, second in pairwise(places.values()))
        counts = {int(name): count for name, count in places.items() if is_id(name)}
        self.ids = array("q", sorted(counts))
        self._counts = array("q", map(counts.__getitem__, self.ids))

    def __repr__(self) -> str:
        return f"<Ranking of {self.length}>"

    def count(self, id: int) -> int:
        """An item's count; 0 where it is not listed."""
        place = bisect_left(self.ids, id)
        listed = place < len(self.ids) and self.ids[place] == id
        return self._counts[place] if listed else 0

    @cached_property
    def low(self) -> int:
        """The highest count among the last tenth of its items; 0 where it has none."""
        counts = sorted(self._counts)
        return counts[max(1, len(counts) // 10) - 1] if counts else 0

    def row(self, ids: Iterable[int]) -> Row:
        """The counts of these items."""
        counts = dict(zip(self.ids, self._counts, strict=True))
        return array("q", [counts.get(id, 0) for id in ids])

    def is_complete(self, asked: int) -> bool:
        """Whether it has all that there is, when so many places were asked for."""
        return self.length < asked


def decode(body: bytes) -> Ranking:
    """The ranking in the body of a top (docs/service.md, Answers). It takes some 15 ms for 20,000 items, which is
    too long for an event loop. Raises NotARanking."""
    if len(body) > MOST_BYTES:
        raise NotARanking(f"the ranking is longer than {MOST_BYTES >> 20} MiB")
    try:
        places = _TOP.decode(body).top or {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotARanking("the ranking cannot be read") from None
    return Ranking(places)


def more_than(count: int) -> int | None:
    """How many places to ask for after so many were full; None where that would be too many."""
    return None if count >= MOST_COUNT else min(count * GROWTH, MOST_COUNT)
