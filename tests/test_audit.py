"""The audit of dependencies says clean only where somebody was asked who would know."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Verdict = Callable[[Any, Any], tuple[int, str]]
CLEAN: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
WRONG = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return runpy.run_path(str(Path(__file__).parent.parent / ".ci" / "audit"))["verdict"]  # type: ignore[no-any-return]


def told(*dependencies: Any) -> dict[str, Any]:
    return {"dependencies": list(dependencies), "fixes": []}


@pytest.mark.parametrize(
    ("report", "control", "code", "words"),
    [
        (told(CLEAN, CLEAN), told(WRONG), 0, "no known vulnerabilities in 2 packages"),
        (told(CLEAN, WRONG), told(WRONG), 1, "c 2: PYSEC-1, fixed in ['3']"),
        (told(WRONG), told(SKIPPED), 1, "PYSEC-1"),
        (told(SKIPPED, SKIPPED), told(SKIPPED), 3, "no advisory source answers"),
        (told(CLEAN), told(CLEAN), 3, "no advisory source answers"),
        (told(CLEAN, SKIPPED), told(WRONG), 3, "nothing is known about b"),
        (None, None, 3, "cannot be installed or run"),
        (told(CLEAN), None, 3, "cannot be installed or run"),
    ],
)
def test_the_audit_says_what_it_knows(verdict: Verdict, report: Any, control: Any, code: int, words: str) -> None:
    found = verdict(report, control)
    assert found[0] == code
    assert words in found[1]
