"""A fleet of processes that press one limit, while somebody does something to their Redis."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec.structs import asdict

from gateway.tenants.tenant import TenantLimits
from tests.tenants.limits.member import Tally

MEMBER = Path(__file__).with_name("member.py")
Event = tuple[float, Callable[[], object]]
"""Seconds after the start, and what happens then."""


def pressed(
    url: str,
    prefix: str,
    limits: TenantLimits,
    fleet: int,
    seconds: float,
    events: Sequence[Event] = (),
    callers: int = 1,
) -> list[Tally]:
    """What each of so many processes got, for so many callers."""
    words = [url, prefix, json.dumps(asdict(limits)), str(fleet), str(seconds), str(callers)]
    with ExitStack() as stack:
        members = [stack.enter_context(started(words)) for _ in range(fleet)]
        for member in members:
            assert member.stdout is not None
            assert member.stdout.readline() == "ready\n"
        for member in members:
            assert member.stdin is not None
            member.stdin.write("go\n")
            member.stdin.flush()
        troubles = threading.Thread(target=happen, args=(events,))
        troubles.start()
        tallies = [Tally(**json.loads(member.communicate(timeout=seconds + 60)[0])) for member in members]
        troubles.join()
        return tallies


def started(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(MEMBER), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def happen(events: Sequence[Event]) -> None:
    begun = time.monotonic()
    for after, act in events:
        time.sleep(max(0.0, begun + after - time.monotonic()))
        act()
