"""The queue when Redis is slow or its replies are lost, and when leaders stall: late perhaps, never too fast."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.redis import Client
from gateway.upstream.flight import Confirm, Fetched, FlightRequest, Flow
from gateway.upstream.pacing import Budget
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import CLAIM, SLOT, SUBMIT, QueueRules
from tests.redis_server import free_port
from tests.upstream.test_queue import LONG, QUICK, Origin, ask, fleet, nothing, until


class Troubled:
    """A Redis client that is slow, or loses the reply to the first call of one script although it was applied."""

    def __init__(self, client: Client, delay: float = 0.0, lose: str = "", late: str = "") -> None:
        self._client = client
        self._delay = delay
        self._lose = lose
        self._late = late

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def evalsha(self, sha: str, *args: Any) -> Any:
        if self._late in ("", sha):
            await asyncio.sleep(self._delay)
        reply = await self._client.evalsha(sha, *args)
        if self._late == "":
            await asyncio.sleep(self._delay)
        if sha == self._lose:
            self._lose = ""
            raise redis.ConnectionError("the reply was lost")
        return reply


def gaps(origin: Origin) -> list[float]:
    times = sorted(origin.times)
    return [b - a for a, b in pairwise(times)]


@pytest.mark.parametrize(("interval", "delay"), [(0.2, 0.03), (0.02, 0.005)])
async def test_a_redis_slower_than_the_guard_delays_but_never_blocks(
    redis_client: redis.asyncio.Redis, prefix: str, interval: float, delay: float
) -> None:
    origin = Origin()
    origin.gate.set()
    slow = Queue(Troubled(redis_client, delay), prefix, Budget(interval, 1), QUICK)  # type: ignore[arg-type]
    await slow.start()
    async with fleet(redis_client, prefix, 1, Budget(interval, 1)) as (quick,):
        await asyncio.gather(*(ask(queue, origin, f"job{i}") for i, queue in enumerate((slow, quick) * 3)))
    await slow.stop(grace=0)
    assert len(origin.calls) == 6
    assert min(gaps(origin)) >= interval


async def test_leaders_that_stall_together_still_write_apart(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin, stall = Origin(), asyncio.Event()
    origin.gate.set()

    async def stalled(confirm: Confirm) -> Fetched:
        await stall.wait()
        return await origin.work("stalled")(confirm)  # type: ignore[no-any-return]

    async with fleet(redis_client, prefix, 2, Budget(0.15, 1)) as queues:
        flights = [
            asyncio.create_task(
                queues[i % 2].land(FlightRequest(f"job{i}", Flow("t"), exact="x"), stalled, nothing, LONG)
            )
            for i in range(4)
        ]
        await until(lambda: sum(queue.led for queue in queues) == 4)
        stall.set()
        await asyncio.gather(*flights)
    assert len(origin.calls) == 4
    assert min(gaps(origin)) >= 0.15


async def test_a_slot_asked_for_over_a_slow_way_is_not_used_too_early(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin, stall = Origin(), asyncio.Event()
    origin.gate.set()
    late = Troubled(redis_client, 0.15, late=SLOT.sha)
    queue = Queue(late, prefix, Budget(0.3, 1), QUICK)  # type: ignore[arg-type]
    await queue.start()

    async def stalled(confirm: Confirm) -> Fetched:
        await stall.wait()
        return await origin.work("stalled")(confirm)  # type: ignore[no-any-return]

    first = asyncio.create_task(queue.land(FlightRequest("a", Flow("t"), exact="x"), stalled, nothing, LONG))
    await until(lambda: queue.led == 1)
    async with fleet(redis_client, prefix, 1, Budget(0.3, 1)) as (other,):
        await ask(other, origin, "b")
        stall.set()
        await first
        await ask(other, origin, "c")
    await queue.stop(grace=0)
    assert min(gaps(origin)) >= 0.3


async def written_twice(origin: Origin, queue: Queue, name: str) -> None:
    """A call whose connection had ended: written once more, at once."""

    async def again(confirm: Confirm) -> Fetched:
        await confirm()
        origin.times.append(asyncio.get_running_loop().time())
        return await origin.work(name)(confirm)  # type: ignore[no-any-return]

    await queue.land(FlightRequest(name, Flow("t"), exact="x"), again, nothing, LONG)


@pytest.mark.parametrize("interval", [0.02, 0.15])
async def test_a_call_that_is_written_twice_takes_two_slots(
    redis_client: redis.asyncio.Redis, prefix: str, interval: float
) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 2, Budget(interval, 1)) as queues:
        await asyncio.gather(*(written_twice(origin, queues[i % 2], f"job{i}") for i in range(6)))
    assert len(origin.times) == 12
    assert min(gaps(origin)) >= interval


async def test_a_call_that_is_written_twice_takes_two_slots_without_redis_too(prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    nowhere = redis.asyncio.Redis(host="127.0.0.1", port=free_port(), retry=Retry(NoBackoff(), 0))
    async with fleet(nowhere, prefix, 1, Budget(0.1, 1)) as (queue,):
        await asyncio.gather(*(written_twice(origin, queue, f"job{i}") for i in range(3)))
    await nowhere.aclose()
    assert len(origin.times) == 6
    assert min(gaps(origin)) >= 0.1


@pytest.mark.parametrize(("lost", "budget"), [(SUBMIT.sha, Budget(None, 1)), (CLAIM.sha, Budget(0.1, 1))])
async def test_a_lost_reply_leaves_nobody_waiting(
    redis_client: redis.asyncio.Redis, prefix: str, lost: str, budget: Budget
) -> None:
    origin = Origin()
    rules = QueueRules(dead_after=5, beat=0.1, poll=0.1, longest_run=100)
    troubled = Queue(Troubled(redis_client, lose=lost), prefix, budget, rules)  # type: ignore[arg-type]
    await troubled.start()
    async with fleet(redis_client, prefix, 1, budget, rules) as (healthy,):
        asked = [ask(troubled, origin, "a")]
        await until(lambda: origin.begun.is_set() or lost == CLAIM.sha)
        asked.append(ask(healthy, origin, "a"))
        await until(lambda: origin.begun.is_set() and healthy.waiters == 1 and healthy._flights["a"].gen != "")
        origin.gate.set()
        landings = await asyncio.gather(*asked)
    await troubled.stop(grace=0)
    assert [landing.entry.body for landing in landings] == [b"a", b"a"]
    assert origin.calls == ["a"]


async def test_a_caller_who_leaves_and_comes_back_is_not_left_behind(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 1, Budget(0.1, 1)) as (queue,):
        many = [ask(queue, origin, f"many{i}", flow=Flow("reports")) for i in range(15)]
        await until(lambda: len(origin.calls) >= 1)
        one = ask(queue, origin, "one", flow=Flow("dashboard"))
        await until(lambda: "one" in queue._flights and queue._flights["one"].gen != "")
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        await until(lambda: not queue._background)
        before = len(origin.calls)
        await ask(queue, origin, "one", flow=Flow("dashboard"))
        assert origin.calls.index("one") - before <= 2
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)


async def test_without_redis_too_leaders_that_stall_together_write_apart(prefix: str) -> None:
    origin, stall = Origin(), asyncio.Event()
    origin.gate.set()

    async def stalled(confirm: Confirm) -> Fetched:
        await stall.wait()
        return await origin.work("stalled")(confirm)  # type: ignore[no-any-return]

    dead = redis.asyncio.Redis(host="127.0.0.1", port=free_port(), retry=Retry(NoBackoff(), 0))
    queue = Queue(dead, prefix, Budget(0.05, 1), QUICK)
    await queue.start()
    flights = [
        asyncio.create_task(queue.land(FlightRequest(f"job{i}", Flow("t"), exact="x"), stalled, nothing, LONG))
        for i in range(4)
    ]
    await until(lambda: queue.flights == 4 and all(flight.slot for flight in queue._flights.values()))
    assert origin.calls == []
    stall.set()
    await asyncio.gather(*flights)
    await queue.stop(grace=0)
    await dead.aclose()
    assert len(origin.calls) == 4
    assert min(gaps(origin)) >= 0.05


async def test_while_redis_is_gone_slots_are_taken_one_at_a_time(prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    dead = redis.asyncio.Redis(host="127.0.0.1", port=free_port(), retry=Retry(NoBackoff(), 0))
    queue = Queue(dead, prefix, Budget(0.05, 1), QUICK)
    await queue.start()
    await asyncio.gather(*(ask(queue, origin, f"job{i}") for i in range(4)))
    await queue.stop(grace=0)
    await dead.aclose()
    assert len(origin.calls) == 4
    assert min(gaps(origin)) >= 0.05
