"""Prometheus's own judgement of metrics and rules."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

BINARY = shutil.which("promtool")
HINT = "promtool is missing: apt-get install prometheus"


def promtool(*words: str, given: bytes = b"") -> str:
    """What promtool says of what it is given; fails the test where it finds a fault."""
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail(HINT)
        pytest.skip(HINT)
    done = subprocess.run([BINARY, *words], input=given, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
