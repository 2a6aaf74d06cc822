"""JobLog: what a job keeps, as the process that leads it knows it, and writes it to the store.

Answers are written together, as many as came while the last ones were written. A call's answer is written before
the job goes on from it, so that a process that ends repeats no more than the calls that were outstanding.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable

import structlog
from msgspec import structs

from gateway.errors import CacheUnavailable
from gateway.jobs.job import Chunk, Job, Kept, Look, Plan, Standing, State, chunk_of, encoded
from gateway.jobs.store import JobStore
from gateway.upstream.tasks import jittered

BACKLOG = 1_024
BACKLOG_BYTES = 4 * 1024 * 1024
"""Answers that may wait to be written, and their bytes, before the job waits for them."""
AT_ONCE = 64 * 1024
"""Bytes that are compressed on the event loop."""
RETRY_SECONDS = 1.0

log = structlog.get_logger("gateway")


class JobLog:
    """Of one job that this process leads under a ``token``: what it wants, how far it is, what it keeps.

    ``progressed`` is set, and replaced, whenever something was written. What a former leader kept is handed out
    once more, in its order, by ``replayed`` and ``looked``.
    """

    def __init__(self, store: JobStore, job: Job, wants: bytes, token: str, standing: Standing) -> None:
        self.job = job
        self.wants = wants
        self.standing = standing
        self.progressed = asyncio.Event()
        self._store = store
        self._token = token
        self._chunks: list[bytes] = []  # as Redis has them, should it forget them
        self._last = Chunk()  # the decoded last one
        self._new: list[Kept | Look] = []
        self._new_bytes = 0
        self._dirty = asyncio.Event()
        self._written = asyncio.Event()  # once what is new now is
        self._closing = False
        self._answers: dict[tuple[str, float | None], deque[Kept]] = defaultdict(deque)
        self._looks: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"<JobLog {self.job.id} of {self.job.tenant}, {self.standing.answered} answers>"

    async def read(self, *, bodies: bool) -> None:
        """Read what a former leader kept; without ``bodies`` where the driver has no use for them."""
        for index in range(len(self.standing.chunks)):
            data = await self._read(index)
            self._chunks.append(data)
            chunk = self._last = await asyncio.to_thread(chunk_of, data)
            self._looks |= {look.number: look.found for look in chunk.looks}
            for kept in chunk.answers:
                remembered = kept if bodies else structs.replace(kept, body=b"")
                self._answers[kept.target, kept.since].append(remembered)

    async def _read(self, index: int) -> bytes:
        """A chunk, once Redis hands it out."""
        while True:
            try:
                data = await self._store.chunk(self.job.id, index)
            except CacheUnavailable:
                await asyncio.sleep(jittered(RETRY_SECONDS))
                continue
            if data is None:
                raise LookupError(f"chunk {index} is missing")
            return data

    def replayed(self, target: str, since: float | None) -> Kept | None:
        """The next answer to this very question that a former leader kept, if any."""
        answers = self._answers.get((target, since))
        return answers.popleft() if answers else None

    def looked(self, number: int) -> str | None:
        """What a former leader found at this look, if it did."""
        return self._looks.get(number)

    def plan(self, plan: Plan) -> None:
        """Note what the job will take."""
        self.standing.plan, self.standing.calls_left = plan, plan.calls
        self._dirty.set()

    async def add(self, kept: Iterable[Kept | Look], *, durable: bool = False) -> None:
        """Keep these; return once they are written where that has to be (``durable``), or too many wait."""
        for each in kept:
            self._new.append(each)
            self._new_bytes += len(each.body) if isinstance(each, Kept) else 0
        self._dirty.set()
        if durable or len(self._new) > BACKLOG or self._new_bytes > BACKLOG_BYTES:
            await self._written.wait()

    def touch(self) -> None:
        """Have the standing written, which shows whether this process still leads the job."""
        self._dirty.set()

    async def run(self) -> None:
        """Write what is new until closed, and then once more. Raises Ended."""
        while not self._closing:
            await self._dirty.wait()
            await self._write()
        if self._dirty.is_set():  # closed while the last was written
            await self._write()

    def close(self, state: State = State.RUNNING, why: str = "", *, now: float = 0.0) -> None:
        """Have the last be written: the job has ended, pauses, or is left to another process."""
        self.standing.state, self.standing.why, self.standing.ended = state, why, now
        self._closing = True
        self._dirty.set()

    async def _write(self) -> None:
        self._dirty.clear()
        new, self._new, self._new_bytes = self._new, [], 0
        written, self._written = self._written, asyncio.Event()
        changed = await self._chunked(new)
        await self._keep(changed)
        written.set()
        progressed, self.progressed = self.progressed, asyncio.Event()
        progressed.set()

    async def _chunked(self, new: list[Kept | Look]) -> dict[int, bytes]:
        """Add what is new to the last chunk and to further ones; those that changed, by number."""
        standing, changed = self.standing, dict[int, Chunk]()
        for each in new:
            if self._last.is_full or not standing.chunks:
                self._last = Chunk([], [])
                standing.chunks.append(0)
            self._last.add(each)
            changed[len(standing.chunks) - 1] = self._last
            if isinstance(each, Kept):
                standing.chunks[-1] += 1
                standing.count(each)
        return {index: await self._encoded(index, chunk) for index, chunk in changed.items()}

    async def _encoded(self, index: int, chunk: Chunk) -> bytes:
        data = encoded(chunk) if chunk.size < AT_ONCE else await asyncio.to_thread(encoded, chunk)
        before = len(self._chunks[index]) if index < len(self._chunks) else 0
        self._chunks[index:] = [data]
        self.standing.bytes += len(data) - before
        return data

    async def _keep(self, changed: dict[int, bytes]) -> None:
        """Write these chunks, or all, once Redis takes them. Raises Ended."""
        while True:
            try:
                if not await self._store.keep(self.job, self._token, self.standing, changed):
                    log.warning("job_restored", job=self.job.id, reason="Redis has forgotten it")
                    await self._store.restore(self.job, self.wants, self._token, self.standing, self._chunks)
            except CacheUnavailable:
                await asyncio.sleep(jittered(RETRY_SECONDS))
            else:
                return
