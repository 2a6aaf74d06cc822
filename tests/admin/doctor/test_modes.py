"""Who else may read or change the gateway's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admin.doctor.files import FileFacts, file_facts, modes
from gateway.admin.doctor.finding import State


@pytest.mark.parametrize(
    ("mode", "secret", "plain"),
    [
        (0o600, State.OK, State.OK),
        (0o400, State.OK, State.OK),
        (0o640, State.WARNING, State.OK),
        (0o644, State.PROBLEM, State.NOTE),
        (0o604, State.PROBLEM, State.NOTE),
        (0o660, State.PROBLEM, State.PROBLEM),
        (0o602, State.PROBLEM, State.PROBLEM),
    ],
)
def test_modes(mode: int, secret: State, plain: State, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    for holds_secret, state in ((True, secret), (False, plain)):
        facts = file_facts("files.some", path, "a file", secret=holds_secret)
        assert facts is not None
        finding = modes(facts)
        assert finding.state is state
        assert str(path) in finding.what
        assert (finding.advice == "") is (state is State.OK)


def test_no_file_is_nothing_to_speak_of(tmp_path: Path) -> None:
    assert file_facts("files.some", tmp_path / "none", "a file", secret=True) is None


def test_a_file_that_may_not_be_looked_at_is_unknown() -> None:
    assert modes(FileFacts("files.some", Path("there"), "a file", True, None)).state is State.UNKNOWN
