"""Keyboard: waits for a key, without echo and without Enter, where there is a terminal."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EOF = b"\x04"
"""Ctrl-D, or a terminal that is gone."""
Wait = Callable[[float], bytes]


@contextmanager
def keyboard() -> Iterator[Wait]:
    """A function that waits so many seconds for a key and answers it; empty where none came."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield _only_wait
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def wait(seconds: float) -> bytes:
        ready, _, _ = select.select([terminal], [], [], seconds)
        return (os.read(terminal, 1) or EOF) if ready else b""

    try:
        tty.setcbreak(terminal)
        yield wait
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _only_wait(seconds: float) -> bytes:
    time.sleep(seconds)
    return b""
