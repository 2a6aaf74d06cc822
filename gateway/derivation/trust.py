"""Trust: whether what a rule derives may be served, by how it compared with the service's own answers. Pure.

A *subject* is a rule for one counter and kind of item, in one institution and scope. It is ``untested`` until so
many checks in a row found no difference as its rule needs, each about another question. Then it is ``trusted``. It
is ``suspended`` for a day by one difference in a closed window, by two in sixty checks of numbers that move, or by
an answer in another style. After the first difference of moving numbers it is untested again, so that nothing is
served after any difference; nor is anything while a difference may only have moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from gateway.derivation.rules import Kind
from gateway.derivation.style import Numbers, Style

VERSION = 1
QUOTAS = {Kind.PLAIN: 0, Kind.TAIL: 15, Kind.EMPTY: 15}
"""Checks in the row that must have been of a kind before answers of that kind are served."""
WINDOW = 60
"""Checks among which a second difference suspends."""
SUSPENDED_SECONDS = 86_400.0
DOUBT_SECONDS = 7_200.0
"""After which a difference counts, if no other source has told."""
MOST_SEEN, MOST_DOUBTS, MOST_CHECKS = 512, 32, 10
LONGEST = 512
"""Bytes of an answer that are shown to people."""


class State(StrEnum):
    UNTESTED = "untested"
    TRUSTED = "trusted"
    SUSPENDED = "suspended"


class Verdict(StrEnum):
    """What a check came to: ``moved`` numbers lie between two sources, one from before and one from after."""

    EQUAL = "equal"
    MOVED = "moved"
    DIFFERENT = "different"
    DOUBTFUL = "doubtful"
    """It differs, and may have moved: the next source will tell."""


class Check(msgspec.Struct, frozen=True):
    """One comparison: what was asked, what was derived, and what the service said, which came ``at`` that time, in
    seconds since the epoch.

    ``definite``: no movement may explain a difference; ``reason`` says what else is wrong with the answer, and
    ``sample`` what makes it another check than those before.
    """

    question: str
    verdict: Verdict
    at: float
    derived: bytes = b""
    told: bytes = b""
    kind: Kind = Kind.PLAIN
    definite: bool = False
    reason: str = ""
    sample: str = ""


class Doubt(msgspec.Struct, frozen=True):
    """A check that waits for the next source: what the service said, and the first source, by the same names."""

    check: Check
    told: dict[str, int]
    first: dict[str, int]

    def is_between(self, second: Numbers) -> bool:
        """Whether the service's numbers lie between those of the first source and a ``second`` one."""
        bounds = [
            (sorted((self.first.get(name, 0), second.get(name, 0))), told) for name, told in self.told.items()
        ]
        return all(low <= told <= high for (low, high), told in bounds)


