"""What requests mean to the service, told independently of the gateway: for property tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from hypothesis import strategies as st

YEARS = {"day": 1, "month": 2, "year": 5, "total": 1}
Limit = Callable[[date, int], date]


def anniversary(start: date, years: int) -> date:
    try:
        return start.replace(year=start.year + years)
    except ValueError:
        return date(start.year + years, 2, 28)


# The documentation says "1 year": each of these could be meant.
READINGS: list[Limit] = [
    anniversary,
    lambda start, years: anniversary(start, years) - timedelta(days=1),
    lambda start, years: anniversary(start + timedelta(days=1), years),
    lambda start, years: start + timedelta(days=365 * years),
    lambda start, years: start + timedelta(days=365 * years - 1),
]


@dataclass(frozen=True)
class Request:
    """A well-formed request in decoded values. ``None`` is an omitted parameter."""

    family: str
    institution: str | None
    granularity: str
    counter: str
    item: str
    item_id: str | None
    start: date | None
    end: date | None
    sub_item: str | None
    sub_item_id: str | None
    count: int | None
    others: tuple[tuple[str, str], ...]

    def segments(self) -> list[str]:
        middle = [self.granularity] if self.family in ("timeline", "breakdown") else []
        end = [] if self.family == "top" else [self.item_id or ""]
        start = [] if self.institution is None else [self.institution]
        return [*start, self.family, *middle, self.counter, self.item, *end]

    def parameters(self) -> list[tuple[str, str]]:
        pairs = {
            "start_date": None if self.start is None else self.start.isoformat(),
            "end_date": None if self.end is None else self.end.isoformat(),
            "sub_item": self.sub_item,
            "sub_item_id": self.sub_item_id,
            "item_id": self.item_id if self.family == "top" else None,
            "count": None if self.count is None else str(self.count),
        }
        return [(name, value) for name, value in pairs.items() if value is not None] + [*self.others]

    def meaning(self, limit: Limit) -> tuple[object, ...]:
        """All that the answer may depend on, were the service to take its limits so."""
        end = self.end
        if self.family == "breakdown" and self.start and end:
            end = min(end, limit(self.start, YEARS[self.granularity]))
        count = (self.count or 10) if self.family == "top" else None
        others = frozenset((name, tuple(v for n, v in self.others if n == name)) for name, _ in self.others)
        filters = (self.start, end, self.sub_item, self.sub_item_id, self.item_id, count, others)
        return (*self.segments(), *filters)


text = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\."), min_size=1, max_size=6)
tricky = st.sampled_from(
    ["5", "05", "1.5", "a", "A", "a b", "a+b", "a%20b", "1:a", "a=1&b=2", "a=1", "-", "é", "total"]
)
item_ids = tricky | text
days = st.dates(date(2011, 12, 1), date(2026, 12, 31))
others = st.lists(
    st.tuples(st.sampled_from(["a", "b", "n", "a=1&b", "Count"]) | text, tricky | st.just("") | text), max_size=3
).map(tuple)
DOCUMENTED = {"start_date", "end_date", "sub_item", "sub_item_id", "item_id", "count", "_"}
NAMES = {"total", "timeline", "breakdown", "top", "-"}


@st.composite
def requests(draw: st.DrawFn) -> Request:
    family = draw(st.sampled_from(["total", "timeline", "breakdown", "top"]))
    start, end = draw(st.none() | days), draw(st.none() | days)
    if start and end and draw(st.booleans()):
        end = start + timedelta(days=draw(st.sampled_from([0, 30, 364, 365, 366, 367, 369, 731, 1826, 1829])))
    if start and end and start > end:
        start, end = end, start
    kinds = ["category", "item_type"] + ["referral"] * (family == "top")
    sub_item = None if family == "total" else draw(st.none() | st.sampled_from(kinds))
    return Request(
        family=family,
        institution=draw(
            st.none() | st.sampled_from(["lboro", "monash", "Lboro", "5:total", "a b"]) | text.filter(_free)
        ),
        granularity=draw(st.sampled_from(sorted(YEARS))),
        counter=draw(st.sampled_from(["views", "downloads", "shares"])),
        item=draw(st.sampled_from(["article", "author", "collection", "group", "project"])),
        item_id=draw(st.none() | item_ids) if family == "top" else draw(item_ids),
        start=start,
        end=end,
        sub_item=sub_item,
        sub_item_id=draw(item_ids) if sub_item and family != "top" else None,
        count=draw(st.none() | st.integers(1, 12)) if family == "top" else None,
        others=draw(others.map(lambda pairs: tuple(p for p in pairs if p[0] not in DOCUMENTED))),
    )


def _free(name: str) -> bool:
    return name not in NAMES


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Request, Request]:
    """Two requests that differ in one thing, or in none."""
    one, two = draw(requests()), draw(requests())
    fields = ["institution", "granularity", "counter", "item", "others"]
    if one.family == two.family:
        fields += ["item_id", "count"]
    if one.start and one.end and two.end and two.end >= one.start:
        fields += ["end"] * 3
    if one.family == two.family == "timeline" or one.family == two.family == "breakdown":
        fields += ["sub_item_id"] if one.sub_item and two.sub_item else []
    field = draw(st.sampled_from(fields))
    return one, replace(one, **{field: getattr(two, field)})


@st.composite
def spelt(draw: st.DrawFn, request: Request, ignored: bool = False) -> tuple[bytes, bytes]:
    """The request in one of its spellings: parameters permuted by name, characters percent-encoded at will."""
    path = "/" + "/".join(draw(_encoded(segment, plus=False)) for segment in request.segments())
    pairs = request.parameters()
    if request.family == "top" and request.count is None and draw(st.booleans()):
        pairs.append(("count", "10"))
    order = {name: draw(st.integers()) for name, _ in pairs}
    pairs.sort(key=lambda pair: order[pair[0]])
    pieces = [f"{draw(_encoded(name, plus=True))}={draw(_encoded(value, plus=True))}" for name, value in pairs]
    if ignored:
        for piece in draw(st.lists(st.sampled_from(["_", "_=", "_=1700000000", "%5F=a%20b", ""]), max_size=3)):
            pieces.insert(draw(st.integers(0, len(pieces))), piece)
    return path.encode("ascii"), "&".join(pieces).encode("ascii")


UNRESERVED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")
"""A dot is unreserved too, but in a path it must not be encoded."""


def _encoded(value: str, *, plus: bool) -> st.SearchStrategy[str]:
    def spelling(seed: int) -> str:
        return "".join(_spelling(char, seed >> (3 * place % 60), plus) for place, char in enumerate(value))

    return st.integers(0, 2**63).map(spelling)


def _spelling(char: str, choice: int, plus: bool) -> str:
    if char == " " and plus and choice & 4:
        return "+"
    if char == "." or (char in UNRESERVED and choice & 1):
        return char
    octets = [f"%{octet:02x}" for octet in char.encode()]
    return "".join(octet.upper() if choice & 2 else octet for octet in octets)
