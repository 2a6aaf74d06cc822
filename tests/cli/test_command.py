"""The tests' own way to run a command: one that does not end is not left behind."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.cli import command
from tests.forked import Forked
from tests.redis_server import free_port


def test_a_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Forked] = []

    def forked(*given: Any) -> Forked:
        started.append(Forked(*given))
        return started[0]

    monkeypatch.setattr(command, "PATIENCE", 0.2)
    monkeypatch.setattr(command, "Forked", forked)
    with pytest.raises(subprocess.TimeoutExpired):
        command.command("sandbox", "--port", str(free_port()))
    try:
        assert started[0].wait(10) == -9
    finally:
        started[0].kill()
