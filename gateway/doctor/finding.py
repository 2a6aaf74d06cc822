"""Finding: what a check found, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MOST_NAMED = 5


class State(StrEnum):
    """How bad it is, the worst last. What may not be read is unknown, which is no fault."""

    OK = "ok"
    NOTE = "note"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check`` names what was looked at, as ``subject.detail``, for programs; ``what`` was found, and the
    ``advice`` are for people."""

    check: str
    state: State
    what: str
    advice: str = ""

    @property
    def subject(self) -> str:
        """What part of the surroundings it is about."""
        return self.check.partition(".")[0]


def ok(check: str, what: str) -> Finding:
    """As it should be."""
    return Finding(check, State.OK, what)


def note(check: str, what: str, advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, State.NOTE, what, advice)


def unknown(check: str, what: str, advice: str = "") -> Finding:
    """Cannot be told from here."""
    return Finding(check, State.UNKNOWN, what, advice)


def warning(check: str, what: str, advice: str) -> Finding:
    """Will hurt, or hurts some."""
    return Finding(check, State.WARNING, what, advice)


def problem(check: str, what: str, advice: str) -> Finding:
    """Does not work, or is not safe."""
    return Finding(check, State.PROBLEM, what, advice)


def worst(findings: Iterable[Finding]) -> State:
    """The worst state among them; OK where there are none."""
    return max((finding.state for finding in findings), key=severity, default=State.OK)


def severity(state: State) -> int:
    """How bad a state is."""
    return list(State).index(state)


def named(names: Sequence[str]) -> str:
    """Names in a sentence, some of them where there are many."""
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"


def counted(count: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
