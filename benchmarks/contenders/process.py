"""Processes of ours: started on one core, awaited, looked at, and always ended."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

STARTUP_SECONDS = 40.0
STOP_SECONDS = 15.0
LOOK_SECONDS = 0.005


class DidNotStart(Exception):
    """A process ended, or stayed silent; the text has what it said."""


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that answers on ``port`` and writes to ``log``; ``ready``: the seconds until it did answer."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    admin_port: int = 0
    ready: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu(self) -> float:
        """Seconds of the CPU that the process and its children have had."""
        return sum(map(_spent, self._tree())) / 1e9

    @property
    def memory(self) -> int:
        """Resident bytes of the process and its children, shared pages counted once (proportional set size)."""
        return sum(_proportional(pid) for pid in self._tree())

    def _tree(self) -> list[int]:
        pids = [self.process.pid]
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):
                pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return pids


@contextmanager
def spawned(
    words: Sequence[str], log: Path, core: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, with all its children on one core; ended when the block does."""

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    with log.open("ab") as output:
        process = subprocess.Popen(
            words,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=pin,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_ready(process: subprocess.Popen[bytes], log: Path, looks_ready: Callable[[], bool]) -> float:
    """Looks until it is ready; answers the seconds that took. Raises DidNotStart."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < STARTUP_SECONDS:
        if process.poll() is not None:
            raise DidNotStart(f"{process.args!r} ended with {process.returncode}:\n{_said(log)}")
        if looks_ready():
            return time.perf_counter() - begun
        time.sleep(LOOK_SECONDS)
    raise DidNotStart(f"{process.args!r} did not answer in {STARTUP_SECONDS:.0f} s:\n{_said(log)}")


def answers(port: int, path: str) -> Callable[[], bool]:
    """Whether a GET there is answered with 200."""

    def look() -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with closing(connection), suppress(OSError, HTTPException):
            connection.request("GET", path)
            return connection.getresponse().status == 200
        return False

    return look


def _said(log: Path) -> str:
    return log.read_text(errors="replace")[-4_000:]


def _spent(pid: int) -> int:
    """Nanoseconds of the CPU that a process's threads have had: its ticks would be too coarse."""
    spent = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                spent += int((thread / "schedstat").read_text().split()[0])
    return spent


def _proportional(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