class Trust(msgspec.Struct, frozen=True):
    """What is known of a subject. ``row`` counts the checks in a row without a difference, ``kinds`` those of each
    kind among them; ``differences`` are the numbers of the checks that found one. ``styles`` is None until an
    answer was seen. ``reason`` and ``sample`` say why it was suspended ``since`` when."""

    version: int = VERSION
    state: State = State.UNTESTED
    since: float = 0.0
    reason: str = ""
    sample: Check | None = None
    checked: int = 0
    agreed: int = 0
    row: int = 0
    kinds: dict[Kind, int] = {}
    seen: list[int] = []
    differences: list[int] = []
    doubts: list[Doubt] = []
    checks: list[Check] = []
    styles: list[Style] | None = None

    def serves(self, kind: Kind) -> bool:
        """Whether what was derived may be served: the rule is trusted in its kind, and nothing is in doubt."""
        return self.state is State.TRUSTED and not self.doubts and self.kinds.get(kind, 0) >= QUOTAS[kind]

    @property
    def checked_at(self) -> float:
        """When it was last checked."""
        return self.checks[-1].at if self.checks else 0.0

    def as_of(self, now: float) -> Trust:
        """As it counts now: a suspension ends after a day, and all is learned anew."""
        over = self.state is State.SUSPENDED and now - self.since >= SUSPENDED_SECONDS
        return Trust(checks=self.checks, since=now) if over else self

    def having(self, styles: Sequence[Style]) -> Trust:
        """With what was learned of how the service writes."""
        return replace(self, styles=list(styles))

    def after(self, check: Check, needed: int) -> Trust:
        """After a check; ``needed`` in a row earn trust. What was suspended stays so."""
        if self.state is State.SUSPENDED:
            return self
        noted = replace(self, checks=[*self.checks, _shortened(check)][-MOST_CHECKS:])
        match check.verdict:
            case Verdict.DOUBTFUL:
                return noted
            case Verdict.DIFFERENT:
                return noted._differs(check)
        return noted._agrees(check, needed)

    def doubting(self, doubt: Doubt) -> Trust:
        """With one more doubt, unless there are as many as are kept."""
        suspended = self.state is State.SUSPENDED
        return (
            self if suspended or len(self.doubts) >= MOST_DOUBTS else replace(self, doubts=[*self.doubts, doubt])
        )

    def settled(self, counts: Mapping[int, Numbers], now: float, needed: int) -> Trust:
        """After a later source than those of its doubts, which says ``counts`` of the doubts at these places: what
        lies between both sources has moved. What does not is a difference, and so is a doubt that grew old."""
        left = replace(self, doubts=[])
        for place, doubt in enumerate(self.doubts):
            second = counts.get(place)
            if second is None and now - doubt.check.at < DOUBT_SECONDS:
                left = left.doubting(doubt)
            else:
                moved = second is not None and doubt.is_between(second)
                verdict = Verdict.MOVED if moved else Verdict.DIFFERENT
                left = left.after(replace(doubt.check, verdict=verdict), needed)
        return left._promoted(now, needed)

    def suspended(self, now: float, reason: str, sample: Check | None = None) -> Trust:
        """Suspended for a day."""
        left = replace(self, state=State.SUSPENDED, since=now, reason=reason)
        return replace(
            left, row=0, kinds={}, seen=[], doubts=[], sample=None if sample is None else _shortened(sample)
        )

    def _agrees(self, check: Check, needed: int) -> Trust:
        counted = replace(self, checked=self.checked + 1, agreed=self.agreed + 1)
        mark = _mark(check.sample or check.question)
        if mark in self.seen:
            return counted
        row, kinds = self.row + 1, self.kinds | {check.kind: self.kinds.get(check.kind, 0) + 1}
        return replace(counted, row=row, kinds=kinds, seen=[*self.seen, mark][-MOST_SEEN:])._promoted(
            check.at, needed
        )

    def _promoted(self, now: float, needed: int) -> Trust:
        """Trusted from now on, once enough checks agreed and nothing is in doubt."""
        if self.state is not State.UNTESTED or self.row < needed or self.doubts:
            return self
        return replace(self, state=State.TRUSTED, since=now, reason="")

    def _differs(self, check: Check) -> Trust:
        number = self.checked + 1
        recent = [each for each in self.differences if number - each < WINDOW] + [number]
        counted = replace(self, checked=number, differences=recent)
        if check.definite or len(recent) > 1:
            moving = f"{len(recent)} of {WINDOW} answers differ"
            why = (check.reason or "an answer differs") if check.definite else moving
            return counted.suspended(check.at, why, check)
        return replace(
            counted, state=State.UNTESTED, since=check.at, row=0, kinds={}, seen=[], sample=_shortened(check)
        )


def _shortened(check: Check) -> Check:
    return replace(check, derived=check.derived[:LONGEST], told=check.told[:LONGEST])


def _mark(sample: str) -> int:
    return int.from_bytes(blake2b(sample.encode(), digest_size=6).digest(), "big")


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Trust).decode


class _Versioned(msgspec.Struct):
    version: int


_version_of = msgspec.msgpack.Decoder(_Versioned).decode


def encoded(trust: Trust) -> bytes:
    """A record of this version."""
    return _encode(trust)


def trust_in(data: bytes) -> Trust | None:
    """The trust in a record; none at all in a damaged one. None for a record of another version, which is left
    alone."""
    try:
        return _decode(data) if _version_of(data).version == VERSION else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Trust()
