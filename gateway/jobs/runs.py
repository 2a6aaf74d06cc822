"""Runs: what became of each run of a scheduled warming, in Redis or in the embedded one, for the whole fleet.

Each warming has one hash, by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from gateway.jobs.schedule import Scheduled
from gateway.redis import Client, Invocation, Script, ignored, invoke, text

BEGIN = Script.load("gateway.jobs.lua", "begin.lua")
SETTLE = Script.load("gateway.jobs.lua", "settle.lua")

LEASE_SECONDS = 60.0
"""In which a process that begins a run has done so; after that another process does."""
LIFE = 100 * 86_400
"""Seconds for which it is known that a warming exists, after it was last looked at."""


class Verdict(Enum):
    """What a process is to do about a run: begin it; say that the fleet has missed it; wait, since another process
    begins it now; or nothing, since another one did."""

    BEGIN = b"begin"
    MISSED = b"missed"
    WAIT = b"wait"
    SETTLED = b"settled"


class Turn(NamedTuple):
    """The verdict on a run, and the id of the job of the run before; empty where there is none."""

    verdict: Verdict
    before: str = ""


class Runs:
    """Every method raises CacheUnavailable while Redis does not answer. Times are in Unix seconds."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<Runs {self._prefix}:warming:…>"

    async def turn(self, entry: Scheduled, due: float, *, since: float, late: bool) -> Turn:
        """Whose turn a run is that was due. The caller knows the schedule ``since`` then: what was due before
        anybody knew it is none. ``late``: it is too long ago to begin it now."""
        args = (entry.mark, int(due), int(since), int(late), int(LEASE_SECONDS * 1_000), LIFE * 1_000)
        return await invoke(self._client, Invocation(BEGIN, self._key(entry), args), _turn)

    async def settle(self, entry: Scheduled, due: float, became: str, job: str = "") -> None:
        """Note what became of a run, and the id of its job where it has one."""
        args = (entry.mark, int(due), became, job, LIFE * 1_000)
        await invoke(self._client, Invocation(SETTLE, self._key(entry), args), ignored)

    def _key(self, entry: Scheduled) -> str:
        return f"{self._prefix}:warming:{entry.name}"


def _turn(reply: Sequence[object]) -> Turn:
    verdict, before = reply
    return Turn(Verdict(verdict), (text(before) or b"").decode())
