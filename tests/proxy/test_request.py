"""A request's work goes on for as long as its client is there."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from gateway.proxy.request import ClientGone, Request


class Client:
    """A connection that its other end may close."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.request = Request(
            b"1", method="GET", path=b"/", query_string=b"", headers=[], given={}, receive=self.receive
        )

    async def receive(self) -> MutableMapping[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Something that takes until it is told to end, and knows how it ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.done = asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


async def test_the_result_is_the_works_and_nothing_is_left_behind() -> None:
    client, work = Client(), Work()
    work.done.set()
    before = asyncio.all_tasks()
    assert await client.request.while_connected(work()) == "done"
    await asyncio.gather(*asyncio.all_tasks() - before, return_exceptions=True)
    client.left.set()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_client_who_leaves_as_the_work_ends_stops_nothing_that_follows() -> None:
    client, work = Client(), Work()

    async def request() -> str:
        done = await client.request.while_connected(work())
        await asyncio.sleep(0.01)
        return done

    running = asyncio.create_task(request())
    await work.begun.wait()
    client.left.set()  # heard, and the work done, in one turn of the loop
    work.done.set()
    assert await running == "done"


async def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await Client().request.while_connected(fail())


async def test_work_for_a_client_who_left_is_cancelled_and_the_task_is_not() -> None:
    client, work = Client(), Work()
    client.left.set()
    with pytest.raises(ClientGone):
        await client.request.while_connected(work())
    assert work.cancelled
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_cancellation_from_outside_stays_one_even_if_the_client_leaves_too(leaves: bool) -> None:
    client, work = Client(), Work()
    running = asyncio.create_task(client.request.while_connected(work()))
    await work.begun.wait()
    if leaves:
        client.left.set()
        while not work.cancelled and not running.cancelling():
            await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.cancelled


@pytest.mark.parametrize(
    ("chosen", "id_"),
    [
        ([b"mine"], b"mine"),
        ([b"first", b"second"], b"first"),
        ([b"no id!", b"second"], None),
        ([], None),
    ],
)
def test_the_first_id_that_a_client_chose_counts(chosen: list[bytes], id_: bytes | None) -> None:
    headers = [(b"host", b"h"), *((b"x-request-id", each) for each in chosen), (b"accept", b"*/*")]
    scope = {"method": "GET", "raw_path": b"/", "query_string": b"", "headers": headers}
    request = Request.of(scope, Client().receive)
    assert (request.id == id_) if id_ else len(request.id) == 16
    assert request.extra_headers == [(b"x-request-id", request.id)]
