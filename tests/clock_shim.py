"""A wall clock that tests step under a program, such as redis-server: a small library for LD_PRELOAD."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
SOURCE = Path(__file__).with_suffix(".c")


class ClockShim:
    """A wall clock of its own for every program that is started with this ``environment``.

    It keeps its steps while programs end and start; a program's monotonic clock does not step.
    """

    def __init__(self, folder: Path) -> None:
        self._library, self._offset = folder / "clock_shim.so", folder / "offset"
        flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(self._library), str(SOURCE), "-ldl")
        subprocess.run([str(COMPILER), *flags], check=True, capture_output=True)
        self.set(0.0)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables to start a program with, beside its others."""
        return {**os.environ, "LD_PRELOAD": str(self._library), "CLOCK_SHIM": str(self._offset)}

    @property
    def offset(self) -> float:
        """Seconds by which it is ahead of the machine's clock."""
        return int.from_bytes(self._offset.read_bytes(), sys.byteorder, signed=True) / 1e6

    def set(self, offset: float) -> None:
        """Moves it to so many seconds ahead of the machine's clock; in place, since programs have it mapped."""
        shown = round(offset * 1e6).to_bytes(8, sys.byteorder, signed=True)
        self._offset.touch()
        with self._offset.open("r+b") as file:
            file.write(shown)

    def step(self, seconds: float) -> None:
        """Moves it by so many seconds, forward or back."""
        self.set(self.offset + seconds)

    def show(self, moment: float) -> None:
        """Moves it so that it shows this time now, in seconds since the epoch."""
        self.set(moment - time.time())


@contextmanager
def clock_shim() -> Iterator[ClockShim]:
    """A steppable clock; skips the test where it cannot be built."""
    if COMPILER is None or not sys.platform.startswith("linux"):
        pytest.skip("a clock to step needs Linux and a C compiler: apt-get install gcc")
    with TemporaryDirectory() as folder:
        yield ClockShim(Path(folder))
