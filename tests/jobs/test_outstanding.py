"""How many calls of one job are outstanding."""

from __future__ import annotations

import asyncio
import math

from gateway.jobs.asker import Outstanding


async def begun(outstanding: Outstanding, wanted: int) -> list[asyncio.Task[None]]:
    """So many calls that want to begin, and do not end."""

    async def call() -> None:
        async with outstanding:
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(call()) for _ in range(wanted)]
    await settled()
    return tasks


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_is_one_until_the_latency_is_known_and_then_rate_times_latency_and_one_more() -> None:
    outstanding = Outstanding(lambda: 2.0)
    assert outstanding.limit == 1
    outstanding.took(1.5)
    assert outstanding.limit == 4
    calls = await begun(outstanding, 6)
    assert outstanding.count == 4
    calls[0].cancel()
    await settled()
    assert outstanding.count == 4
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert outstanding.count == 0


async def test_it_is_bounded_however_fast_the_service_may_be_asked() -> None:
    outstanding = Outstanding(lambda: math.inf, most=16)
    outstanding.took(0.01)
    assert outstanding.limit == 16
    slow = Outstanding(lambda: 1 / 3_600)
    slow.took(0.5)
    assert slow.limit == 1


async def test_no_call_begins_once_it_is_closed() -> None:
    outstanding = Outstanding(lambda: math.inf)
    outstanding.took(1.0)
    outstanding.closed = True
    calls = await begun(outstanding, 2)
    assert outstanding.count == 0
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


async def test_a_job_that_has_made_its_calls_pauses_once_the_last_of_them_has_ended() -> None:
    outstanding = Outstanding(lambda: math.inf)
    outstanding.took(1.0)
    calls = await begun(outstanding, 2)
    idle = asyncio.create_task(outstanding.idle())
    calls[0].cancel()
    await settled()
    assert not idle.done()
    calls[1].cancel()
    await asyncio.wait_for(idle, 5)
