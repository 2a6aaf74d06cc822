"""Styles: how the service writes numbers as JSON, learned from the bytes of its answers. Pure.

Of what the bytes leave open, such as the order of a timeline with one bucket, every possibility stays. Numbers are
written only where all that are left write them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import msgspec

from gateway.derivation.ranking import Count

ASCENDING, DESCENDING, GIVEN = "ascending", "descending", "given"
"""Orders of the names in an answer: by name, or as the numbers are given."""

Numbers = Mapping[str, int]

_FLAT = msgspec.json.Decoder(dict[str, Count | None])
_NESTED = msgspec.json.Decoder(dict[str, dict[str, Count] | None])


class Style(msgspec.Struct, frozen=True):
    """One way to write an answer: what stands between members, after a name, and at the end; the order of the
    names, or the names themselves with commas between; and what stands for nothing."""

    comma: str
    colon: str
    end: str
    order: str
    nothing: str


@dataclass(frozen=True, slots=True)
class Layout:
    """What the answers of a kind look like: the names with their numbers are the value of ``wrapper``, or the
    whole answer, which then has exactly these ``names``. ``orders`` are those that the names may come in."""

    orders: tuple[str, ...]
    wrapper: str = ""
    names: frozenset[str] = frozenset()

    @property
    def styles(self) -> tuple[Style, ...]:
        """All styles that can be learned."""
        nothing = ("null", "{}") if self.wrapper else ("0", "null")
        return tuple(Style(*each) for each in product((", ", ","), (": ", ":"), ("", "\n"), self.orders, nothing))

    def read(self, body: bytes) -> dict[str, int] | None:
        """The numbers in an answer, in its order; None where it has another layout."""
        try:
            if not self.wrapper:
                flat = _FLAT.decode(body)
                return {name: each or 0 for name, each in flat.items()} if flat.keys() == self.names else None
            nested = _NESTED.decode(body)
            return (nested[self.wrapper] or {}) if nested.keys() == {self.wrapper} else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def write(self, style: Style, numbers: Numbers) -> bytes:
        """The bytes of an answer with these numbers."""
        if not self.wrapper:
            shown = {name: str(number) if number else style.nothing for name, number in numbers.items()}
            return (_members(style, shown) + style.end).encode()
        inner = _members(style, {name: str(each) for name, each in numbers.items()}) if numbers else style.nothing
        return (_members(style, {self.wrapper: inner}) + style.end).encode()

    def learned(self, styles: Sequence[Style] | None, body: bytes) -> tuple[Style, ...]:
        """Those of the ``styles`` known so far (None: nothing is known) in which the service may have written this
        body; none where it follows no known style."""
        numbers = self.read(body)
        if numbers is None:
            return ()
        known = self.styles if styles is None else styles
        return tuple(style for style in known if self.write(style, numbers) == body)

    def written(self, styles: Sequence[Style] | None, numbers: Numbers) -> bytes | None:
        """The one body that all these styles make of the numbers; None where there is none, or more."""
        bodies = {self.write(style, numbers) for style in styles or ()}
        return bodies.pop() if len(bodies) == 1 else None


def _members(style: Style, shown: Mapping[str, str]) -> str:
    members = [f'"{name}"{style.colon}{shown[name]}' for name in _ordered(style.order, shown)]
    return "{" + style.comma.join(members) + "}"


def _ordered(order: str, shown: Mapping[str, str]) -> Sequence[str]:
    """The names in an order; the wrapper, which is alone, in any."""
    if order == GIVEN or len(shown) == 1:
        return list(shown)
    if order in (ASCENDING, DESCENDING):
        return sorted(shown, reverse=order == DESCENDING)
    return [name for name in order.split(",") if name in shown]


def orders_of(names: Sequence[str]) -> tuple[str, ...]:
    """Every order of a few names, as ``Style`` has it."""
    return tuple(",".join(each) for each in permutations(names))


TOTAL = Layout((GIVEN,), names=frozenset({"totals"}))
TIMELINE = Layout((ASCENDING, DESCENDING), wrapper="timeline")
TOP = Layout((GIVEN,), wrapper="top")
