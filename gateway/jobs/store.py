"""JobStore: jobs and what they keep, in Redis or in the embedded one of ``memory://``, for the whole fleet.

Each job is one hash, with a token of the process that leads it, which alone writes to it. What Redis has forgotten
of it, or of the lists that it is in, the leader writes anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import msgspec

from gateway.cache.entry import CodingError
from gateway.errors import TooManyJobs
from gateway.jobs.asking import Ended
from gateway.jobs.job import Job, Standing, State, encoded, job_of, standing_of
from gateway.redis import Argument, Client, Invocation, Script, execute, flag, ignored, invoke, text

T = TypeVar("T")

KEEPS = Script.load("gateway.jobs.lua", "keep.lua")
TAKE = Script.load("gateway.jobs.lua", "take.lua")
RESUME = Script.load("gateway.jobs.lua", "resume.lua")
CANCEL = Script.load("gateway.jobs.lua", "cancel.lua")
LIST = Script.load("gateway.jobs.lua", "list.lua")
CLAIM = Script.load("gateway.jobs.lua", "claim.lua")
LEASE = Script.load("gateway.jobs.lua", "lease.lua")
ADMIT = Script.load("gateway.jobs.lua", "admit.lua")

LIFE = 86_400.0
"""Seconds for which a job is kept after it last made progress."""
LEASE_SECONDS = 6.0
"""After which another process carries on with a job whose leader is silent."""
NEW_SECONDS = 60
"""For which a new job counts until its leader counts it again: one that could not be kept soon takes no place."""
NOTICED = 600.0
"""Within which whoever led a job has noticed that it was ended, Redis being slow or away meanwhile."""
AT_ONCE = 64
"""Chunks that one command writes."""
MOST_KEPT = 100
"""Jobs of a tenant that are kept, those that have ended among them."""
MOST_LISTED = 2_000
"""Jobs of all tenants that are listed."""
LISTED_LIFE = 30 * LIFE
"""Seconds for which they are listed, if they are kept so long: one that a small budget slows runs for days."""
READ_AT_ONCE = 64
"""Jobs that are read at once for a list."""


class JobLimits(NamedTuple):
    """How many jobs of one tenant may run or pause at once, and the bytes that its jobs may keep."""

    jobs: int
    bytes: int


class JobStore:
    """Every method raises CacheUnavailable while Redis does not answer."""

    def __init__(self, client: Client, prefix: str, limits: JobLimits) -> None:
        self._client = client
        self._prefix = prefix
        self._limits = limits
        self._open = f"{prefix}:jobs:open"
        self._all = f"{prefix}:jobs:all"

    def __repr__(self) -> str:
        return f"<JobStore {self._open}>"

    # For the leader

    async def create(self, job: Job, wants: bytes, token: str) -> None:
        """Keep a new job, led by the caller. Raises TooManyJobs."""
        await self.count(job, Standing(), new=True)
        await self.restore(job, wants, token, Standing(), [])
        listed = Invocation(LIST, self._all, (job.id, int(LISTED_LIFE * 1_000), MOST_LISTED))
        await invoke(self._client, listed, ignored)
        await self.lease(job.id)

    async def restore(
        self, job: Job, wants: bytes, token: str, standing: Standing, chunks: Sequence[bytes]
    ) -> None:
        """Write a job whole that Redis has not, or has forgotten. Raises Ended."""
        numbered = list(enumerate(chunks))
        for first in range(
            0, len(numbered), AT_ONCE
        ):  # what is counted and not there yet has only to be waited for
            await self.keep(job, token, standing, dict(numbered[first : first + AT_ONCE]), wants=wants)
        if not numbered:
            await self.keep(job, token, standing, {}, wants=wants)

    async def keep(
        self, job: Job, token: str, standing: Standing, chunks: Mapping[int, bytes], *, wants: bytes = b""
    ) -> bool:
        """Keep what is new of a job; False where Redis has forgotten it, unless what it ``wants`` is written too.
        Raises Ended where the caller does not lead it any more."""
        fields: list[Argument] = ["standing", encoded(standing)]
        if wants:
            fields += ["job", encoded(job), "wants", wants]
        for index, chunk in chunks.items():
            fields += [str(index), chunk]
        args = (token, int(LIFE * 1_000), int(bool(wants)), standing.state.value, *fields)
        done = await invoke(self._client, Invocation(KEEPS, self._key(job.id), args), Writing)
        if done is Writing.ENDED:
            raise Ended
        return done is Writing.KEPT

    async def count(self, job: Job, standing: Standing, *, new: bool = False) -> bool:
        """Count a job within its tenant's bounds, in which ended ones give way; whether there is room for it.
        Raises TooManyJobs for a ``new`` one."""
        counted = (job.id, int(not standing.state.is_over), standing.bytes, int(LIFE))
        bounds = (self._limits.jobs, MOST_KEPT, self._limits.bytes, NEW_SECONDS if new else 0)
        admit = Invocation(ADMIT, self._of(job.tenant), (*counted, *bounds))
        fits, dropped = await invoke(self._client, admit, _admitted)
        for each in dropped:
            await execute(self._client, ignored, "DEL", self._key(each))
        if new and not fits:
            raise TooManyJobs(
                f"This tenant has {self._limits.jobs} jobs that have not ended, as many as it may, or they keep "
                "too much. Wait, or end one: DELETE /-/jobs/{id}"
            )
        return fits

    async def lease(self, id: str, seconds: float = LEASE_SECONDS) -> None:
        """Lead a job for so many seconds more; for none, so that another process takes it at once."""
        args = (id, int(seconds * 1_000), int(LIFE * 1_000))
        await invoke(self._client, Invocation(LEASE, self._open, args), ignored)

    async def settle(self, job: Job) -> None:
        """Take a job from those to be led, and count it as what it is now, where somebody else has ended it."""
        found = await self.find(job.id)
        if found is None:
            await execute(self._client, ignored, "HDEL", self._of(job.tenant), job.id)
        elif found[1].state.is_over:
            await self.release(job.id)
            await self.count(*found)

    async def release(self, id: str) -> None:
        """Take a job that has ended or pauses from those to be led."""
        await execute(self._client, ignored, "ZREM", self._open, id)

    async def claim(self) -> str | None:
        """The id of a running job that nobody leads, for the caller to ``take``."""
        claim = Invocation(CLAIM, self._open, (int(LEASE_SECONDS * 1_000),))
        return await invoke(self._client, claim, lambda found: None if text(found) is None else found.decode())

    async def take(self, id: str, token: str) -> bool:
        """Lead a job from now on, whoever led it before; False where it does not run any more."""
        return await invoke(self._client, Invocation(TAKE, self._key(id), (token, int(LIFE * 1_000))), flag)

    async def resume(self, job: Job, token: str) -> bool:
        """Lead a paused job from now on, as it is now ordered; False where it does not pause any more."""
        await self.lease(job.id)
        args = (token, int(LIFE * 1_000), encoded(job))
        return await invoke(self._client, Invocation(RESUME, self._key(job.id), args), flag)

    # For everyone

    async def find(self, id: str) -> tuple[Job, Standing] | None:
        """A job and how far it is; None where there is none."""
        return await execute(self._client, _found, "HMGET", self._key(id), "job", "state", "standing")

    async def standing(self, id: str) -> Standing | None:
        """How far a job is; None where there is none."""
        return await execute(self._client, _standing, "HMGET", self._key(id), "state", "standing")

    async def chunk(self, id: str, index: int) -> bytes | None:
        """A chunk of what a job keeps."""
        return await self._field(id, str(index))

    async def wants(self, id: str) -> bytes | None:
        """What a job wants."""
        return await self._field(id, "wants")

    async def of(self, tenant: str) -> list[tuple[Job, Standing]]:
        """A tenant's jobs, the newest first."""
        ids = await execute(self._client, _names, "HKEYS", self._of(tenant))
        found = await asyncio.gather(*map(self.find, ids))
        return sorted([each for each in found if each is not None], key=lambda each: -each[0].created)

    async def newest(self, most: int, tenant: str | None = None) -> list[tuple[Job, Standing]]:
        """So many jobs of all tenants, or of one, that are kept, the newest first."""
        if tenant is not None:
            return (await self.of(tenant))[:most]
        found: list[tuple[Job, Standing]] = []
        for first in range(0, MOST_LISTED, READ_AT_ONCE):
            last = first + READ_AT_ONCE - 1
            ids = await execute(self._client, _names, "ZREVRANGE", self._all, str(first), str(last))
            read = await asyncio.gather(*map(self.find, ids))
            found += [each for each in read if each is not None]
            if len(ids) < READ_AT_ONCE or len(found) >= most:
                break
        return found[:most]

    async def cancel(self, job: Job, standing: Standing, *, forget: bool = True) -> bool:
        """End a job that runs or pauses, and say whether it did; with ``forget``, forget one that has ended."""
        cancel = Invocation(CANCEL, self._key(job.id), (int(NOTICED * 1_000), int(forget)))
        ran = await invoke(self._client, cancel, flag)
        await self.release(job.id)
        if ran:
            await self.count(job, msgspec.structs.replace(standing, state=State.CANCELLED))
        elif forget:
            await execute(self._client, ignored, "HDEL", self._of(job.tenant), job.id)
        return ran

    async def _field(self, id: str, name: str) -> bytes | None:
        return await execute(self._client, text, "HGET", self._key(id), name)

    def _key(self, id: str) -> str:
        return f"{self._prefix}:job:{id}"

    def _of(self, tenant: str) -> str:
        return f"{self._prefix}:jobs:of:{tenant}"


# Replies


class Writing(Enum):
    """What came of writing to a job."""

    KEPT = b"kept"
    GONE = b"gone"
    ENDED = b"ended"


def _admitted(reply: list[Any]) -> tuple[bool, list[str]]:
    """Whether there is room for a job, and the jobs that gave way."""
    fits, *dropped = reply
    return flag(fits), _names(dropped)


def _names(reply: list[Any]) -> list[str]:
    return [bytes.decode(each) for each in reply]


def _found(reply: list[Any]) -> tuple[Job, Standing] | None:
    job, *rest = reply
    known = _read(job_of, text(job)), _standing(rest)
    return None if known[0] is None or known[1] is None else (known[0], known[1])


def _standing(reply: list[Any]) -> Standing | None:
    """What the leader wrote last, with the state by which others may have ended it since."""
    state, data = map(text, reply)
    standing = _read(standing_of, data)
    if standing is not None and state is not None:
        standing.state = State(state.decode())
    return standing


def _read(decode: Callable[[bytes], T], data: bytes | None) -> T | None:
    """The record; None where there is none that can be read."""
    try:
        return None if data is None else decode(data)
    except (msgspec.DecodeError, CodingError, UnicodeDecodeError):
        return None
