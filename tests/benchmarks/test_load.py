"""What makes load asks as often as it says, and tells the truth of what it was answered."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.cases import FRESH
from benchmarks.load import WARMING_SECONDS, Generator, Load, LoadFailed, lacks

RATE, SECONDS, STALL = 400.0, 1.0, 0.5
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
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


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator.compiled(tmp_path_factory.mktemp("load"))


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Two heads, one of which is never the same."""
    path = tmp_path / "heads"
    rest = "Host: any.example\r\nX-API-Key: a-key\r\n\r\n"
    path.write_text(f"GET /one HTTP/1.1\r\n{rest}GET /two?a=1 HTTP/1.1\r\nX-Request-ID: {FRESH}-{FRESH}\r\n{rest}")
    return path


async def asked_steadily(server: Server, generator: Generator, heads: Path) -> Load:
    return await asyncio.to_thread(generator.steady, server.port, heads, RATE, SECONDS)


async def saturated(server: Server, generator: Generator, heads: Path) -> Load:
    return await asyncio.to_thread(generator.saturating, server.port, heads, 0.3, 8)


def assert_heads_in_turn(asked: list[str]) -> None:
    """Both heads were sent, one as it is, the other with other digits each time."""
    targets = Counter(head.split()[1] for head in asked)
    assert set(targets) == {"/one", "/two?a=1"}
    assert abs(targets["/one"] - targets["/two?a=1"]) <= 1
    assert all("\r\nX-API-Key: a-key\r\n" in head for head in asked)
    ids = [digits for head in asked for digits in re.findall("[0-9a-f]{8}(?=[-\r])", head)]
    assert len(set(ids)) == len(ids) == 2 * targets["/two?a=1"]


async def test_a_steady_load_sends_heads_in_turn_no_fresh_one_twice(generator: Generator, heads: Path) -> None:
    async with serving() as server:
        found = await asked_steadily(server, generator, heads)
    assert found.per_second == pytest.approx(RATE, rel=0.2)
    assert len(server.asked) > RATE * SECONDS
    assert_heads_in_turn(server.asked)


async def test_as_many_requests_as_are_answered_are_sent_and_counted(generator: Generator, heads: Path) -> None:
    async with serving() as server:
        found = await saturated(server, generator, heads)
    assert len(server.asked) == found.answers > 8
    assert found.unchanged == 0
    assert 0 < found.p50 <= found.p99
    assert_heads_in_turn(server.asked)


async def test_an_answer_without_content_is_an_answer(generator: Generator, heads: Path) -> None:
    async with serving(UNCHANGED) as server:
        found = await saturated(server, generator, heads)
    assert found.unchanged == found.answers == len(server.asked)


async def test_a_steady_load_does_not_wait_for_a_server_that_stalls_and_counts_the_wait(
    generator: Generator, heads: Path
) -> None:
    async with serving() as server:
        unhurried = await asked_steadily(server, generator, heads)
        server.held.clear()
        asyncio.get_running_loop().call_later(WARMING_SECONDS + STALL * 2, server.held.set)
        stalled = await asked_steadily(server, generator, heads)
    assert stalled.per_second == unhurried.per_second, "arrivals are the same whatever the answers"
    assert stalled.p99 > STALL * 1e6 / 2


async def test_other_answers_are_a_failure(generator: Generator, heads: Path) -> None:
    async with serving(MISSING) as server:
        with pytest.raises(LoadFailed, match="were neither 200 nor 304"):
            await asked_steadily(server, generator, heads)
        with pytest.raises(LoadFailed, match="were neither 200 nor 304"):
            await saturated(server, generator, heads)


async def test_a_load_on_nobody_is_a_failure(generator: Generator, heads: Path) -> None:
    async with serving() as server:
        pass
    with pytest.raises(LoadFailed, match="Connection refused"):
        await asked_steadily(server, generator, heads)
