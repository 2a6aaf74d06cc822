"""Logs: one form for everybody's lines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SPEAKERS = """
import logging, structlog
from gateway.observe.logs import configure_logs
configure_logs({level!r}, {form!r})
structlog.get_logger("gateway").info("ours", number=1)
structlog.get_logger("gateway.audit").info("audit", who="me")
logging.getLogger("uvicorn.error").warning("theirs %d", 2)
logging.getLogger("uvicorn.access").info("GET /secret")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("uvicorn.error").exception("it broke")
    structlog.get_logger("gateway").exception("we broke", key=object)
"""


def said(level: str = "info", form: str = "json") -> list[str]:
    """What a process with these settings writes to stderr."""
    code = SPEAKERS.format(level=level, form=form)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_uvicorns_lines_are_json_like_ours() -> None:
    lines = [json.loads(line) for line in said()]
    assert [line["event"] for line in lines] == ["ours", "audit", "theirs 2", "it broke", "we broke"]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    assert all("ZeroDivisionError" in line["exception"] for line in lines[-2:])


@pytest.mark.parametrize(
    ("level", "events"),
    [("error", ["audit", "it broke", "we broke"]), ("warning", ["audit", "theirs 2", "it broke", "we broke"])],
)
def test_the_audit_is_told_at_any_level(level: str, events: list[str]) -> None:
    assert [json.loads(line)["event"] for line in said(level)] == events


def test_without_a_terminal_auto_is_json_and_pretty_can_be_asked_for() -> None:
    assert all(line.startswith("{") for line in said(form="auto"))
    assert not any(line.startswith("{") for line in said(form="pretty"))


def test_what_cannot_be_rendered_is_told_all_the_same() -> None:
    code = (
        "import structlog\n"
        "from gateway.observe.logs import configure_logs\n"
        "configure_logs('info', 'json')\n"
        "structlog.get_logger('gateway').info('ours', kept={(1, 2): 3})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    line = json.loads(done.stderr)
    assert line["event"] == "unrenderable"
    assert "'ours'" in line["shown"]
    assert "{(1, 2): 3}" in line["shown"]


@pytest.mark.parametrize("shell", ['exec "$@" 2>&-', 'exec "$@" 2>/dev/full'])
def test_a_stream_that_takes_nothing_fails_nobody(shell: str) -> None:
    code = (
        "import sys, structlog, logging\n"
        "from gateway.observe.logs import configure_logs\n"
        "sys.stderr and configure_logs('info', 'json')\n"
        "structlog.get_logger('gateway').info('lost')\n"
        "structlog.get_logger('gateway').info('lost too')\n"
        "print('alive', flush=True)\n"
    )
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", code]
    assert "alive" in subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
