"""The queue on a real Redis: one flight per id in the fleet, paced, fair, and nobody left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis.asyncio

from gateway.cache.entry import Entry
from gateway.errors import DeadlineExceeded, GatewayError, QueueFull, UpstreamTimeout
from gateway.upstream.flight import Confirm, Fetched, FlightRequest, FlightResult, Flow
from gateway.upstream.pacing import Budget, Priority
from gateway.upstream.queue import Queue
from gateway.upstream.queue_state import QueueRules

UNLIMITED = Budget(None, 1)
QUICK = QueueRules(dead_after=0.6, beat=0.1, poll=0.2)
LONG = 20.0


@dataclass
class Origin:
    """The work of flights: records each call, and lands only once released."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    status: int = 200
    error: GatewayError | None = None

    def work(self, name: str, exact: str = "x") -> Any:
        async def fetch(confirm: Confirm) -> Fetched:
            await confirm()
            self.calls.append(name)
            self.times.append(asyncio.get_running_loop().time())
            self.begun.set()
            await self.gate.wait()
            if self.error is not None:
                return Fetched(FlightResult(exact, error=self.error))
            return Fetched(FlightResult(exact, entry_of(name, self.status)))

        return fetch


def entry_of(name: str, status: int = 200) -> Entry:
    return Entry(name, status, [], name.encode(), b"", 1.0, 1.0, 2.0, 2.0, 2.0)


async def nothing() -> None:
    return None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.005)


Fleet = Callable[..., "asyncio.Future[list[Queue]]"]


@asynccontextmanager
async def fleet(
    client: redis.asyncio.Redis, prefix: str, size: int, budget: Budget = UNLIMITED, rules: QueueRules = QUICK
) -> AsyncIterator[list[Queue]]:
    queues = [Queue(client, prefix, budget, rules) for _ in range(size)]
    for queue in queues:
        await queue.start()
    try:
        yield queues
    finally:
        for queue in queues:
            await queue.stop(grace=0)


T = Flow("t")


def ask(
    queue: Queue, origin: Origin, name: str, *, exact: str = "x", flow: Flow = T, timeout: float = LONG
) -> asyncio.Task[Any]:
    async def landed() -> FlightResult:
        work = origin.work(name, exact)
        return (await queue.land(FlightRequest(name, flow, exact=exact), work, nothing, timeout))[0]

    return asyncio.create_task(landed())


async def test_all_processes_share_one_flight(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 3) as queues:
        asked = [ask(queue, origin, "a") for queue in queues for _ in range(20)]
        await until(lambda: sum(q.waiters for q in queues) == 60 and origin.begun.is_set())
        origin.gate.set()
        landings = await asyncio.gather(*asked)
    assert origin.calls == ["a"]
    assert {landing.entry.body for landing in landings} == {b"a"}


