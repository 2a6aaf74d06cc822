"""What makes load asks as often as it says, and tells the truth of what it was answered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.load import WARMING_SECONDS, Client, Load, LoadFailed, compiled, lacks, saturating, steady

RATE, SECONDS, STALL = 400.0, 1.0, 0.5
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MISSING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def _needs_load() -> None:
    if missing := lacks():
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


class Server:
    """Answers every request alike, after ``held`` is set; remembers what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.held = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.asked.append(head)
                await self.held.wait()
                writer.write(self.answer)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


@asynccontextmanager
async def serving(answer: bytes = OK) -> AsyncIterator[Server]:
    server = Server(answer)
    server.held.set()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=256)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


async def asked_steadily(server: Server, folder: Path) -> Load:
    client = Client(server.port, "a-key", ["/one", "/two?a=1"])
    program = await asyncio.to_thread(compiled, folder)
    return await asyncio.to_thread(steady, program, client, RATE, SECONDS)


async def test_a_steady_load_takes_the_targets_in_turn_with_the_key(tmp_path: Path) -> None:
    async with serving() as server:
        found = await asked_steadily(server, tmp_path)
    assert found.per_second == pytest.approx(RATE, rel=0.2)
    assert len(server.asked) > RATE * SECONDS
    assert {head.split()[1] for head in server.asked} == {"/one", "/two?a=1"}
    assert all("\r\nX-API-Key: a-key\r\n" in head for head in server.asked)


async def test_a_steady_load_does_not_wait_for_a_server_that_stalls_and_counts_the_wait(tmp_path: Path) -> None:
    async with serving() as server:
        unhurried = await asked_steadily(server, tmp_path)
        server.held.clear()
        asyncio.get_running_loop().call_later(WARMING_SECONDS + STALL * 2, server.held.set)
        stalled = await asked_steadily(server, tmp_path)
    assert stalled.per_second == unhurried.per_second, "arrivals are the same whatever the answers"
    assert stalled.p99 > STALL * 1e6 / 2


async def test_answers_other_than_200_are_a_failure(tmp_path: Path) -> None:
    async with serving(MISSING) as server:
        with pytest.raises(LoadFailed, match="were no 200"):
            await asked_steadily(server, tmp_path)
        with pytest.raises(LoadFailed, match="were no 200"):
            await asyncio.to_thread(saturating, Client(server.port, "a-key", ["/one"]), 1.0)


async def test_a_load_on_nobody_is_a_failure(tmp_path: Path) -> None:
    async with serving() as server:
        pass
    with pytest.raises(LoadFailed, match="Connection refused"):
        await asked_steadily(server, tmp_path)
