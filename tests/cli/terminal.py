"""A command on a terminal of its own, as people meet it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.cli.command import clean_environment

ON_A_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execvp(sys.argv[1], sys.argv[1:])
"""
GATEWAY = (sys.executable, "-m", "gateway")


def read_until(terminal: int, ending: bytes) -> bytes:
    """What a terminal shows, until it shows ``ending`` or its process ends; for at most a minute."""
    shown, deadline = b"", time.monotonic() + 60
    while ending not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, shown
        try:
            shown += os.read(terminal, 4_096)
        except OSError:
            break
    return shown


@dataclass
class Terminal:
    """Our end of it, and the process at the other; what it ``showed`` so far."""

    process: subprocess.Popen[bytes]
    end: int
    showed: bytes = b""

    def read_until(self, ending: bytes) -> bytes:
        """What it shows from now on, until it shows ``ending`` or its process ends."""
        shown = read_until(self.end, ending)
        self.showed += shown
        return shown

    def type(self, text: bytes) -> None:
        os.write(self.end, text)

    def interrupt(self) -> None:
        """Types Ctrl-C until it is heard: between a prompt and the reading of its answer, Python does not."""
        for _ in range(6):
            self.type(b"\x03")
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)
                return

    def ended(self) -> int:
        """Reads to the end; the exit code."""
        self.read_until(b"\0never")
        return self.process.wait(timeout=60)


@contextmanager
def on_a_terminal(*words: str, program: Sequence[str] = GATEWAY, **settings: str) -> Iterator[Terminal]:
    """Starts a command on a terminal of its own, and ends it with the block."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *program, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=clean_environment() | {"TERM": "dumb", "COLUMNS": "200"} | settings,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
