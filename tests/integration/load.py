"""A steady load on one gateway: some hot targets, some that nobody has asked for, at a bounded rate."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

REQUEST_SECONDS = 10.0
"""No request may take longer, whatever breaks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to; status 0 where there was no answer at all."""

    target: str
    status: int
    seconds: float
    source: str = ""
    body: bytes = b""
    etag: str = ""


class Connection:
    """A client's keep-alive connection; one that broke is made anew with the next request."""

    def __init__(self, port: int, key: str = "") -> None:
        self._port = port
        self._headers = f"\r\nHost: 127.0.0.1:{port}\r\n" + (f"X-API-Key: {key}\r\n" if key else "") + "\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, target: str) -> Answer:
        """One GET; never raises but when cancelled."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                status, headers, body = await self._exchange(target)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.close()
            return Answer(target, 0, time.monotonic() - begun, repr(error))
        seconds = time.monotonic() - begun
        return Answer(target, status, seconds, headers.get("cache-status", ""), body, headers.get("etag", ""))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, target: str) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET {target} HTTP/1.1{self._headers}".encode())
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(first.split()[1]), headers, body


@dataclass
class Load:
    """``rate`` requests a second from ``clients`` connections; a ``miss`` share of them for new targets."""

    port: int
    key: str
    hot: list[str]
    fresh: Callable[[int], str]
    rate: float = 80.0
    clients: int = 20
    miss: float = 0.1
    answers: list[Answer] = field(default_factory=list)
    _numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Runs until the block ends; then each client finishes its request."""
        over = asyncio.Event()
        tasks = [asyncio.create_task(self._client(random.Random(i), over)) for i in range(self.clients)]
        try:
            yield self
        finally:
            over.set()
            await asyncio.gather(*tasks)

    @property
    def failures(self) -> list[Answer]:
        """All answers but 200."""
        return [answer for answer in self.answers if answer.status != 200]

    @property
    def fetched(self) -> set[str]:
        """The new targets that were answered."""
        return {a.target for a in self.answers if a.status == 200} - set(self.hot)

    def statuses(self) -> dict[int, int]:
        return dict(Counter(answer.status for answer in self.answers))

    def quantile(self, share: float) -> float:
        """Seconds that this share of the requests took at most."""
        times = sorted(answer.seconds for answer in self.answers) or [0.0]
        return times[min(len(times) - 1, int(share * len(times)))]

    async def _client(self, dice: random.Random, over: asyncio.Event) -> None:
        connection = Connection(self.port, self.key)
        numbers = iter(self._numbers)
        try:
            while not over.is_set():
                target = self.fresh(next(numbers)) if dice.random() < self.miss else dice.choice(self.hot)
                self.answers.append(await connection.get(target))
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), dice.uniform(0.5, 1.5) * self.clients / self.rate)
        finally:
            connection.close()