async def test_a_failure_is_everyones_and_nobodys_later(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin(error=UpstreamTimeout("slow"))
    async with fleet(redis_client, prefix, 2) as queues:
        asked = [ask(queue, origin, "a") for queue in queues]
        await until(lambda: sum(q.waiters for q in queues) == 2 and origin.begun.is_set())
        origin.gate.set()
        landings = await asyncio.gather(*asked)
        assert [type(landing.error) for landing in landings] == [UpstreamTimeout] * 2
        assert origin.calls == ["a"]
        await ask(queues[1], origin, "a")
    assert origin.calls == ["a", "a"]


async def test_a_late_comer_looks_into_the_cache_before_it_flies(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    origin.gate.set()
    found = FlightResult("x", entry_of("from the cache"))

    async def recheck() -> FlightResult:
        return found

    async with fleet(redis_client, prefix, 2) as queues:
        await ask(queues[0], origin, "a")
        landing, _ = await queues[1].land(
            FlightRequest("a", Flow("t"), exact="x"), origin.work("a"), recheck, LONG
        )
    assert landing is found
    assert origin.calls == ["a"]


async def test_the_death_of_a_leader_costs_one_more_call(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 2) as (survivor, victim):
        led = ask(victim, origin, "a")
        await asyncio.wait_for(origin.begun.wait(), LONG)
        waiting = ask(survivor, origin, "a")
        await until(lambda: survivor.waiters == 1)
        await asyncio.sleep(0)
        led.cancel()
        origin.begun.clear()
        await victim.stop(grace=0)
        await asyncio.wait_for(origin.begun.wait(), LONG)
        origin.gate.set()
        landing = await waiting
    assert landing.entry.body == b"a"
    assert origin.calls == ["a", "a"]


async def test_a_caller_who_disconnects_cancels_nothing(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 2) as queues:
        first = ask(queues[0], origin, "a")
        await asyncio.wait_for(origin.begun.wait(), LONG)
        second = ask(queues[1], origin, "a")
        await until(lambda: queues[1].waiters == 1)
        first.cancel()
        origin.gate.set()
        assert (await second).entry.body == b"a"
    assert origin.calls == ["a"]


async def test_calls_are_never_closer_than_the_budget(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 3, Budget(0.1, 1)) as queues:
        await asyncio.gather(*(ask(queues[i % 3], origin, f"job{i}", flow=Flow(f"t{i % 2}")) for i in range(12)))
    gaps = [b - a for a, b in zip(origin.times, origin.times[1:], strict=False)]
    assert len(origin.calls) == 12
    assert min(gaps) >= 0.1


async def test_a_request_written_late_moves_its_slot_along(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    origin.gate.set()

    async def slow(confirm: Confirm) -> Fetched:
        await asyncio.sleep(0.15)
        return await origin.work("slow")(confirm)  # type: ignore[no-any-return]

    async with fleet(redis_client, prefix, 2, Budget(0.2, 1)) as queues:
        first = asyncio.create_task(
            queues[0].land(FlightRequest("slow", Flow("t"), exact="x"), slow, nothing, LONG)
        )
        await until(lambda: queues[0].led == 1)
        await asyncio.gather(first, *(ask(queue, origin, f"job{i}") for i, queue in enumerate(queues)))
    gaps = [b - a for a, b in zip(origin.times, origin.times[1:], strict=False)]
    assert len(origin.calls) == 3
    assert min(gaps) >= 0.2


async def test_a_missing_budget_record_starts_empty(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 1, Budget(0.3, 5)) as (queue,):
        await ask(queue, origin, "a")
        await redis_client.delete(f"{prefix}:{{queue}}:tat")
        await ask(queue, origin, "b")
    assert origin.times[1] - origin.times[0] >= 0.3


async def test_one_query_waits_behind_at_most_two_of_anothers_hundred(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 2, Budget(0.05, 1)) as queues:
        many = [ask(queues[0], origin, f"many{i}", flow=Flow("reports")) for i in range(100)]
        await until(lambda: len(origin.calls) >= 3)
        before = len(origin.calls)
        await ask(queues[1], origin, "one", flow=Flow("dashboard"))
        assert origin.calls.index("one") - before <= 2
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)


async def test_people_go_before_refreshes(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 1, Budget(0.1, 1)) as (queue,):
        for i in range(5):
            queue.refresh(
                FlightRequest(f"refresh{i}", T, Priority.REFRESH, "x"), origin.work(f"refresh{i}"), nothing
            )
        await asyncio.sleep(0)
        await ask(queue, origin, "person")
        assert origin.calls.index("person") <= 1


async def test_a_refresh_that_someone_joins_goes_with_people(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 2, Budget(0.1, 1)) as queues:
        for i in range(6):
            queues[0].refresh(
                FlightRequest(f"refresh{i}", T, Priority.REFRESH, "x"), origin.work(f"refresh{i}"), nothing
            )
        await until(lambda: len(origin.calls) == 1)
        joined = next(f"refresh{i}" for i in range(6) if f"refresh{i}" not in origin.calls)
        await asyncio.gather(*(ask(queue, origin, joined) for queue in queues))
        assert origin.calls.index(joined) <= 2
        assert origin.calls.count(joined) == 1


async def test_over_the_deadline_the_job_keeps_its_place_and_runs(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 1, Budget(0.2, 1)) as (queue,):
        tasks = [ask(queue, origin, f"job{i}", timeout=0.05) for i in range(3)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
        origin.gate.set()
        await until(lambda: len(origin.calls) == 3)
    assert all(outcome.retry_after >= 1 for outcome in outcomes)  # type: ignore[union-attr]


async def test_the_queue_is_bounded_in_all_and_per_tenant(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    rules = QueueRules(max_queued=4, max_per_tenant=3, dead_after=5, beat=0.2, poll=0.3)
    async with fleet(redis_client, prefix, 1, Budget(30, 1), rules) as (queue,):
        tasks = [ask(queue, origin, f"a{i}", flow=Flow("a"), timeout=0.5) for i in range(4)]
        await until(lambda: any(task.done() for task in tasks))
        tasks += [ask(queue, origin, f"b{i}", flow=Flow("b"), timeout=0.5) for i in range(2)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [isinstance(o, FlightResult) and isinstance(o.error, QueueFull) for o in outcomes]
    assert sum(refused[:4]) == 2  # one had no room, one made room for the tenant that had less
    assert sum(refused[4:]) == 0
    assert all(isinstance(o, DeadlineExceeded) or o.error.retry_after for o in outcomes)  # type: ignore[union-attr]


async def test_jobs_whose_callers_left_fall_behind(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 1, Budget(0.15, 1)) as (queue,):
        left = ask(queue, origin, "left")
        await until(lambda: queue.flights == 1 and queue._flights["left"].gen != "")
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        await until(lambda: not queue._background)
        await ask(queue, origin, "stays")
        await until(lambda: len(origin.calls) == 2)
    assert origin.calls == ["stays", "left"]


async def test_without_callers_nothing_is_left_in_redis(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 2, Budget(0.01, 5)) as queues:
        await asyncio.gather(*(ask(queues[i % 2], origin, f"job{i % 7}") for i in range(30)))
        await until(lambda: all(q.flights == 0 for q in queues))
        keys = [key.decode().split(":", 2)[2] async for key in redis_client.scan_iter(match=f"{prefix}:*")]
    kinds = {key.split(":")[0] for key in keys}
    assert kinds <= {"tat", "live", "done", "result", "turn", "fleet", "terms", "callers"}
    assert all([await redis_client.pttl(f"{prefix}:{{queue}}:{key}") > 0 for key in keys])


@pytest.mark.parametrize("size", [1, 3])
async def test_many_distinct_jobs_all_land(redis_client: redis.asyncio.Redis, prefix: str, size: int) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, size) as queues:
        asked = [ask(queues[i % size], origin, f"job{i % 50}") for i in range(300)]
        landings = await asyncio.gather(*asked)
    assert all(landing.entry.body == f"job{i % 50}".encode() for i, landing in enumerate(landings))


async def test_a_share_of_three_goes_three_times_as_often(redis_client: redis.asyncio.Redis, prefix: str) -> None:
    origin = Origin()
    origin.gate.set()
    async with fleet(redis_client, prefix, 1, Budget(0.01, 1)) as queues:
        tasks = [ask(queues[0], origin, f"one{i}", flow=Flow("one")) for i in range(12)]
        tasks += [ask(queues[0], origin, f"three{i}", flow=Flow("three", weight=3)) for i in range(12)]
        await asyncio.gather(*tasks)
    # Whichever went before all were queued, a window of eight has two of the one and six of the other.
    assert sum(name.startswith("three") for name in origin.calls[4:12]) == 6, origin.calls


async def test_a_tenant_may_have_fewer_jobs_queued_than_the_queue_allows(
    redis_client: redis.asyncio.Redis, prefix: str
) -> None:
    origin = Origin()
    async with fleet(redis_client, prefix, 1, Budget(3600, 1)) as queues:
        few = Flow("few", max_queued=2)
        tasks = [ask(queues[0], origin, f"a{i}", flow=few, timeout=0.5) for i in range(4)]
        landings = await asyncio.gather(*tasks, return_exceptions=True)
        full = [each for each in landings if isinstance(each, FlightResult)]
        assert len(full) == 2
        assert all(isinstance(each.error, QueueFull) for each in full)
