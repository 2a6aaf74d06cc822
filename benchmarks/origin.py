"""Origin: what stands for the service while others are measured: quick, and it counts.

An ASGI app for uvicorn. ``GET /-/calls`` tells how often it was asked since the last ``DELETE /-/calls``; what is
posted to ``/-/traces`` is taken and forgotten, as by a collector of spans. All else is answered with a timeline of
a month and its total, with an entity tag, after ``ORIGIN_LATENCY`` seconds. The sandbox knows more, and takes
longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from zlib import crc32

from benchmarks.contenders.process import answers, await_ready, spawned
from tests.redis_server import free_port

LATENCY = "ORIGIN_LATENCY"
CALLS = b"/-/calls"
TRACES = "/-/traces"
DAYS = 31


def body_of(target: str) -> bytes:
    """The answer to a target, of one size for timelines and totals: a number for each day of a month, others for
    others."""
    number = crc32(target.encode()) % 9_000 + 1_000
    days = {f"2014-01-{day + 1:02}": number + day for day in range(DAYS)}
    return json.dumps({"timeline": days, "totals": number}).encode()


class Origin:
    """The app; ``latency`` in seconds."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            return
        if scope["raw_path"] == CALLS:
            if scope["method"] == "DELETE":
                self.calls = 0
            await _answer(send, b"%d" % self.calls)
            return
        if scope["raw_path"] == TRACES.encode():
            while (await receive()).get("more_body", False):
                pass
            await _answer(send, b"")
            return
        self.calls += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        query = scope["query_string"]
        await _answer(send, body_of(f"{scope['raw_path'].decode()}?{query.decode()}"))


async def _answer(send: Any, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json; charset=UTF-8"),
        (b"content-length", b"%d" % len(body)),
        (b"etag", b'"%08x"' % crc32(body)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def app() -> Origin:
    """What uvicorn runs."""
    return Origin(float(os.environ.get(LATENCY, "0")))


@dataclass(frozen=True, slots=True)
class OriginProcess:
    """An origin that runs on ``port``."""

    port: int

    def calls(self) -> int:
        """How often it was asked since it was last reset."""
        return int(self._ask("GET"))

    def reset(self) -> None:
        """Starts counting again."""
        self._ask("DELETE")

    def _ask(self, method: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, CALLS.decode())
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def origin(folder: Path, latency: float = 0.0) -> Iterator[OriginProcess]:
    """Runs one, where its caller runs."""
    port = free_port()
    words = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.origin:app", "--port", str(port)]
    words += ["--no-access-log", "--log-level", "warning", "--backlog", "16384", "--timeout-keep-alive", "75"]
    log = folder / f"origin-{port}.log"
    with spawned(words, log, environment=os.environ | {LATENCY: str(latency)}) as process:
        await_ready(process, log, answers(port, CALLS.decode()))
        yield OriginProcess(port)
