"""Finding: what a check found, how bad it is, and what to do about it.

Running: what the gateway that runs here, with these settings, says of its registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx2 as httpx

from gateway.settings import Settings

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


READY = "/-/health/ready"
SECONDS = 1.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (looked up, not listened on)
REASONS = {
    "unread": "cannot read its registry",
    "broken": "cannot use all of its registry",
    "doubtful": "does not believe its registry, which has lost most of its tenants at once",
}


def readiness(settings: Settings) -> Mapping[str, Any] | None:
    """What a gateway at the public listener says of its readiness; None where none answers."""
    url = f"http://{EVERYWHERE.get(settings.host, settings.host)}:{settings.port}{READY}"
    try:
        told = httpx.get(url, timeout=SECONDS, trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        return None
    return told if isinstance(told, dict) and isinstance(told.get("status"), str) else None


def running_findings(told: Mapping[str, Any] | None) -> Iterator[Finding]:
    """What is to be said of that; nothing where no gateway runs."""
    if told is None or told["status"] not in ("ok", "degraded"):
        return
    registry = told.get("registry")
    if not isinstance(registry, dict):
        yield ok("registry.followed", "the gateway that runs here has the registry's present state")
        return
    reason, age = str(registry.get("reason")), registry.get("age")
    what = (
        f"the gateway that runs here {REASONS.get(reason, 'has trouble with its registry')}; "
        f"its last good state is {counted(age if isinstance(age, int) else 0, 'second')} old, and stays in force"
    )
    if reason == "doubtful":
        yield warning("registry.followed", what, "bring the registry back, unless that many were to go")
    else:
        yield problem("registry.followed", what, "its log says why, under registry_broken")
