"""The demo as a newcomer meets it: its lines work when pasted, its console opens, and Ctrl-C ends it all."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.cli.terminal import on_a_terminal
from tests.integration.stage import get
from tests.redis_server import free_port


@pytest.mark.exhaustive
def test_what_it_shows_can_be_pasted_and_its_console_opened() -> None:
    with on_a_terminal("demo", "--port", str(free_port())) as terminal:
        said = terminal.read_until(b"Ctrl-C ends the demo.").decode()
        lines = re.findall(r"^   (curl -i .*?)\r?$", said, re.MULTILINE)
        assert len(lines) == 9
        statuses = []
        for line in lines:
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True)
            statuses.append(int(done.stdout.split()[1]))
        assert statuses == [200, 200, 200, 200, 200, 403, 400, 200, 401]
        (console,) = re.findall(r"The console shows what you did: (\S+)/\r?\n", said)
        (token,) = re.findall(r"Sign in with this token: +(\S+)", said)
        told = get(f"{console}/api/overview", headers={"Authorization": f"Bearer {token}"})
        assert told.json()["today"]["requests"] >= 1
        assert "Sign in" in get(f"{console}/", follow_redirects=True).text
        terminal.type(b"\x03")
        assert terminal.ended() == 0
        assert b"The demo has ended." in terminal.showed
