"""Claims: numbers of the service that should agree with each other, and what comes of comparing them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.admin.doctor.finding import counted

MOST_SHOWN = 3


class Found(NamedTuple):
    """What was found, and by which answers. ``holds``: it is as documented or, where nothing is, as a shortcut
    would need it; None where there is no such thing."""

    says: str
    evidence: str = ""
    holds: bool | None = None


class Claim(NamedTuple):
    """A number that should lie between two others, which are equal where nothing may have moved meanwhile."""

    label: str
    number: int
    low: int
    high: int

    @property
    def holds(self) -> bool:
        return self.low <= self.number <= self.high

    def __str__(self) -> str:
        other = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"{self.label}: {self.number} against {other}"


def equal(label: str, number: int, other: int) -> Claim:
    return Claim(label, number, other, other)


def compared(claims: Sequence[Claim], equal: str = "equal", other: str = "different") -> Found:
    """What claims come to together; those that fail are the evidence."""
    if not claims:
        return Found("", "there is nothing to compare")
    failed = [str(claim) for claim in claims if not claim.holds]
    if failed:
        return Found(other, f"{len(failed)} of {len(claims)}: {'; '.join(failed[:MOST_SHOWN])}", holds=False)
    return Found(equal, f"{counted(len(claims), 'number')}, such as {claims[0]}", holds=True)
