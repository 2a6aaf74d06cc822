"""A finding of the doctor: what a check found, how bad it is, and what to do about it. Pure but for ``fixed``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from gateway.errors import ConfigurationError

MOST_NAMED = 5


class State(StrEnum):
    """How bad a finding is, the worst last. What may not be read is unknown, which is no fault."""

    OK = "ok"
    NOTE = "note"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Fix:
    """What the doctor can do about a finding without harm, in words and as a function. That raises
    ConfigurationError and OSError."""

    what: str
    apply: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Finding:
    """``check`` names the check for programs, as ``subject.detail``; ``what`` and ``advice`` are for people."""

    check: str
    state: State
    what: str
    advice: str = ""
    fix: Fix | None = None

    @property
    def subject(self) -> str:
        return self.check.partition(".")[0]


def _finding(state: State, check: str, what: str, advice: str = "", fix: Fix | None = None) -> Finding:
    return Finding(check, state, what, advice, fix)


ok = partial(_finding, State.OK)
note = partial(_finding, State.NOTE)
unknown = partial(_finding, State.UNKNOWN)
warning = partial(_finding, State.WARNING)
problem = partial(_finding, State.PROBLEM)


def worst(findings: Iterable[Finding]) -> State:
    """The worst state among findings; OK where there are none."""
    return max((finding.state for finding in findings), key=severity, default=State.OK)


def severity(state: State) -> int:
    return list(State).index(state)


def fixed(finding: Finding, fix: Fix) -> Finding:
    """The finding after its fix was tried."""
    try:
        fix.apply()
    except ConfigurationError as error:
        return problem(finding.check, f"failed: {fix.what}: {error.message}", finding.advice)
    except OSError as error:
        return problem(finding.check, f"failed: {fix.what}: {error.strerror or error}", finding.advice)
    return ok(finding.check, f"done: {fix.what}")


def named(names: Sequence[str]) -> str:
    """Names in a sentence, at most ``MOST_NAMED`` of them."""
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``1 call``, ``2 calls``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
