"""The life of the parts begins once, whoever begins it, and ends with whatever it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import NotStarted
from gateway.lifecycle import Life


class Parts:
    """Counts its starts and ends; starts when it may, and fails if it is to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.may = asyncio.Event()
        self.fails = fails
        self.starts = self.ends = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.starts += 1
        await self.may.wait()
        if self.fails:
            raise OSError("no such thing")
        try:
            yield
        finally:
            self.ends += 1


async def test_many_first_requests_begin_it_once_and_all_wait_for_it() -> None:
    parts = Parts()
    life = Life(parts.running)
    waiting = [asyncio.create_task(life.begun()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # its client has gone
    parts.may.set()
    await asyncio.gather(*waiting[1:])
    await life.begun()
    assert (parts.starts, parts.ends) == (1, 0)


async def test_a_server_that_knows_of_lifespans_begins_and_ends_it() -> None:
    parts = Parts()
    parts.may.set()
    life = Life(parts.running)
    async with life.lifespan(None):
        await life.begun()
        assert (parts.starts, parts.ends) == (1, 0)
    assert (parts.starts, parts.ends) == (1, 1)


async def test_a_request_does_not_wait_for_ever_and_the_next_finds_it_begun() -> None:
    parts = Parts()
    life = Life(parts.running, patience=0.05)
    with pytest.raises(NotStarted, match="is starting"):
        await life.begun()
    parts.may.set()
    await life.begun()
    assert parts.starts == 1


async def test_a_start_that_fails_is_told_of_to_each_request_and_raised_in_a_lifespan() -> None:
    parts = Parts(fails=True)
    parts.may.set()
    life = Life(parts.running)
    for _ in range(2):
        with pytest.raises(NotStarted, match="OSError"):
            await life.begun()
    assert parts.starts == 1
    with pytest.raises(OSError, match="no such thing"):
        async with Life(parts.running).lifespan(None):
            pass


@pytest.mark.parametrize("ending", ["the loop's tasks are cancelled", "the process exits"])
def test_where_no_lifespan_is_run_it_ends_with_the_loop(ending: str) -> None:
    loop, made = asyncio.new_event_loop(), []

    async def serve() -> None:
        parts = Parts()
        parts.may.set()
        made.append((parts, Life(parts.running)))
        await made[0][1].begun()

    loop.run_until_complete(serve())
    (parts, life) = made[0]
    if ending == "the process exits":
        life._end_at_exit(loop)
    else:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
    assert (parts.starts, parts.ends) == (1, 1)
    loop.close()
    life._end_at_exit(loop)  # there is nothing left to do
