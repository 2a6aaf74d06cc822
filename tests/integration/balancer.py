"""A TCP balancer as it stands in front of a fleet: hands connections on, and leaves those alone that it has."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

from tests.integration.load import Connection

LOOK_SECONDS = 0.1


class Balancer:
    """New connections go to each ready backend in turn."""

    def __init__(self) -> None:
        self.port = 0
        self.backends: list[int] = []
        self._ready: list[int] = []
        self._turn = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self) -> None:
        """Asks each backend whether it is ready, now and then."""
        while True:
            ready = []
            for port in list(self.backends):
                with closing(Connection(port)) as connection:
                    if (await connection.get("/-/health/ready")).status == 200:
                        ready.append(port)
            self._ready = ready
            await asyncio.sleep(LOOK_SECONDS)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._hand_on(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            ready = self._ready
            port = ready[next(self._turn) % len(ready)]
            there, back = await asyncio.open_connection("127.0.0.1", port)
            writers.append(back)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            for each in writers:
                each.close()
            with suppress(Exception):
                await asyncio.gather(*(each.wait_closed() for each in writers))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def balancing(*backends: int) -> AsyncIterator[Balancer]:
    """A balancer on a free port, once all of these are ready."""
    balancer = Balancer()
    balancer.backends = list(backends)
    server = await asyncio.start_server(balancer.accept, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    looking = asyncio.create_task(balancer.look())
    try:
        while set(balancer._ready) != set(backends):
            await asyncio.sleep(0.02)
        yield balancer
    finally:
        looking.cancel()
        server.close()
        await balancer.close()
