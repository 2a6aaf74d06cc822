"""A job's stream, where the client's hand is the test's: one that reads slowly, and one that may no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.app import Composition
from gateway.errors import CacheUnavailable
from gateway.jobs.asker import JobAsker
from gateway.jobs.drivers import Kind
from gateway.jobs.job import Job, Standing, State, wanting
from gateway.jobs.runner import JobRunner
from gateway.jobs.store import JobLimits
from gateway.lifecycle import Lifecycle
from gateway.redis import Clock
from gateway.settings import Settings
from gateway.tenants.registry import open_registry

TARGETS = [f"/../{number}" for number in range(300)]
"""Refused, so that nothing is asked."""


@dataclass
class Client:
    """One request, of whose answer a piece is taken only when there is a permit for it."""

    permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    pieces: list[bytes] = field(default_factory=list)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    asked: bool = False

    async def receive(self) -> MutableMapping[str, Any]:
        if self.asked:
            await asyncio.Event().wait()
        self.asked = True
        return {"type": "http.request", "body": json.dumps({"targets": TARGETS}).encode(), "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.headers = dict(message["headers"])
            return
        await self.permits.acquire()
        self.pieces.append(message["body"])

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.pieces).splitlines()]


@dataclass
class Door:
    """The public app, and the key of its one tenant."""

    parts: Composition
    app: Any
    key: bytes
    registry: Any

    async def batch(self, client: Client) -> None:
        place = {"path": "/-/batch", "raw_path": b"/-/batch", "query_string": b"", "scheme": "http"}
        headers = [(b"host", b"gateway"), (b"x-api-key", self.key), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "http_version": "1.1", "headers": headers, **place}
        await self.app(scope | {"server": ("127.0.0.1", 80)}, client.receive, client.send)

    async def ended(self) -> State:
        """The state in which the tenant's one job ends."""
        async with asyncio.timeout(20):
            while True:
                jobs = await self.parts.runner.store.of("lib")
                if jobs and jobs[0][1].state.is_over:
                    return jobs[0][1].state
                await asyncio.sleep(0)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    settings = Settings(registry=str(tmp_path / "tenants.toml"), upstream="http://127.0.0.1:1")
    registry = open_registry(settings)
    registry.add("lib", "lib")
    key = registry.add_key("lib").encode()
    parts = Composition(settings, Clock())
    app = parts.public()
    async with app.router.lifespan_context(app):
        yield Door(parts, app, key, registry)


async def test_a_client_that_reads_slowly_slows_its_own_stream_and_not_its_job(door: Door) -> None:
    client = Client()
    streaming = asyncio.create_task(door.batch(client))
    assert await door.ended() is State.DONE
    assert client.pieces == []
    for _ in range(100):
        client.permits.release()
    await streaming
    assert [line["n"] for line in client.lines[1:-1]] == list(range(1, len(TARGETS) + 1))
    assert client.lines[-1]["end"]["answered"] == len(TARGETS)


async def test_a_stream_does_not_end_before_its_answers_because_redis_was_away(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, troubles = door.parts.runner.store, [CacheUnavailable("away")] * 2
    read = store.chunk

    async def chunk(id: str, index: int) -> bytes | None:
        if troubles:
            raise troubles.pop()
        return await read(id, index)

    monkeypatch.setattr(store, "chunk", chunk)
    client = Client()
    streaming = asyncio.create_task(door.batch(client))
    await door.ended()
    for _ in range(100):
        client.permits.release()
    await streaming
    assert [line.get("n") for line in client.lines[1:-1]] == list(range(1, len(TARGETS) + 1))
    assert troubles == []


async def test_a_stream_whose_answers_are_damaged_ends_with_a_clear_error(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chunk(id: str, index: int) -> bytes:
        return b"damaged"

    monkeypatch.setattr(door.parts.runner.store, "chunk", chunk)
    client = Client(asyncio.Semaphore(100))
    await door.batch(client)
    assert client.lines[-1] == {
        "error": {"message": "what the job keeps cannot be read", "code": "GatewayCacheUnavailable"}
    }


async def test_a_client_that_may_no_more_gets_nothing_further(door: Door) -> None:
    client = Client()
    streaming = asyncio.create_task(door.batch(client))
    await door.ended()
    client.permits.release()
    door.registry.change("lib", enabled=False)
    async with asyncio.timeout(20):
        while door.parts.registry.directory.tenants["lib"].enabled:
            await asyncio.sleep(0.01)
    for _ in range(100):
        client.permits.release()
    await streaming
    assert [*client.lines[-1]] == ["error"]
    assert client.lines[-1]["error"]["code"] == "GatewayUnauthenticated"
    assert len(client.lines) < len(TARGETS)


def endless(door: Door) -> JobRunner:
    """A runner of jobs that never end by themselves."""

    async def drive(wants: bytes, asker: JobAsker) -> None:
        await asyncio.Event().wait()

    parts = door.parts.runner
    return JobRunner(parts.store, parts.means, {"endless": Kind(drive)}, Lifecycle())


async def test_a_job_that_was_ended_takes_no_place_though_its_leader_counted_it_meanwhile(door: Door) -> None:
    store, runner = door.parts.runner.store, endless(door)
    store._limits = JobLimits(jobs=1, bytes=1_000)
    job = Job("j1", "lib", "endless", 1, 5.0)
    await runner.order(job, wanting(["/a"]))
    await store.cancel(job, Standing())
    await store.count(job, Standing())
    await asyncio.wait([led.task for led in runner._led.values()])
    await runner.order(structs.replace(job, id="j2"), wanting(["/a"]))
    await runner.stop()


async def test_a_job_that_is_continued_twice_at_once_is_continued_once_and_nobody_waits_for_its_end(
    door: Door,
) -> None:
    parts, runner = door.parts.runner, endless(door)
    job, paused = Job("j1", "lib", "endless", 1, 5.0), Standing(State.PAUSED)
    await parts.store.create(job, wanting(["/a"]), "former")
    await parts.store.keep(job, "former", paused, {})
    async with asyncio.timeout(20):
        continued = await asyncio.gather(runner.resume(job, paused), runner.resume(job, paused))
    assert sorted(continued) == [False, True]
    async with asyncio.timeout(20):
        assert not await runner.resume(job, paused)
    await runner.stop()
