"""What a batch of 20,000 stored answers costs one process: processor, memory, and the event loop's time."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.app import Composition
from gateway.cache.entry import Entry
from gateway.jobs.wanted import MOST_TARGETS
from gateway.proxy.callers import Requester
from gateway.redis import Clock, invoke_all
from gateway.server.process import UNCOLLECTED
from gateway.settings import Settings
from gateway.tenants.registry import open_registry
from gateway.tenants.tenant import Pair
from tests.redis_server import RedisServer

pytestmark = pytest.mark.serial

RATE = 5_000
MEMORY = 64 * 1024
"""KiB above what the process has when it is idle."""
LONGEST = 0.020
JSON = (b"content-type", b"application/json; charset=UTF-8")


def entry(key: str, number: int, now: float) -> Entry:
    """A total, fresh for an hour."""
    later = (now + 3_600, now + 7_200, now + 7_200)
    body = b'{"totals": %d}' % number
    return Entry(key, 200, [JSON], body, b'"t"', now, now, *later, now, now + 7_200, rule="totals")


async def fill(composition: Composition) -> None:
    """Has Redis hold an answer to each target."""
    tenant, now = composition.registry.directory.tenants["lib"], time.time()
    for first in range(0, MOST_TARGETS, 500):
        calls = []
        for number in range(first, first + 500):
            query = composition.profile.recognise(b"/lboro/total/views/article/%d" % number, b"")
            lookup = composition.resolver.lookup(Requester(b"fill", tenant), query, [])
            calls.append(composition.store.put(entry(lookup.key.entry, number, now), now))
        await invoke_all(composition.redis, calls)
    composition.store.near.clear()


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    """The collector is as it was, after the test."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def as_in_a_service() -> None:
    """Has the collector leave alone what was there from the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(UNCOLLECTED)


def resident() -> int:
    """The most memory that this process had so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Watch:
    """How long the event loop was held at most, in seconds of the processor. It keeps that busy all the time."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.thread_time()
        self._loop = asyncio.get_running_loop()
        self._turn()

    def _turn(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self._loop.call_soon(self._turn)


async def batch(app: Any, key: str) -> int:
    """Orders a batch of all targets by ASGI; the number of its lines."""
    body = json.dumps({"template": "/lboro/total/views/article/{id}", "id": list(range(MOST_TARGETS))}).encode()
    asked, lines = False, 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal lines
        lines += message.get("body", b"").count(b"\n")

    headers = [(b"host", b"gateway"), (b"x-api-key", key.encode()), (b"content-type", b"application/json")]
    place = {"path": "/-/batch", "raw_path": b"/-/batch", "query_string": b"", "server": ("127.0.0.1", 80)}
    await app(
        {"type": "http", "method": "POST", "http_version": "1.1", "headers": headers, "scheme": "http", **place},
        receive,
        send,
    )
    return lines


async def test_20_000_stored_answers_cost_little(shared_redis: RedisServer, prefix: str, tmp_path: Path) -> None:
    place = {
        "redis_url": SecretStr(shared_redis.url),
        "redis_prefix": prefix,
        "registry": str(tmp_path / "t.toml"),
    }
    settings = Settings(**place, upstream="http://127.0.0.1:1")  # type: ignore[arg-type]
    registry = open_registry(settings)
    registry.add("lib", "lib", Pair("lboro", "lboro", "secret"))
    key = registry.add_key("lib")
    composition = Composition(settings, Clock())
    app = composition.public()
    async with app.router.lifespan_context(app):
        await fill(composition)
        as_in_a_service()
        idle, began = resident(), time.process_time()
        lines = await batch(app, key)
        seconds, peak = time.process_time() - began, resident()
        composition.store.near.clear()
        watch = Watch()
        await batch(app, key)
        held = watch.longest
    print(f"\n{MOST_TARGETS / seconds:.0f} a second, {(peak - idle) / 1024:.0f} MiB, loop {held * 1e3:.1f} ms")
    assert lines == MOST_TARGETS + 2
    assert MOST_TARGETS / seconds >= RATE
    assert peak - idle <= MEMORY
    assert held <= LONGEST
