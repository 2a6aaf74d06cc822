"""Processes as Linux shows them under /proc."""

from __future__ import annotations

from pathlib import Path


def children(pid: int) -> list[int]:
    """The workers of a supervisor; the process itself where it has none."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()] or [pid]


def resident(pid: int) -> int:
    """A process's resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
