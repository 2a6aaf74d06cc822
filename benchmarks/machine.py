"""Machine: what a run ran on, and how its cores were used; what is asked of /proc wants Linux."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

from benchmarks.contenders.contender import located

PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "httpx2", "redis", "hiredis", "granian")
NUMBER = re.compile(r"\d+(?:\.\d+)+")
PROGRAMS = {"redis-server": "--version"}


def facts() -> dict[str, str]:
    """The machine and what is installed, by name."""
    told = {
        "processor": _processor(),
        "cores": _cores(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for package in PACKAGES:
        try:
            told[package] = version(package)
        except PackageNotFoundError:
            continue
    return told | {name: _said(name, flag) for name, flag in PROGRAMS.items() if located(name)}


def cores() -> tuple[int | None, int | None]:
    """The contender's core, and the one for all else; none where there is no pinning, or only one core.

    Two that are no threads of one core, where there are such.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return None, None
    apart = [core for core in others if core not in siblings(first)]
    return first, (apart or others)[0]


def siblings(core: int) -> set[int]:
    """The threads of the core that one belongs to, itself too."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    told = path.read_text().strip() if path.exists() else str(core)
    bounds = [part.partition("-") for part in told.split(",")]
    return {each for first, _, last in bounds for each in range(int(first), int(last or first) + 1)}


@contextmanager
def kept_to(core: int | None) -> Iterator[None]:
    """This process, and what it starts, on that core for as long as the block lasts."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_open_files() -> int:
    """Lets this process and those it starts open as many files as they may; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Watch:
    """How much of a core (of all, where it is None) was ``idle`` while the block lasted, as a share; and how much
    of one was used by programs that this process ran to their end meanwhile."""

    idle: float = 0.0
    busy: float = 0.0

    def __init__(self, core: int | None) -> None:
        self._line = "cpu " if core is None else f"cpu{core} "

    def __enter__(self) -> Watch:
        self._before, self._own, self._at = self._times(), _children(), time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        spent = [after - before for before, after in zip(self._before, self._times(), strict=True)]
        # proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
        self.idle = (spent[3] + spent[4]) / max(1, sum(spent))
        self.busy = (_children() - self._own) / (time.monotonic() - self._at)

    def _times(self) -> list[int]:
        lines = Path("/proc/stat").read_text().splitlines()
        line = next(each for each in lines if each.startswith(self._line))
        return [int(each) for each in line.split()[1:9]]


def _children() -> float:
    """Seconds of the CPU that programs have had which this process waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cores() -> str:
    """How many, and whether the two that are used share one core."""
    one, other = cores()
    shared = one is not None and other in siblings(one)
    return f"{os.cpu_count()}" + (", of which the contender and its load get two threads of one core" * shared)


def _processor() -> str:
    named = [line for line in _cpuinfo() if line.startswith("model name")]
    return named[0].partition(":")[2].strip() if named else platform.processor()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _said(program: str, flag: str) -> str:
    """The first number with a point in what a program says of its version."""
    done = subprocess.run([str(located(program)), flag], capture_output=True, text=True, check=False)
    found = NUMBER.search(done.stdout or done.stderr)
    return found[0] if found else "unknown"
